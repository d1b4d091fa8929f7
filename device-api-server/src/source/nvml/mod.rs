// SPDX-License-Identifier: Apache-2.0
//! The NVML source: every GPU of the node, and its health, true at all times.
//!
//! ```text
//!  Driver (NVML, or simulated) -> session -> gpus (one chart each) -> Observation -> reconcile -> the API
//! ```
//!
//! The session never sees the API, and what writes to the API never sees the driver.

pub mod chart;
pub mod driver;
pub mod policy;
pub mod real;
pub mod xid;

mod calls;
mod end;
mod gpus;
mod labels;
mod looks;
mod options;
mod pump;
mod run;
mod session;

use std::sync::Arc;
use std::time::Duration;

use device_api_core::lease::LeaseVerbs;
use device_api_core::registry::Verbs;
use device_api_core::resource::Gpu;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::driver::Driver;
pub use self::labels::SIMULATED;
pub use self::options::SourceOptions;
use super::doubt::doubt;
use super::lease::hold;
use super::merge::Ownership;
use super::observation::{Observation, Stored};
use super::reconcile::Reconciler;

/// The name of this source: of its lease, and of whom the audit trail names.
pub const NAME: &str = "nvml";

/// What this source owns.
pub(crate) const OWNERSHIP: Ownership = Ownership { source: NAME, condition_types: &chart::CONDITION_TYPES };

/// How long giving back the driver may take.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Finds the GPUs of a driver and keeps their objects true until it is stopped, in this process or, over a
/// client's handles, in another.
///
/// At the end the lease is left to run out: nobody keeps the conditions true any more, and silence is not health. A
/// source that starts before that goes on where this one ended, and nobody notices.
pub async fn run(
    driver: Arc<dyn Driver>,
    options: SourceOptions,
    gpus: impl Verbs<Gpu>,
    leases: impl LeaseVerbs,
    stop: CancellationToken,
) {
    if driver.is_simulated() {
        tracing::warn!("the GPUs are simulated: what is said of them comes from a scenario and not from hardware");
    }
    let (observations, observed) = watch::channel(Observation::default());
    let (stored, seen) = watch::channel(Stored::default());
    let (held, may_write) = watch::channel(false);
    let (doubt, doubted) = doubt();
    let reconciler = Reconciler::new(gpus, OWNERSHIP, options.resync, doubt);
    let mut declared = observed.clone();
    let work = async {
        let holding = async {
            // A node without GPUs needs no lease.
            if declared.wait_for(|observation| !observation.devices.is_empty()).await.is_ok() {
                hold(leases, OWNERSHIP, options.lease, held, doubted).await;
            }
        };
        let writing = reconciler.run(observed, stored, may_write);
        let watching = run::follow(&driver, &options, seen, observations);
        // One that ends before its time takes the others with it: none may renew the lease of what is not there.
        tokio::select! {
            () = holding => {}
            () = writing => {}
            () = watching => {}
            () = driver.attend() => {}
        }
    };
    stop.run_until_cancelled(work).await;
    // A driver that hangs is left behind: it holds nothing of ours.
    let _ = timeout(LAST_PATIENCE, driver.shutdown()).await;
}
