// SPDX-License-Identifier: Apache-2.0
//! Waits for the driver's events, one after the other, whatever else is going on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::driver::{Driver, DriverError, Event};
use crate::source::pause::Backoff;

/// The pause after a wait that failed, at first and at most: a lost GPU can make every wait fail at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many events wait to be taken; then the pump waits.
pub(super) const QUEUE: usize = 1024;

/// What came of a wait.
#[derive(Debug)]
pub(super) enum Pumped {
    Event(Event),
    /// Waits fail, or hang, since now.
    Broken(DriverError),
    /// They do no longer.
    Mended,
}

/// Waits and sends until nobody takes it. A wait that takes `wait` and `patience` hangs.
pub(super) async fn pump(driver: Arc<dyn Driver>, wait: Duration, patience: Duration, out: mpsc::Sender<Pumped>) {
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    let mut broken: Option<DriverError> = None;
    loop {
        let outcome = timeout(wait + patience, driver.next_event(wait)).await;
        let pumped = match outcome.unwrap_or(Err(DriverError::Hung { call: "event wait" })) {
            Ok(event) => {
                backoff.reset();
                if broken.take().is_some() && out.send(Pumped::Mended).await.is_err() {
                    return;
                }
                event.map(Pumped::Event)
            }
            Err(error) => {
                sleep(backoff.next()).await;
                let is_new = broken.as_ref() != Some(&error);
                broken = Some(error.clone());
                is_new.then_some(Pumped::Broken(error))
            }
        };
        if let Some(pumped) = pumped
            && out.send(pumped).await.is_err()
        {
            return;
        }
    }
}
