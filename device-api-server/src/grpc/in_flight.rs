// SPDX-License-Identifier: Apache-2.0
//! Whether calls are in flight: begun, and not yet answered to the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The calls in flight on one connection, and those of all connections that have no answer.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    unanswered: TaskTracker,
    own: TaskTracker,
    // When the last one ended, or the connection began. It is set and read, nothing more, so a plain lock.
    since: Arc<Mutex<Instant>>,
}

impl InFlight {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { unanswered: TaskTracker::new(), own: TaskTracker::new(), since: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Those of another connection.
    pub(super) fn of_connection(&self) -> Self {
        Self { unanswered: self.unanswered.clone(), ..Self::new() }
    }

    /// Counts a call until what is returned is dropped.
    pub(super) fn call(&self) -> Call {
        Call { unanswered: Some(self.unanswered.token()), own: Some(self.own.token()), in_flight: self.clone() }
    }

    /// Whether any connection has a call whose answer has not begun.
    pub(crate) fn any_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// How long this connection has had no call; `None` while it has one.
    pub(crate) fn idle(&self) -> Option<Duration> {
        // In this order: when a call has ceased to count, its end is known.
        self.own.is_empty().then(|| self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }

    /// Waits until this connection has had no call for so long, from now on.
    pub(crate) async fn idle_for(&self, time: Duration) {
        self.own.close();
        loop {
            self.own.wait().await;
            sleep(time).await;
            if self.idle().is_some_and(|idle| idle >= time) {
                return;
            }
        }
    }
}

/// A call in flight.
#[derive(Debug)]
pub(super) struct Call {
    unanswered: Option<TaskTrackerToken>,
    own: Option<TaskTrackerToken>,
    in_flight: InFlight,
}

impl Call {
    /// Its answer begins.
    pub(super) fn answered(&mut self) {
        self.unanswered = None;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *self.in_flight.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.own = None;
    }
}
