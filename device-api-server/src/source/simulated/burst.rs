// SPDX-License-Identifier: Apache-2.0
//! Equal events of one GPU, evenly over a time; one event is a burst, too.

use std::time::Duration;

use tokio::time::Instant;

use super::super::nvml::driver::Event;

/// Events that come, or have come and were not taken yet. A storm costs no more than one event.
#[derive(Debug)]
pub(super) struct Burst {
    event: Event,
    first: Instant,
    over: Duration,
    count: u32,
    taken: u32,
}

impl Burst {
    pub(super) fn new(event: Event, first: Instant, over: Duration, count: u32) -> Self {
        Self { event, first, over, count, taken: 0 }
    }

    pub(super) fn uuid(&self) -> &str {
        &self.event.uuid
    }

    /// When the next event comes, or came; `None` after the last.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.taken < self.count).then(|| self.first + self.over * self.taken / self.count)
    }

    /// The next event.
    pub(super) fn take(&mut self) -> Event {
        self.taken += 1;
        self.event.clone()
    }

    /// Forgets the events before this instant.
    pub(super) fn skip_before(&mut self, instant: Instant) {
        let passed = instant.saturating_duration_since(self.first);
        let before = if passed > self.over || self.over.is_zero() && !passed.is_zero() {
            self.count
        } else {
            let before = (passed.as_nanos() * u128::from(self.count)).div_ceil(self.over.as_nanos().max(1));
            u32::try_from(before).unwrap_or(self.count).min(self.count)
        };
        self.taken = self.taken.max(before);
    }
}
