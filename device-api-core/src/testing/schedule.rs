// SPDX-License-Identifier: Apache-2.0
//! Which calls fail, and how: counted by kind, planned for the nth of a kind or for all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The faults `F` of the calls of kinds `C`. Clones are the same schedule.
#[derive(Debug)]
pub(super) struct Schedule<C, F> {
    // Guards the plan; held for a look-up, never while a call runs.
    plan: Arc<Mutex<Plan<C, F>>>,
    hanging: watch::Sender<usize>,
    released: watch::Sender<u64>,
}

#[derive(Debug)]
struct Plan<C, F> {
    calls: BTreeMap<C, u64>,
    once: BTreeMap<(C, u64), F>,
    always: BTreeMap<C, F>,
}

impl<C: Copy + Ord, F: Clone> Schedule<C, F> {
    pub(super) fn new() -> Self {
        let plan = Plan { calls: BTreeMap::new(), once: BTreeMap::new(), always: BTreeMap::new() };
        Self { plan: Arc::new(Mutex::new(plan)), hanging: watch::Sender::new(0), released: watch::Sender::new(0) }
    }

    /// The `n`th call of this kind from now on fails; 1 is the next.
    pub(super) fn nth(&self, call: C, n: u64, fault: F) {
        let mut plan = self.plan();
        let number = plan.calls.get(&call).copied().unwrap_or_default() + n;
        plan.once.insert((call, number), fault);
    }

    pub(super) fn always(&self, call: C, fault: F) {
        self.plan().always.insert(call, fault);
    }

    pub(super) fn clear(&self) {
        let mut plan = self.plan();
        plan.once.clear();
        plan.always.clear();
    }

    pub(super) fn calls(&self, call: C) -> u64 {
        self.plan().calls.get(&call).copied().unwrap_or_default()
    }

    /// Counts a call and says how it fails.
    pub(super) fn meet(&self, call: C) -> Option<F> {
        let mut plan = self.plan();
        let number = plan.calls.entry(call).or_default();
        *number += 1;
        let number = *number;
        plan.once.remove(&(call, number)).or_else(|| plan.always.get(&call).cloned())
    }

    /// Hangs until the next [`Self::release`].
    pub(super) async fn hang(&self) {
        let mut released = self.released.subscribe();
        let _hanging = Hanging::new(&self.hanging);
        let _ = released.changed().await;
    }

    /// Waits until a call hangs.
    pub(super) async fn hanging(&self) {
        // This handle keeps the channel open, so the wait ends only as wished.
        let _ = self.hanging.subscribe().wait_for(|hanging| *hanging > 0).await;
    }

    pub(super) fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    fn plan(&self) -> MutexGuard<'_, Plan<C, F>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, F> Clone for Schedule<C, F> {
    fn clone(&self) -> Self {
        Self { plan: Arc::clone(&self.plan), hanging: self.hanging.clone(), released: self.released.clone() }
    }
}

/// Counts one call as hanging until it goes on or is dropped.
struct Hanging<'a>(&'a watch::Sender<usize>);

impl<'a> Hanging<'a> {
    fn new(hanging: &'a watch::Sender<usize>) -> Self {
        hanging.send_modify(|hanging| *hanging += 1);
        Self(hanging)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|hanging| *hanging -= 1);
    }
}
