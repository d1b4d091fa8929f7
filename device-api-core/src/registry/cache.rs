// SPDX-License-Identifier: Apache-2.0
//! What readers see: the committed state of one resource type, and its recent history.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::jump::{self, Jump};
use crate::Error;
use crate::resource::{Key, Resource};
use crate::storage::Revision;

/// The committed objects of one type, and the events that led to them.
#[derive(Debug)]
pub(super) struct Cache<R> {
    /// Guards objects and history together, so that a list is one consistent snapshot. A plain
    /// `RwLock`, since readers only look up or copy `Arc`s and the one writer adds an event; it is
    /// never held over an await.
    state: RwLock<State<R>>,
    /// Rings when there is something to read, and says how far every event was published.
    doorbell: watch::Sender<Announced>,
}

#[derive(Debug)]
struct State<R> {
    objects: BTreeMap<Key, Stored<R>>,
    /// Events after `floor`, in the order of their revisions.
    history: VecDeque<Arc<Event<R>>>,
    /// Everything up to here was forgotten.
    floor: Revision,
    /// What was left out after `floor`, in ascending order: nobody can be at a version of it.
    jumps: Vec<Jump>,
    /// The state is that of this revision.
    revision: Revision,
}

/// How far a cache has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    /// Every event up to here can be read.
    pub(super) revision: Revision,
    /// There will be no more.
    pub(super) closed: bool,
}

/// An object as it is stored.
#[derive(Debug)]
pub(super) struct Stored<R> {
    pub(super) object: Arc<R>,
    pub(super) revision: Revision,
    /// The size of its JSON.
    pub(super) bytes: usize,
}

impl<R> Clone for Stored<R> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), revision: self.revision, bytes: self.bytes }
    }
}

/// One committed change of one object.
#[derive(Debug)]
pub(super) struct Event<R> {
    pub(super) revision: Revision,
    pub(super) key: Key,
    pub(super) previous: Option<Stored<R>>,
    pub(super) current: Option<Stored<R>>,
}

/// A consistent state of a cache, sorted by key.
#[derive(Debug)]
pub(super) struct CacheSnapshot<R> {
    pub(super) revision: Revision,
    pub(super) objects: Vec<(Key, Stored<R>)>,
}

impl<R: Resource> Cache<R> {
    /// An empty cache whose history starts after `floor` and leaves something out.
    pub(super) fn new(floor: Revision, jumps: Vec<Jump>) -> Self {
        let state = State { objects: BTreeMap::new(), history: VecDeque::new(), floor, jumps, revision: floor };
        let announced = Announced { revision: floor, closed: false };
        Self { state: RwLock::new(state), doorbell: watch::Sender::new(announced) }
    }

    // The state is whole after every statement, so a panic of another reader spoils nothing.
    fn read(&self) -> RwLockReadGuard<'_, State<R>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<R>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<R>> {
        self.read().objects.get(key).map(|stored| Arc::clone(&stored.object))
    }

    pub(super) fn stored(&self, key: &Key) -> Option<Stored<R>> {
        self.read().objects.get(key).cloned()
    }

    /// The state now, of the keys after `after`.
    pub(super) fn snapshot(&self, after: Option<&Key>) -> CacheSnapshot<R> {
        let state = self.read();
        CacheSnapshot { revision: state.revision, objects: state.objects_after(after) }
    }

    /// The state as of a revision that was announced already, of the keys after `after`: the present
    /// one, with the history taken back.
    ///
    /// # Errors
    /// [`Error::Expired`] when history does not reach back so far.
    pub(super) fn snapshot_at(&self, revision: Revision, after: Option<&Key>) -> Result<CacheSnapshot<R>, Error> {
        let (objects, since) = {
            let state = self.read();
            state.check_floor(revision)?;
            let since: Vec<_> = state.history.iter().skip(state.after(revision)).cloned().collect();
            (state.objects_after(after), since)
        };
        let mut then: BTreeMap<&Key, &Option<Stored<R>>> = BTreeMap::new();
        for event in since.iter().filter(|event| after.is_none_or(|after| event.key > *after)) {
            // What the first event since then found is what was there then.
            then.entry(&event.key).or_insert(&event.previous);
        }
        if then.is_empty() {
            return Ok(CacheSnapshot { revision, objects });
        }
        let mut objects: BTreeMap<Key, Stored<R>> = objects.into_iter().collect();
        for (key, stored) in then {
            match stored {
                Some(stored) => objects.insert(key.clone(), stored.clone()),
                None => objects.remove(key),
            };
        }
        Ok(CacheSnapshot { revision, objects: objects.into_iter().collect() })
    }

    /// Objects as they were at a revision, each named with its own revision then; of the wanted ones
    /// as many as have no more than `bytes` of JSON, but at least one.
    ///
    /// # Errors
    /// [`Error::Expired`] when history does not reach back so far.
    pub(super) fn objects_at(
        &self,
        revision: Revision,
        wanted: &[(Revision, Key)],
        bytes: usize,
    ) -> Result<Vec<Stored<R>>, Error> {
        let state = self.read();
        state.check_floor(revision)?;
        let now = |own: Revision, key: &Key| state.objects.get(key).filter(|stored| stored.revision == own);
        let changed: HashSet<&Key> =
            wanted.iter().filter(|(own, key)| now(*own, key).is_none()).map(|(_, key)| key).collect();
        let mut then: HashMap<&Key, &Stored<R>> = HashMap::new();
        if !changed.is_empty() {
            for event in state.history.iter().skip(state.after(revision)) {
                if let Some(previous) = event.previous.as_ref().filter(|_| changed.contains(&event.key)) {
                    then.entry(&event.key).or_insert(previous);
                }
            }
        }
        let mut found = Vec::new();
        let mut size = 0;
        for (own, key) in wanted {
            let stored = now(*own, key).or_else(|| then.get(key).copied());
            // What was there at a revision that history reaches back to is either there still or in it.
            let stored = stored.ok_or_else(|| Error::internal(format!("{} {key} is not in history", R::PLURAL)))?;
            size += stored.bytes;
            if size > bytes && !found.is_empty() {
                break;
            }
            found.push(stored.clone());
        }
        Ok(found)
    }

    /// At most `most` events after a revision, and few enough that their objects have no more than
    /// `bytes` of JSON, if there is more than one; none when all were read.
    ///
    /// # Errors
    /// [`Error::Expired`] when events after it were forgotten.
    pub(super) fn events_after(
        &self,
        revision: Revision,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<Arc<Event<R>>>, Error> {
        let state = self.read();
        state.check_floor(revision)?;
        let mut taken = Vec::new();
        let mut size = 0;
        for event in state.history.iter().skip(state.after(revision)).take(most) {
            size += event.current.as_ref().or(event.previous.as_ref()).map_or(0, |stored| stored.bytes);
            if size > bytes && !taken.is_empty() {
                break;
            }
            taken.push(Arc::clone(event));
        }
        Ok(taken)
    }

    /// Adds a committed event. Readers see it from now on.
    pub(super) fn publish(&self, event: Event<R>) {
        let mut state = self.write();
        match &event.current {
            Some(stored) => state.objects.insert(event.key.clone(), stored.clone()),
            None => state.objects.remove(&event.key),
        };
        state.revision = event.revision;
        state.history.push_back(Arc::new(event));
    }

    /// Says that every event up to `revision` was published, here or in another cache, and forgets
    /// history up to `floor`.
    pub(super) fn announce(&self, revision: Revision, floor: Revision) {
        let forgotten: Vec<_> = {
            let mut state = self.write();
            state.revision = state.revision.max(revision);
            state.floor = state.floor.max(floor);
            // Not by halves: each write forgets one or two, and the rest is not in the processor's cache.
            let end = state.history.iter().take_while(|event| event.revision <= floor).count();
            state.history.drain(..end).collect()
        };
        self.doorbell.send_if_modified(|announced| {
            let news = announced.revision < revision;
            announced.revision = announced.revision.max(revision);
            news
        });
        // Dropped here, outside the lock: freeing thousands of objects takes a while.
        drop(forgotten);
    }

    /// Says that there will be no more events.
    pub(super) fn close(&self) {
        self.doorbell.send_modify(|announced| announced.closed = true);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Announced> {
        self.doorbell.subscribe()
    }
}

impl<R> State<R> {
    fn objects_after(&self, after: Option<&Key>) -> Vec<(Key, Stored<R>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.objects.range::<Key, _>((start, Bound::Unbounded));
        objects.map(|(key, stored)| (key.clone(), stored.clone())).collect()
    }

    /// The index of the first event after a revision.
    fn after(&self, revision: Revision) -> usize {
        self.history.partition_point(|event| event.revision <= revision)
    }

    fn check_floor(&self, revision: Revision) -> Result<(), Error> {
        if revision < self.floor {
            return Err(Error::Expired { requested: revision.0, oldest: self.floor.0 });
        }
        // A version of a state that is lost: it is not known what came after it.
        match jump::over(&self.jumps, revision) {
            Some(jump) => Err(Error::Expired { requested: revision.0, oldest: jump.to.0 }),
            None => Ok(()),
        }
    }
}
