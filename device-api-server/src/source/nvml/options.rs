// SPDX-License-Identifier: Apache-2.0
//! How the source behaves.

use std::sync::Arc;
use std::time::Duration;

use device_api_core::registry::{Clock, SystemClock};

use super::policy::Policy;

/// How the source behaves. The defaults are those of the flags of `device-apiserver`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceOptions {
    /// How often everything is looked at and declared anew, up to a tenth less: 30 s.
    pub resync: Duration,
    /// How often a GPU on which a fault stands is looked at, at first and after a while: 10 s, 60 s.
    pub fault_poll: (Duration, Duration),
    /// How long a call to the driver may take before it counts as hung: 10 s.
    pub call_timeout: Duration,
    /// How long one wait for events lasts: 5 s. Events end it.
    pub event_wait: Duration,
    /// The pause before the driver is initialised again, at first and at most: 1 s, 60 s.
    pub retry: (Duration, Duration),
    /// How often telemetry is sampled; `None`, the default, for never.
    pub telemetry: Option<Duration>,
    /// How long the API keeps the source's word after its last sign of life: 30 s. It renews its lease three
    /// times as often.
    pub lease: Duration,
    /// What XIDs mean.
    pub policy: Arc<Policy>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Whether the driver must be there: its absence is then a warning. False at first.
    pub is_expected: bool,
}

impl Default for SourceOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            resync: seconds(30),
            fault_poll: (seconds(10), seconds(60)),
            call_timeout: seconds(10),
            event_wait: seconds(5),
            retry: (seconds(1), seconds(60)),
            telemetry: None,
            lease: seconds(30),
            policy: Arc::default(),
            clock: Arc::new(SystemClock),
            is_expected: false,
        }
    }
}
