// SPDX-License-Identifier: Apache-2.0
//! What a session hears: the driver's events, and that no wait for them succeeds.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::driver::{DriverError, EventKind};
use super::super::end::{Broken, End};
use super::super::pump::{Pumped, QUEUE};
use super::Session;

/// How long a wait that a lost GPU spoils is tried again before the driver is initialised anew.
const LISTENS_ON: Duration = Duration::from_secs(1);
/// How long the others are believed when a lost GPU spoils the wait, as long as a wait that hangs is, and a little: by then
/// they are heard again, or nobody knows when they will be.
const LEFT_OUT_WITHIN: Duration = Duration::from_secs(10);
/// How long the driver may take to say that no event is left.
const LAST_WAIT: Duration = Duration::from_millis(100);

impl Session<'_> {
    pub(super) fn take_events(&mut self, batch: &mut Vec<Pumped>) -> Result<(), End> {
        let mut touched = BTreeSet::new();
        let mut outcome = Ok(());
        let now = self.now();
        for pumped in batch.drain(..) {
            match pumped {
                Pumped::Event(event) => {
                    tracing::debug!(gpu = event.uuid, kind = ?event.kind, "an event");
                    if self.gpus.reported(&event, now) {
                        self.calls.overtake(&event.uuid);
                        self.looks.begin_anew(&event.uuid);
                    }
                    match event.kind {
                        EventKind::SingleBitEcc | EventKind::Other(_) => {}
                        EventKind::MigConfigChanged => {
                            self.ask(&event.uuid, true);
                        }
                        _ => self.looks.soon(&event.uuid, Instant::now()),
                    }
                    touched.insert(event.uuid);
                }
                Pumped::Broken(error) => outcome = outcome.and(self.breaks(error)),
                Pumped::Heard => {
                    (self.was_heard, self.is_spoilt, self.is_deaf) = (true, false, false);
                    if self.broken.take().is_some() {
                        tracing::info!("events can be waited for again");
                        for uuid in &self.subscribed {
                            self.gpus.subscribed(uuid, Ok(()));
                        }
                        self.calls.list();
                    } else {
                        tracing::debug!("events are heard");
                    }
                }
            }
        }
        for uuid in touched {
            self.gpus.refresh(&uuid);
        }
        outcome
    }

    /// Whether another initialisation would help. Where the driver does not answer which GPUs there are, it would hang, too.
    pub(super) fn can_mend(&self) -> bool {
        self.is_spoilt && !self.is_list_hung && !self.calls.is_listing()
    }

    /// Takes the events that have come until the driver has none: initialised anew it forgets them.
    pub(super) async fn take_the_rest(&mut self) {
        for _ in 0..QUEUE {
            let next = timeout(LAST_WAIT, self.driver.next_event(Duration::ZERO)).await;
            let Ok(Ok(Some(event))) = next else { return };
            let now = self.now();
            self.gpus.reported(&event, now);
        }
    }

    /// A lost GPU can spoil the wait for the events of all. Subscribed to anew, the others are heard.
    pub(super) fn mend(&self) -> Result<(), End> {
        let may_mend = self.can_mend() && Instant::now() >= self.may_mend;
        self.broken.clone().filter(|_| may_mend).map_or(Ok(()), |why| Err(End::Spoilt(why)))
    }

    /// No event of any GPU is delivered any more.
    fn breaks(&mut self, why: DriverError) -> Result<(), End> {
        if why.is_of_the_driver() {
            return Err(End::Failed(why));
        }
        tracing::warn!(error = %why, "cannot wait for events: trying again");
        let now = Instant::now();
        self.is_spoilt = why.is_of_one_gpu();
        let deaf_from = match &self.broken {
            Some(before) if self.is_spoilt => before.deaf_from,
            // That one GPU is off the bus is no news of the others, for as long as it takes to leave it out.
            None if self.is_spoilt && self.was_heard => now + LEFT_OUT_WITHIN,
            _ => now,
        };
        // Until then the wait is tried again: what others report just after a loss may still be delivered.
        self.may_mend = self.may_mend.max(now + LISTENS_ON);
        self.broken = Some(Broken { why, deaf_from });
        self.is_deaf = false;
        self.deafen(now);
        // If a GPU was lost, the list says which.
        self.calls.list();
        self.mend()
    }

    /// Nobody may believe that there was no event, once that is due.
    pub(super) fn deafen(&mut self, now: Instant) {
        let Some(broken) = self.broken.as_ref().filter(|broken| broken.deaf_from <= now && !self.is_deaf) else {
            return;
        };
        self.is_deaf = true;
        for uuid in self.gpus.listed_uuids() {
            self.gpus.deafened(&uuid, &broken.why);
        }
    }
}
