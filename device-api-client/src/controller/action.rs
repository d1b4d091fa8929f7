// SPDX-License-Identifier: Apache-2.0
//! When an object is reconciled next.

use std::time::Duration;

/// When an object is reconciled next, if nothing triggers it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Action {
    pub(super) requeue_after: Option<Duration>,
}

impl Action {
    /// After this time, or when it is triggered before.
    pub fn requeue(after: Duration) -> Self {
        Self { requeue_after: Some(after) }
    }

    /// When it is triggered: all that it depends on is watched.
    pub fn await_change() -> Self {
        Self { requeue_after: None }
    }
}
