// SPDX-License-Identifier: Apache-2.0
//! Until when each lease is held: the part of leases that is in memory only.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::check::LONGEST;
use super::record::LeaseSpec;
use crate::resource::Timestamp;

/// Until when each lease is held, by the id of its holder.
///
/// A lease without a deadline, such as one of before a restart, has one full duration from when it is first looked at.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    // Guards the map; a plain mutex, since it is held for a look-up. It is never held over an await. The ledger's task takes it
    // too, so that a lease is renewed before its expiry is noted or after, and never in between.
    known: Mutex<HashMap<String, Deadline>>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// On a clock that nobody sets: a wall clock that jumps expires nothing.
    at: Instant,
    renewed_at: Timestamp,
}

impl Deadlines {
    // The map is whole after every statement.
    fn known(&self) -> MutexGuard<'_, HashMap<String, Deadline>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when a lease is held unless it is renewed, and when it was renewed last.
    pub(super) fn of(&self, lease: &LeaseSpec) -> (Instant, Timestamp) {
        let deadline = *self.known().entry(lease.id.clone()).or_insert_with(|| Deadline::of(lease, lease.renewed_at));
        (deadline.at, deadline.renewed_at)
    }

    /// Whether a lease is over, noted or not.
    pub(super) fn is_over(&self, lease: &LeaseSpec) -> bool {
        lease.expired || self.of(lease).0 <= Instant::now()
    }

    /// Renews a lease from now on if it is not over.
    pub(super) fn renew(&self, lease: &LeaseSpec, now: Timestamp) -> bool {
        let mut known = self.known();
        let deadline = known.entry(lease.id.clone()).or_insert_with(|| Deadline::of(lease, now));
        if lease.expired || deadline.at <= Instant::now() {
            return false;
        }
        *deadline = Deadline::of(lease, now);
        true
    }

    /// Begins a lease anew, over or not.
    pub(super) fn begin(&self, lease: &LeaseSpec, now: Timestamp) {
        self.known().insert(lease.id.clone(), Deadline::of(lease, now));
    }

    /// Forgets all leases but these.
    pub(super) fn retain(&self, ids: &HashSet<&str>) {
        self.known().retain(|id, _| ids.contains(id.as_str()));
    }
}

impl Deadline {
    fn of(lease: &LeaseSpec, renewed_at: Timestamp) -> Self {
        // What was stored was checked, but a disk can say anything.
        Self { at: Instant::now() + lease.duration.min(LONGEST), renewed_at }
    }
}
