// SPDX-License-Identifier: Apache-2.0
//! The objects of a store, and how each event changes them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use device_api_core::resource::{Key, Resource};
use tokio::sync::broadcast;

use super::Update;

pub(super) struct State<R> {
    objects: BTreeMap<Key, Held<R>>,
    /// Which reading of the whole state this is: what an earlier one saw last is gone when it is complete.
    round: u64,
    indexes: Vec<Weak<dyn Indexing<R>>>,
    /// The latest changes, for whoever reads on; `None`: there will be no more.
    changes: Option<broadcast::Sender<Update<R>>>,
}

struct Held<R> {
    object: Arc<R>,
    round: u64,
}

/// What an index is told.
pub(super) trait Indexing<R>: Send + Sync {
    fn insert(&self, key: &Key, object: &Arc<R>);
    fn remove(&self, key: &Key, object: &Arc<R>);
}

impl<R: Resource> State<R> {
    pub(super) fn new(queue: usize) -> Self {
        let changes = broadcast::Sender::new(queue);
        Self { objects: BTreeMap::new(), round: 0, indexes: Vec::new(), changes: Some(changes) }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<R>> {
        self.objects.get(key).map(|held| Arc::clone(&held.object))
    }

    pub(super) fn list(&self) -> Vec<Arc<R>> {
        self.objects.values().map(|held| Arc::clone(&held.object)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The changes from here on, up to the end.
    pub(super) fn changes(&self) -> broadcast::Receiver<Update<R>> {
        // After the end: one whose sender is gone.
        self.changes.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Keeps this index true from now on.
    pub(super) fn attach(&mut self, index: Weak<dyn Indexing<R>>) {
        if let Some(index) = index.upgrade() {
            self.objects.iter().for_each(|(key, held)| index.insert(key, &held.object));
        }
        // Those that were dropped go with a change, too, which may never come.
        self.indexes.retain(|index| index.strong_count() > 0);
        self.indexes.push(index);
    }

    pub(super) fn end(&mut self) {
        self.changes = None;
    }

    /// The whole state follows. Each object takes the place of the old one at once, so that there are
    /// never two copies of everything.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    pub(super) fn apply(&mut self, key: Key, object: Arc<R>) {
        let held = Held { object: Arc::clone(&object), round: self.round };
        match self.objects.entry(key.clone()) {
            Entry::Vacant(place) => {
                place.insert(held);
                self.changed(&key, None, Some(object));
            }
            Entry::Occupied(mut place) if same(&*place.get().object, &*object) => place.get_mut().round = held.round,
            Entry::Occupied(mut place) => {
                let before = place.insert(held).object;
                self.changed(&key, Some(before), Some(object));
            }
        }
    }

    pub(super) fn delete(&mut self, key: &Key, last: Arc<R>) {
        if let Some(held) = self.objects.remove(key) {
            self.tell_indexes(|index| index.remove(key, &held.object));
            self.announce(Update::Deleted(last));
        }
    }

    /// That was the whole state.
    pub(super) fn complete(&mut self) {
        let round = self.round;
        let gone: Vec<_> = self.objects.extract_if(.., |_, held| held.round != round).collect();
        for (key, held) in gone {
            self.changed(&key, Some(held.object), None);
        }
    }

    fn changed(&mut self, key: &Key, before: Option<Arc<R>>, now: Option<Arc<R>>) {
        self.tell_indexes(|index| {
            before.iter().for_each(|object| index.remove(key, object));
            now.iter().for_each(|object| index.insert(key, object));
        });
        match (before, now) {
            (Some(before), Some(now)) if before.metadata().uid == now.metadata().uid => {
                self.announce(Update::Modified { before, now });
            }
            // Another object of the same name: the end of the first one was missed.
            (before, now) => {
                before.into_iter().for_each(|before| self.announce(Update::Deleted(before)));
                now.into_iter().for_each(|now| self.announce(Update::Added(now)));
            }
        }
    }

    fn tell_indexes(&mut self, tell: impl Fn(&dyn Indexing<R>)) {
        self.indexes.retain(|index| {
            let Some(index) = index.upgrade() else { return false };
            // One index's panic is neither the store's nor that of the others.
            if catch_unwind(AssertUnwindSafe(|| tell(&*index))).is_err() {
                tracing::error!("an index function panicked: its index is not what the store is");
            }
            true
        });
    }

    fn announce(&self, update: Update<R>) {
        // It fails when nobody is subscribed, which is nobody's loss.
        let _ = self.changes.as_ref().map(|changes| changes.send(update));
    }
}

/// Whether that is the same state of the same object. A version alone would tell, but for servers that send none.
fn same<R: Resource>(left: &R, right: &R) -> bool {
    let (one, other) = (left.metadata(), right.metadata());
    one.uid == other.uid
        && one.resource_version == other.resource_version
        && (!one.resource_version.is_empty() || left == right)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use device_api_core::resource::{Gpu, ObjectMeta};

    use crate::Store;
    use crate::watcher::Event;

    #[test]
    fn an_index_that_panics_harms_neither_the_store_nor_the_other_indexes() {
        let store = Store::<Gpu>::new(8);
        let gpu = |name: &str| Arc::new(Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() });
        let picky = store.index(|gpu| {
            assert_ne!(gpu.metadata.name, "b", "a bug, on purpose");
            [gpu.metadata.name.clone()]
        });
        let other = store.index(|gpu| [gpu.metadata.name.clone()]);
        for name in ["a", "b", "c"] {
            store.take(Event::Apply(gpu(name))).unwrap();
        }
        store.take(Event::Delete(gpu("b"))).unwrap();
        store.take(Event::Apply(gpu("d"))).unwrap();
        assert_eq!(store.list().len(), 3);
        assert_eq!(other.keys(), ["a", "c", "d"]);
        assert_eq!(picky.keys(), ["a", "c", "d"]);
    }

    #[test]
    fn indexes_that_nobody_has_any_more_take_no_memory_though_nothing_changes() {
        let store = Store::<Gpu>::new(1);
        let kept = store.index(|gpu| [gpu.metadata.uid.clone()]);
        for _ in 0..1000 {
            drop(store.index(|gpu| [gpu.spec.uuid.clone()]));
            drop(store.subscribe());
        }
        // The one that is kept, and the last that was dropped.
        assert_eq!(store.read().indexes.len(), 2);
        assert!(kept.keys().is_empty());
    }
}
