// SPDX-License-Identifier: Apache-2.0
//! How a ledger behaves: clock, history, limits and waiting times.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::resource::Timestamp;

/// Tells the time. The registry looks at no other clock for what it stores, nor for how long a lease lasts or history is kept.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now, as people write it. It may be set, backward too.
    fn now(&self) -> Timestamp;

    /// Now, by the time that passes and that nobody sets: tokio's, unless a clock of tests says otherwise.
    fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits until [`Self::instant`] has come to this.
    fn sleep_until(&self, instant: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep_until(instant))
    }
}

/// This machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others are to use")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// How a ledger behaves. The defaults suit one node.
///
/// ```
/// use std::time::Duration;
/// use device_api_core::registry::{History, LedgerOptions};
///
/// let history = History::default().with_max_age(Duration::from_secs(600));
/// let options = LedgerOptions::default().with_history(history);
/// assert_eq!(options.history.max_age, Duration::from_secs(600));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LedgerOptions {
    /// The clock for times, ages and the first revision of a new store.
    pub clock: Arc<dyn Clock>,
    /// How much history is kept for watches and exact lists.
    pub history: History,
    /// How much may be stored.
    pub limits: Limits,
    /// How long a write, and a commit, may take before its writer is told that the store does not
    /// answer: 30 s.
    pub write_timeout: Duration,
    /// How long a read waits for a version of the future: 3 s.
    pub version_wait: Duration,
    /// How often a quiet watch that asked for bookmarks gets one: 60 s.
    pub bookmark_interval: Duration,
    /// How long a watch lasts at most: 60 min. Each ends up to a tenth earlier, so that clients do
    /// not come back all at once.
    pub max_watch: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            history: History::default(),
            limits: Limits::default(),
            write_timeout: Duration::from_secs(30),
            version_wait: Duration::from_secs(3),
            bookmark_interval: Duration::from_secs(60),
            max_watch: Duration::from_secs(60 * 60),
        }
    }
}

impl LedgerOptions {
    /// Takes the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps this much history.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// Stores this much at most.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Waits this long for the store.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Waits this long for a version of the future.
    #[must_use]
    pub fn with_version_wait(mut self, wait: Duration) -> Self {
        self.version_wait = wait;
        self
    }

    /// Sends bookmarks this often.
    #[must_use]
    pub fn with_bookmark_interval(mut self, interval: Duration) -> Self {
        self.bookmark_interval = interval;
        self
    }

    /// Ends watches after this time.
    #[must_use]
    pub fn with_max_watch(mut self, max: Duration) -> Self {
        self.max_watch = max;
        self
    }
}

/// How much history is kept: an event that is over any of the three bounds is forgotten, and what
/// needs it is Expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Events of at most this age: 1 h. It is counted on [`Clock::instant`], which nobody sets; what an earlier run wrote is as old as
    /// the time of day says when it is loaded.
    pub max_age: Duration,
    /// At most so many events: 100,000.
    pub max_events: usize,
    /// Events of at most so many bytes of JSON together: 64 MiB.
    pub max_bytes: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(60 * 60), max_events: 100_000, max_bytes: 64 << 20 }
    }
}

impl History {
    /// Keeps events of at most this age.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Keeps at most so many events.
    #[must_use]
    pub fn with_max_events(mut self, events: usize) -> Self {
        self.max_events = events;
        self
    }

    /// Keeps events of at most so many bytes together.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// How many objects there may be beyond [`Limits::max_objects`]: as many as there may be leases.
pub(crate) const RESERVED_OBJECTS: usize = 256;
/// How many bytes leases may have beyond everything else: more than so many have, with as many condition types as they may.
const LEASE_BYTES: usize = 1 << 20;

/// How much may be stored, so that no writer can exhaust the node.
///
/// Above these limits there is room that only the ledger itself uses, so that a full store does not keep anybody from learning that a
/// provider is lost: for 256 [leases](crate::lease), and for a quarter of [`Self::max_total_bytes`], 1 MiB at least, of what is said of
/// conditions when they are set to Unknown. Beyond that they become Unknown without a message, for which there is twice as much room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest object, in bytes of JSON: 1 MiB.
    pub max_object_bytes: usize,
    /// How many objects, of all types together: 10,000.
    pub max_objects: usize,
    /// How many bytes of JSON all objects may have together: 64 MiB.
    pub max_total_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_object_bytes: 1 << 20, max_objects: 10_000, max_total_bytes: 64 << 20 }
    }
}

/// Whose limits hold for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Those of clients.
    Clients,
    /// Those of conditions that are set to Unknown. However many an object has, there is room for them in it.
    Overruled,
    /// The same where nothing is said beside that.
    Wordless,
    /// Those of leases, which have bounds of their own.
    Leases,
}

impl Limits {
    pub(super) fn of(self, room: Room) -> Self {
        let reserve = (self.max_total_bytes / 4).max(1 << 20);
        let (objects, bytes) = match room {
            Room::Clients => return self,
            Room::Overruled => (0, reserve),
            Room::Wordless => (0, reserve.saturating_mul(3)),
            Room::Leases => (RESERVED_OBJECTS, reserve.saturating_mul(3).saturating_add(LEASE_BYTES)),
        };
        Self {
            max_object_bytes: usize::MAX,
            max_objects: self.max_objects.saturating_add(objects),
            max_total_bytes: self.max_total_bytes.saturating_add(bytes),
        }
    }

    /// Stores objects of at most so many bytes.
    #[must_use]
    pub fn with_max_object_bytes(mut self, bytes: usize) -> Self {
        self.max_object_bytes = bytes;
        self
    }

    /// Stores at most so many objects.
    #[must_use]
    pub fn with_max_objects(mut self, objects: usize) -> Self {
        self.max_objects = objects;
        self
    }

    /// Stores objects of at most so many bytes together.
    #[must_use]
    pub fn with_max_total_bytes(mut self, bytes: usize) -> Self {
        self.max_total_bytes = bytes;
        self
    }
}
