// SPDX-License-Identifier: Apache-2.0
//! The loop: attaches to the driver, follows it, and attaches anew when it was lost. It declares what it
//! knows as [`Observation`]s and never sees who stores them.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Driver, DriverError};
use super::end::{Broken, End};
use super::gpus::Gpus;
use super::options::SourceOptions;
use super::session::Session;
use crate::source::observation::{Observation, Stored};
use crate::source::pause::Backoff;

/// The loop. It declares through `out` what it knows of the driver and of what `stored` shows, until nobody shows
/// anything any more.
pub(super) async fn follow(
    driver: &Arc<dyn Driver>,
    options: &SourceOptions,
    mut stored: watch::Receiver<Stored>,
    out: watch::Sender<Observation>,
) {
    // What the store holds comes first: what stood before must not be declared healthy.
    if stored.wait_for(|stored| stored.number > 0).await.is_err() {
        return;
    }
    let mut gpus = Gpus::new(Arc::clone(&options.policy), driver.boot_id(), driver.is_simulated());
    gpus.adopt(&stored.borrow_and_update().clone());
    let (mut backoff, mut mending) = (Backoff::new(options.retry), Backoff::new(options.retry));
    let (mut was_attached, mut was_unloaded) = (false, false);
    let (mut said, mut spoilt): (Option<DriverError>, Option<Broken>) = (None, None);
    loop {
        let attaching = timeout(options.call_timeout, driver.init());
        let Some(attached) = meanwhile(attaching, &mut gpus, &mut stored, &out).await else { return };
        let why = match attached.unwrap_or(Err(DriverError::Hung { call: "init" })) {
            Ok(system) => {
                tracing::info!(driver = system.driver_version.as_deref().unwrap_or("unknown"), "NVML is ready");
                (said, was_attached) = (None, true);
                gpus.attached(&system);
                if std::mem::take(&mut was_unloaded) {
                    gpus.driver_reloaded();
                }
                let since = Instant::now();
                let session = Session::new(Arc::clone(driver), options, &mut gpus, &out, mending.next(), spoilt.take());
                let end = session.follow(&mut stored).await;
                if since.elapsed() > options.retry.1 {
                    backoff.reset();
                    mending.reset();
                }
                match end {
                    End::Unwatched => return,
                    End::Spoilt(broken) => {
                        tracing::warn!("a lost GPU spoils the wait for events: initialising NVML anew");
                        spoilt = Some(broken);
                        continue;
                    }
                    End::Failed(why) => why,
                }
            }
            Err(why) => why.of_all(),
        };
        // One that is late at our start may have been loaded all the time.
        was_unloaded |= was_attached && why == DriverError::DriverNotLoaded;
        gpus.unreachable(&why);
        out.send_replace(gpus.observation());
        let pause = backoff.next();
        if said.as_ref() == Some(&why) {
            tracing::debug!(error = %why, ?pause, "NVML is still not ready");
        } else if matches!(why, DriverError::LibraryNotFound { .. }) && !options.is_expected {
            tracing::info!(error = %why, "there is no NVML on this node, or not yet: its GPUs are served once there is");
        } else {
            tracing::warn!(error = %why, ?pause, "NVML is not ready: trying again");
        }
        said = Some(why);
        if meanwhile(sleep(pause), &mut gpus, &mut stored, &out).await.is_none() {
            return;
        }
    }
}

/// Waits for this, and heeds meanwhile what the store shows: what people acknowledge or delete. `None` when nobody
/// shows it any more.
async fn meanwhile<T>(
    work: impl Future<Output = T>,
    gpus: &mut Gpus,
    stored: &mut watch::Receiver<Stored>,
    out: &watch::Sender<Observation>,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            changed = stored.changed() => changed.ok()?,
        }
        gpus.adopt(&stored.borrow_and_update().clone());
        out.send_replace(gpus.observation());
    }
}
