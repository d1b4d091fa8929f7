// SPDX-License-Identifier: Apache-2.0
//! Waits for the driver's events, one after the other, whatever else is going on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Driver, DriverError, Event};
use crate::source::pause::Backoff;

/// The pause after a wait that failed, at first and at most: a lost GPU can make every wait fail at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a wait lasts at most until one has succeeded: before that nobody believes that there was no event.
const TRIAL: Duration = Duration::from_millis(500);
/// How many events wait to be taken; then the pump waits.
pub(super) const QUEUE: usize = 1024;

/// What came of a wait.
#[derive(Debug)]
pub(super) enum Pumped {
    Event(Event),
    /// Waits fail, or hang, since now.
    Broken(DriverError),
    /// One has succeeded, the first since these began or since one failed.
    Heard,
}

/// How it is waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// How long each wait lasts.
    pub(super) each: Duration,
    /// How much longer it may last before it hangs.
    pub(super) patience: Duration,
}

/// Waits and sends until nobody takes it.
pub(super) async fn pump(driver: Arc<dyn Driver>, waits: Waits, out: mpsc::Sender<Pumped>) {
    let mut backoff = Backoff::new(PAUSE);
    // Until one succeeds nobody knows whether any does.
    let mut is_trial = true;
    let mut broken: Option<DriverError> = None;
    loop {
        let began = Instant::now();
        let wait = if is_trial { waits.each.min(TRIAL) } else { waits.each };
        let outcome = timeout(wait + waits.patience, driver.next_event(wait)).await;
        let outcome = outcome.unwrap_or(Err(DriverError::Hung { call: "event wait" }));
        // Whatever a driver does, it is asked at a bounded rate, save for as many events as there are.
        let is_in_vain = match &outcome {
            Ok(None) => began.elapsed() < wait / 2,
            Ok(Some(_)) => false,
            Err(_) => true,
        };
        let news = match &outcome {
            Ok(_) => {
                broken = None;
                std::mem::take(&mut is_trial).then_some(Pumped::Heard)
            }
            Err(error) if broken.as_ref() == Some(error) => None,
            Err(error) => {
                (broken, is_trial) = (Some(error.clone()), true);
                Some(Pumped::Broken(error.clone()))
            }
        };
        for pumped in news.into_iter().chain(outcome.ok().flatten().map(Pumped::Event)) {
            if out.send(pumped).await.is_err() {
                return;
            }
        }
        if is_in_vain {
            sleep(backoff.next()).await;
        } else {
            backoff.reset();
        }
    }
}
