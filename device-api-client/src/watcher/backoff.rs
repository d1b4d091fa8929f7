// SPDX-License-Identifier: Apache-2.0
//! How long to pause between tries: longer each time, and never the same for all.

use std::time::Duration;

/// How long to pause after a failure: twice as long after each further one, up to a longest, and of
/// that a random part between the half and the whole, so that those who failed together do not come
/// back together.
///
/// ```
/// use std::time::Duration;
///
/// use device_api_client::watcher::Backoff;
///
/// let mut pauses = Backoff::default().with_longest(Duration::from_secs(1)).pauses();
/// assert!(pauses.next_pause() <= Duration::from_millis(100));
/// for _ in 0..10 {
///     assert!(pauses.next_pause() <= Duration::from_secs(1));
/// }
/// pauses.reset();
/// assert!(pauses.next_pause() <= Duration::from_millis(100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The pause after the first failure: 100 ms at most.
    pub first: Duration,
    /// The longest pause: 10 s. A node's server restarts in less, and nobody else shares it.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// Pauses this long after the first failure.
    #[must_use]
    pub fn with_first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// Pauses this long at most.
    #[must_use]
    pub fn with_longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// The pauses, from the first on.
    #[must_use]
    pub fn pauses(self) -> Pauses {
        self.pauses_with(fastrand::Rng::new())
    }

    pub(super) fn pauses_with(self, random: fastrand::Rng) -> Pauses {
        Pauses { backoff: self, next: self.first, random }
    }
}

/// One pause after another, as a [`Backoff`] says.
#[derive(Clone, Debug)]
pub struct Pauses {
    backoff: Backoff,
    next: Duration,
    random: fastrand::Rng,
}

impl Pauses {
    /// How long to pause now.
    pub fn next_pause(&mut self) -> Duration {
        let whole = self.next.min(self.backoff.longest);
        self.next = whole.saturating_mul(2);
        whole.mul_f64(0.5 + 0.5 * self.random.f64())
    }

    /// It went well: the next pause is a first one.
    pub fn reset(&mut self) {
        self.next = self.backoff.first;
    }

    /// The longest pause.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.backoff.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_between_half_and_all_of_twice_the_one_before_up_to_the_longest() {
        let mut pauses = Backoff::default().pauses_with(fastrand::Rng::with_seed(1));
        let mut whole = Duration::from_millis(100);
        for _ in 0..20 {
            let pause = pauses.next_pause();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(Duration::from_secs(10));
        }
    }

    #[test]
    fn two_who_fail_together_do_not_pause_alike() {
        let pauses = |seed| {
            let mut pauses = Backoff::default().pauses_with(fastrand::Rng::with_seed(seed));
            [pauses.next_pause(), pauses.next_pause(), pauses.next_pause()]
        };
        assert_ne!(pauses(1), pauses(2));
    }
}
