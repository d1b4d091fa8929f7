// SPDX-License-Identifier: Apache-2.0
//! Pauses: never the same for two who began together, and longer after each failure.

use std::time::Duration;

/// A pause that doubles with each failure.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// A pause that is so long at first, and at most.
    pub(crate) fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause after another failure.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.longest.min(pause * 2);
        jittered(pause)
    }

    /// The next failure is the first one again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// As long as a request that failed waits.
impl Default for Backoff {
    fn default() -> Self {
        Self::new((Duration::from_millis(500), Duration::from_secs(15)))
    }
}

/// Up to a tenth less, so that what began together does not stay together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - fastrand::f64() / 10.0)
}
