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
mod gpus;
mod labels;
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
use super::lease::hold;
use super::merge::Ownership;
use super::observation::{Observation, Stored};
use super::reconcile::Reconciler;

/// What this source owns.
pub(crate) const OWNERSHIP: Ownership = Ownership { source: "nvml", condition_types: &chart::CONDITION_TYPES };

/// How long giving the lease back may take.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

/// Finds the GPUs of a driver and keeps their objects true until it is stopped, in this process or, over a
/// client's handles, in another.
///
/// The lease is given back at the end, and the conditions stay as they are.
pub async fn run(
    driver: Arc<dyn Driver>,
    options: SourceOptions,
    gpus: impl Verbs<Gpu>,
    leases: impl LeaseVerbs,
    stop: CancellationToken,
) {
    let (observations, observed) = watch::channel(Observation::default());
    let (stored, seen) = watch::channel(Stored::default());
    let (held, may_write) = watch::channel(false);
    let (id, last_id) = watch::channel(None);
    let reconciler = Reconciler::new(gpus, OWNERSHIP, options.resync);
    let holding = hold(leases.clone(), OWNERSHIP, options.lease, held, id);
    let writing = reconciler.run(observed, stored, may_write);
    let watching = run::run(driver, options, seen, observations, stop.clone());
    // The watching ends by itself, and gives the driver back before it does.
    tokio::select! {
        () = watching => {}
        () = async { tokio::join!(holding, writing); } => {}
    }
    let held = last_id.borrow().clone();
    if let Some(id) = held {
        match timeout(RELEASE_PATIENCE, leases.release(OWNERSHIP.source, Some(&id))).await {
            Ok(Ok(())) => {}
            // It runs out.
            Ok(Err(error)) => tracing::debug!(%error, "cannot give the lease back"),
            Err(_) => tracing::debug!("the lease was not given back in time"),
        }
    }
}
