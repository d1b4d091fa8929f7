// SPDX-License-Identifier: Apache-2.0
//! A clock that stands still until a test moves it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::registry::Clock;
use crate::resource::Timestamp;

/// A clock that stands still until a test moves it. Clones show the same time.
///
/// As a server's [`Clock`] it is the time of day, which stands still, and the time that passes. That one is tokio's, and leaps
/// ahead when the clock is [advanced](Self::advance): a lease of 30 s ends after 30 s of tokio's time, or when a test has moved the
/// clock by as much.
///
/// ```
/// use std::time::Duration;
/// use device_api_core::testing::ManualClock;
///
/// let clock = ManualClock::default();
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().to_string(), "2026-01-01T00:01:30Z");
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    // Who sleeps hears of each move.
    hands: watch::Sender<Hands>,
}

#[derive(Clone, Copy, Debug)]
struct Hands {
    now: Timestamp,
    /// How far the time that passes is ahead of tokio's.
    ahead: Duration,
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { hands: watch::Sender::new(Hands { now, ahead: Duration::ZERO }) }
    }

    /// The time that it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.hands.borrow().now
    }

    /// Lets so much time pass: a hundred years at most, after which nothing is to come any more.
    pub fn advance(&self, by: Duration) {
        let by = by.min(CENTURY);
        self.hands.send_modify(|hands| {
            *hands = Hands { now: hands.now.plus(by), ahead: hands.ahead.saturating_add(by).min(10 * CENTURY) };
        });
    }

    /// Sets the time of day, backward too: real clocks do that. No time passes.
    pub fn set(&self, now: Timestamp) {
        self.hands.send_modify(|hands| hands.now = now);
    }
}

/// The start of 2026.
impl Default for ManualClock {
    fn default() -> Self {
        Self::new("2026-01-01T00:00:00Z".parse().expect("the time is valid"))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn instant(&self) -> Instant {
        Instant::now() + self.hands.borrow().ahead
    }

    fn sleep_until(&self, instant: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut moved = self.hands.subscribe();
            loop {
                let now = Instant::now() + moved.borrow_and_update().ahead;
                tokio::select! {
                    () = tokio::time::sleep(instant.saturating_duration_since(now)) => return,
                    // This handle keeps the channel open.
                    _ = moved.changed() => {}
                }
            }
        })
    }
}
