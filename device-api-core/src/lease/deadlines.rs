// SPDX-License-Identifier: Apache-2.0
//! Until when each lease is held: the part of leases that is in memory only.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::check::LONGEST;
use super::record::LeaseSpec;
use crate::registry::Clock;
use crate::resource::Timestamp;

/// Until when each lease is held, by the id of its holder.
///
/// A lease without a deadline, such as one of before a restart, has one full duration from when it is first looked at.
#[derive(Debug)]
pub(super) struct Deadlines {
    clock: Arc<dyn Clock>,
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
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, known: Mutex::default() }
    }

    // The map is whole after every statement.
    fn known(&self) -> MutexGuard<'_, HashMap<String, Deadline>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when a lease is held unless it is renewed, and when it was renewed last.
    pub(super) fn of(&self, lease: &LeaseSpec) -> (Instant, Timestamp) {
        let deadline = *self.known().entry(lease.id.clone()).or_insert_with(|| self.deadline(lease, lease.renewed_at));
        (deadline.at, deadline.renewed_at)
    }

    /// Whether a lease is over, noted or not.
    pub(super) fn is_over(&self, lease: &LeaseSpec) -> bool {
        lease.expired || self.of(lease).0 <= self.clock.instant()
    }

    /// Renews a lease from now on if it is not over.
    pub(super) fn renew(&self, lease: &LeaseSpec, now: Timestamp) -> bool {
        let mut known = self.known();
        let deadline = known.entry(lease.id.clone()).or_insert_with(|| self.deadline(lease, now));
        if lease.expired || deadline.at <= self.clock.instant() {
            return false;
        }
        *deadline = self.deadline(lease, now);
        true
    }

    /// Begins a lease anew, over or not.
    pub(super) fn begin(&self, lease: &LeaseSpec, now: Timestamp) {
        self.known().insert(lease.id.clone(), self.deadline(lease, now));
    }

    /// Forgets all leases but these.
    pub(super) fn retain(&self, ids: &HashSet<&str>) {
        self.known().retain(|id, _| ids.contains(id.as_str()));
    }

    /// Waits until this time.
    pub(super) async fn pass(&self, at: Instant) {
        self.clock.sleep_until(at).await;
    }

    fn deadline(&self, lease: &LeaseSpec, renewed_at: Timestamp) -> Deadline {
        // What was stored was checked, but a disk can say anything.
        Deadline { at: self.clock.instant() + lease.duration.min(LONGEST), renewed_at }
    }
}
