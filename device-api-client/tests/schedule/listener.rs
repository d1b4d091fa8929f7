// SPDX-License-Identifier: Apache-2.0
//! A subscriber that checks what it is told.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their modules

use std::collections::BTreeMap;
use std::sync::Arc;

use device_api_client::core::resource::Gpu;
use device_api_client::{Store, Subscription, Update};
use futures_util::FutureExt as _;

use super::{Seen, Truth};

/// A subscriber: what it knows, and what it was told.
pub(crate) struct Listener {
    updates: Subscription<Gpu>,
    known: BTreeMap<String, Arc<Gpu>>,
    /// Between two snapshots: the versions of what was told.
    runs: Vec<Vec<Told>>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    version: u64,
    /// Whether it is an end that was not seen, found by its absence from a list.
    found_gone: bool,
}

fn version(gpu: &Gpu) -> u64 {
    gpu.metadata.resource_version.parse().unwrap()
}

impl Listener {
    pub(crate) fn new(store: &Store<Gpu>) -> Self {
        Self { updates: store.subscribe(), known: BTreeMap::new(), runs: Vec::new() }
    }

    /// Reads what there is, but not more than that.
    pub(crate) fn read(&mut self, most: usize, seen: &mut Seen) {
        for _ in 0..most {
            // `None`: nothing now. A reflector that runs ends no subscription.
            let Some(update) = self.updates.next().now_or_never() else { return };
            self.take(update.expect("the subscription goes on"), seen);
        }
    }

    fn take(&mut self, update: Update<Gpu>, seen: &mut Seen) {
        let (known, told) = match update {
            Update::Snapshot { objects, missed } => {
                assert_eq!(missed > 0, !self.runs.is_empty(), "a snapshot comes first, or after something was missed");
                seen.snapshots += 1;
                seen.lags += u64::from(missed > 0);
                self.known = objects.into_iter().map(|gpu| (gpu.metadata.name.clone(), gpu)).collect();
                self.runs.push(Vec::new());
                return;
            }
            Update::Added(gpu) => (self.known.insert(gpu.metadata.name.clone(), Arc::clone(&gpu)).is_none(), gpu),
            Update::Modified { before, now } => {
                let known = self.known.insert(now.metadata.name.clone(), Arc::clone(&now));
                (known == Some(before), now)
            }
            Update::Deleted(gpu) => {
                let known = self.known.remove(&gpu.metadata.name);
                let known = known.expect("what is gone was there");
                self.runs.last_mut().unwrap().push(Told { version: version(&gpu), found_gone: known == gpu });
                seen.relists += u64::from(known == gpu);
                seen.changes += 1;
                assert!(known.metadata.uid == gpu.metadata.uid, "{known:?} is not {gpu:?}");
                return;
            }
        };
        assert!(known, "what is told fits what was told before: {told:?}");
        seen.changes += 1;
        self.runs.last_mut().expect("a snapshot comes first").push(Told { version: version(&told), found_gone: false });
    }

    /// Checks what was told in all, by one who has read everything.
    pub(crate) fn check(&self, list: &[Arc<Gpu>], truth: &Truth, in_order: bool, seen: &mut Seen) {
        assert!(self.known.values().eq(list), "what was told adds up to what is there");
        for run in &self.runs {
            let versions: Vec<_> = run.iter().filter(|told| !told.found_gone).map(|told| told.version).collect();
            if in_order || !truth.expired {
                assert!(versions.is_sorted_by(|one, other| one < other), "in order, none twice: {versions:?}");
            }
            let unknown: Vec<_> = versions.iter().filter(|version| !truth.versions.contains(version)).collect();
            assert!(unknown.is_empty(), "no write made {unknown:?}");
            if !truth.expired {
                assert_eq!(versions.len(), run.len(), "nothing is found gone where no history is lost");
                let from = truth.versions.iter().position(|version| Some(version) == versions.first());
                let truly = &truth.versions[from.unwrap_or(truth.versions.len())..];
                assert!(truly.starts_with(&versions), "none is lost: {versions:?} of {truly:?}");
                seen.exact += 1;
            }
        }
    }
}
