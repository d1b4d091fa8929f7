// SPDX-License-Identifier: Apache-2.0
//! One session with the driver, from one initialisation to the next.
//!
//! The session waits for no call to the driver: an event is handled while a GPU hangs.

mod hearing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::resource::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::calls::{Answer, Calls, Inspection, Questions};
use super::driver::{Driver, DriverError, Found};
use super::end::{Broken, End};
use super::gpus::Gpus;
use super::looks::Looks;
use super::options::SourceOptions;
use super::pump::{Pumped, QUEUE, Waits, pump};
use crate::source::observation::{Observation, Stored};
use crate::source::pause::jittered;

/// Telemetry is sampled this long after the start, when there was time for what matters more.
const FIRST_SAMPLE: Duration = Duration::from_secs(1);
/// The events of so much time are taken together: a storm costs little, and nobody waits for long.
const TOGETHER: Duration = Duration::from_millis(2);
/// How long a wait for events may take beyond its own time.
const WAIT_PATIENCE: Duration = Duration::from_secs(8);

/// A session.
pub(super) struct Session<'a> {
    driver: Arc<dyn Driver>,
    options: &'a SourceOptions,
    gpus: &'a mut Gpus,
    out: &'a watch::Sender<Observation>,
    /// When the driver may be initialised anew because a lost GPU spoils the wait for events.
    may_mend: Instant,
    calls: Calls,
    /// The GPUs whose events are delivered.
    subscribed: BTreeSet<String>,
    looks: Looks,
    /// Why waits for events fail, while they do, or did in the last session: until one succeeds nobody knows better.
    broken: Option<Broken>,
    /// Whether a wait has succeeded in this session.
    was_heard: bool,
    /// Whether it was taken into account that they fail.
    is_deaf: bool,
    /// Whether the driver does not answer any more which GPUs there are.
    is_list_hung: bool,
    /// Whether a lost GPU spoils the waits since this session began.
    is_spoilt: bool,
}

impl<'a> Session<'a> {
    /// A session on a driver that was just initialised. Because of a lost GPU it ends no sooner than after `mend_after`;
    /// `broken` is why the session before it ended, where that was the reason.
    pub(super) fn new(
        driver: Arc<dyn Driver>,
        options: &'a SourceOptions,
        gpus: &'a mut Gpus,
        out: &'a watch::Sender<Observation>,
        mend_after: Duration,
        broken: Option<Broken>,
    ) -> Self {
        let calls = Calls::new(Arc::clone(&driver), options.call_timeout);
        Self {
            driver,
            options,
            gpus,
            out,
            may_mend: Instant::now() + mend_after,
            calls,
            subscribed: BTreeSet::new(),
            looks: Looks::new(options.fault_poll),
            broken,
            was_heard: false,
            is_deaf: false,
            is_list_hung: false,
            is_spoilt: false,
        }
    }

    /// Follows the driver until it has to be initialised anew, and says why.
    pub(super) async fn follow(mut self, stored: &mut watch::Receiver<Stored>) -> End {
        let (sender, mut events) = mpsc::channel(QUEUE);
        let (mut sender, mut pumps) = (Some(sender), JoinSet::new());
        let mut batch = Vec::with_capacity(QUEUE);
        let mut listens = Instant::now();
        let mut resync = Instant::now();
        let mut sample = self.options.telemetry.map(|_| Instant::now() + FIRST_SAMPLE);
        loop {
            let mend = self.can_mend().then_some(self.may_mend);
            let deaf = self.broken.as_ref().filter(|_| !self.is_deaf).map(|broken| broken.deaf_from);
            let wake = [sample, self.looks.next(), mend, deaf].into_iter().flatten().fold(resync, Instant::min);
            let taking = async {
                sleep_until(listens).await;
                events.recv_many(&mut batch, QUEUE).await
            };
            let outcome = tokio::select! {
                Some(answer) = self.calls.next() => self.take(answer),
                count = taking => {
                    listens = Instant::now() + TOGETHER;
                    if count == 0 { Err(DriverError::Uninitialized.into()) } else { self.take_events(&mut batch) }
                }
                changed = stored.changed() => {
                    if changed.is_err() {
                        return End::Unwatched;
                    }
                    self.gpus.adopt(&stored.borrow_and_update().clone());
                    Ok(())
                }
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= resync {
                        resync = now + jittered(self.options.resync);
                        self.calls.list();
                    }
                    if sample.is_some_and(|at| now >= at) {
                        sample = self.options.telemetry.map(|period| now + jittered(period));
                        self.gpus.listed_uuids().into_iter().for_each(|uuid| self.calls.measure(uuid));
                    }
                    self.deafen(now);
                    for uuid in self.looks.due(now, |uuid| self.gpus.needs_attention(uuid)) {
                        self.ask(&uuid, false);
                    }
                    self.mend()
                }
            };
            if let Err(why) = outcome {
                // What was reported before the driver went is not forgotten with it.
                let now = self.now();
                while let Ok(pumped) = events.try_recv() {
                    if let Pumped::Event(event) = pumped {
                        self.gpus.reported(&event, now);
                    }
                }
                if let End::Spoilt(_) = why {
                    self.take_the_rest().await;
                }
                return why;
            }
            // Nothing can be heard before, and a wait for nothing proves nothing.
            if let Some(sender) = sender.take_if(|_| !self.subscribed.is_empty()) {
                let waits = Waits { each: self.options.event_wait, patience: WAIT_PATIENCE };
                pumps.spawn(pump(Arc::clone(&self.driver), waits, sender));
            }
            self.out.send_replace(self.gpus.observation());
        }
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Asks a GPU, and subscribes to its events where they are not delivered.
    fn ask(&mut self, uuid: &str, describe: bool) {
        self.calls.inspect(uuid, Questions { describe, subscribe: !self.subscribed.contains(uuid) });
    }

    /// Takes what came of a call.
    ///
    /// # Errors
    /// When the driver has to be initialised anew.
    fn take(&mut self, answer: Answer) -> Result<(), End> {
        match answer {
            Answer::Panicked(why) => Err(why.into()),
            Answer::Listed(listed) => self.take_list(listed),
            Answer::Inspected { uuid, inspection } => self.take_inspection(&uuid, *inspection),
            Answer::Measured { uuid, outcome } => {
                match *outcome {
                    Ok(telemetry) => self.gpus.measured(&uuid, telemetry, self.now()),
                    // Its vitals say what that means.
                    Err(error) => tracing::debug!(gpu = uuid, %error, "cannot measure"),
                }
                Ok(())
            }
        }
    }

    fn take_list(&mut self, listed: Result<Vec<Found>, DriverError>) -> Result<(), End> {
        let found = match listed {
            // It may hang or fail because of one GPU, which cannot be told from here. The others answer on their own.
            Err(why) if self.gpus.has_listed() && (why.is_of_one_gpu() || matches!(why, DriverError::Hung { .. })) => {
                if !std::mem::replace(&mut self.is_list_hung, true) {
                    tracing::warn!(error = %why, "cannot list the GPUs: asking those that were there");
                }
                for uuid in self.gpus.listed_uuids() {
                    self.ask(&uuid, false);
                }
                return Ok(());
            }
            listed => listed.map_err(DriverError::of_all)?,
        };
        if std::mem::take(&mut self.is_list_hung) {
            tracing::info!("the GPUs can be listed again");
        }
        let mut errors = found.iter().filter_map(|found| found.identity.as_ref().err());
        if let Some(why) = errors.find(|why| why.is_of_the_driver()) {
            return Err(why.clone().into());
        }
        for uuid in self.gpus.listed(&found) {
            self.ask(&uuid, true);
        }
        let listed: BTreeSet<_> = self.gpus.listed_uuids().into_iter().collect();
        // A GPU that comes back is subscribed to anew.
        self.subscribed.retain(|uuid| listed.contains(uuid));
        Ok(())
    }

    fn take_inspection(&mut self, uuid: &str, inspection: Inspection) -> Result<(), End> {
        let errors = [
            inspection.description.as_ref().and_then(|outcome| outcome.as_ref().err()),
            inspection.vitals.as_ref().and_then(|outcome| outcome.as_ref().err()),
        ];
        if let Some(why) = errors.into_iter().flatten().find(|error| error.is_of_the_driver()) {
            return Err(why.clone().into());
        }
        if let Some(subscription) = inspection.subscription {
            if subscription.is_ok() {
                self.subscribed.insert(uuid.to_owned());
            }
            self.gpus.subscribed(uuid, subscription.as_ref().copied());
        }
        match inspection.description {
            Some(Ok(description)) => self.gpus.described(uuid, description),
            // Its vitals say what that means; it is what it was.
            Some(Err(error)) => tracing::debug!(gpu = uuid, %error, "cannot describe a GPU"),
            None => {}
        }
        let is_early = inspection.is_early || !self.looks.counts(uuid, Instant::now());
        if let Some(vitals) = inspection.vitals {
            if vitals.as_ref().is_err_and(DriverError::is_of_one_gpu) {
                // A GPU that comes back is subscribed to anew.
                self.subscribed.remove(uuid);
            }
            self.gpus.examined(uuid, &vitals, is_early);
        }
        if let Some(broken) = self.broken.as_ref().filter(|broken| broken.deaf_from <= Instant::now()) {
            self.gpus.deafened(uuid, &broken.why);
        }
        if inspection.is_early {
            self.looks.soon(uuid, Instant::now());
        }
        if self.gpus.needs_attention(uuid) {
            self.looks.go_on(uuid, Instant::now());
        }
        if inspection.is_outdated {
            self.ask(uuid, false);
        }
        Ok(())
    }
}
