// SPDX-License-Identifier: Apache-2.0
//! How long to wait before something is tried again.

use std::time::Duration;

/// How long to wait before something is tried again: a random time, up to a bound that doubles with each failure.
///
/// The whole time is random, so that those who failed together do not try again together.
///
/// ```
/// use std::time::Duration;
/// use device_api_client::Backoff;
///
/// let backoff = Backoff::default().with_longest(Duration::from_secs(4));
/// assert!(backoff.pause(0) <= Duration::from_millis(500));
/// assert!(backoff.pause(40) <= Duration::from_secs(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The longest pause after the first failure: 500 ms.
    pub first: Duration,
    /// The longest pause of all: 30 s.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The same with this longest pause after the first failure.
    #[must_use]
    pub fn with_first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// The same with this longest pause of all.
    #[must_use]
    pub fn with_longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// The pause after this many failures that came before the last one.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        self.bound(failures).mul_f64(fastrand::f64())
    }

    fn bound(&self, failures: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_with_each_failure_up_to_the_longest() {
        let backoff = Backoff::default().with_first(Duration::from_secs(1)).with_longest(Duration::from_secs(5));
        let bounds = [0, 1, 2, 3, u32::MAX].map(|failures| backoff.bound(failures).as_secs());
        assert_eq!(bounds, [1, 2, 4, 5, 5]);
        for failures in 0..1000 {
            assert!(backoff.pause(failures) <= backoff.bound(failures));
        }
    }
}
