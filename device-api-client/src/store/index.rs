// SPDX-License-Identifier: Apache-2.0
//! Objects by a key of one's own.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use device_api_core::resource::{Key, Resource};

use super::Store;
use super::state::Indexing;

/// Finds the keys of an object.
type KeysOf<R, K> = Box<dyn Fn(&R) -> Vec<K> + Send + Sync>;

/// The objects of a [`Store`] by keys of one's own, made by [`Store::index`]: as true as the store, and
/// cheap to clone.
pub struct Index<R, K> {
    store: Store<R>,
    entries: Arc<Entries<R, K>>,
}

struct Entries<R, K> {
    keys_of: KeysOf<R, K>,
    // Guards the entries. It is written under the store's write lock and read under its read lock, in that
    // order, so that both show the same state.
    by_key: RwLock<BTreeMap<K, Objects<R>>>,
}

type Objects<R> = BTreeMap<Key, Arc<R>>;

impl<R: Resource, K: Ord + Clone + Send + Sync + 'static> Index<R, K> {
    pub(super) fn new(store: Store<R>, keys_of: impl Fn(&R) -> Vec<K> + Send + Sync + 'static) -> Self {
        let entries = Arc::new(Entries { keys_of: Box::new(keys_of), by_key: RwLock::default() });
        let weak: Weak<Entries<R, K>> = Arc::downgrade(&entries);
        store.write().attach(weak);
        Self { store, entries }
    }

    /// The objects under this key, sorted by namespace, then name.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Vec<Arc<R>>
    where
        K: Borrow<Q>,
    {
        let _state = self.store.read();
        self.entries.read().get(key).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// The keys that have objects, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let _state = self.store.read();
        self.entries.read().keys().cloned().collect()
    }
}

impl<R, K> Entries<R, K> {
    // What is in it is whole after every statement.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<K, Objects<R>>> {
        self.by_key.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<K, Objects<R>>> {
        self.by_key.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Resource, K: Ord + Send + Sync> Indexing<R> for Entries<R, K> {
    fn insert(&self, key: &Key, object: &Arc<R>) {
        for at in (self.keys_of)(object) {
            self.write().entry(at).or_default().insert(key.clone(), Arc::clone(object));
        }
    }

    fn remove(&self, key: &Key, object: &Arc<R>) {
        for at in (self.keys_of)(object) {
            let mut by_key = self.write();
            if let Some(objects) = by_key.get_mut(&at) {
                objects.remove(key);
                if objects.is_empty() {
                    by_key.remove(&at);
                }
            }
        }
    }
}

impl<R, K> Clone for Index<R, K> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), entries: Arc::clone(&self.entries) }
    }
}

impl<R, K> fmt::Debug for Index<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}
