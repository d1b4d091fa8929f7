// SPDX-License-Identifier: Apache-2.0
//! One batch of writes before it is committed.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::books::Usage;
use super::cache::{Cache, Event, Stored};
use super::ledger::{Answer, Work};
use super::options::{Limits, Room};
use crate::Error;
use crate::resource::condition::overruled_bytes;
use crate::resource::{Conditions as _, Key, Resource, Timestamp};
use crate::storage::{Change, Record, Revision};

/// The writes of one batch, staged on top of the committed state: each sees those before it.
pub(super) struct Stage {
    now: Timestamp,
    limits: Limits,
    /// The revision of the last staged write.
    last: Revision,
    usage: Usage,
    /// What the batch has made of the keys that it touched: an `Option<Stored<R>>` each.
    touched: HashMap<(&'static str, Key), Box<dyn Any + Send>>,
    /// Whether the present write staged something, or saw what another had staged.
    involved: bool,
    /// How many bytes of objects were staged.
    bytes: usize,
    records: Vec<Record>,
    publications: Vec<Publication>,
}

/// Makes one committed write visible.
pub(super) type Publication = Box<dyn FnOnce() + Send>;

/// What a write decided about an object.
#[derive(Debug)]
pub(super) enum Decision<R> {
    /// Store this, at the next revision.
    Put(R),
    /// Remove it.
    Delete,
}

/// A stage that is done: what to commit, and what to make visible then.
pub(super) struct Staged {
    pub(super) records: Vec<Record>,
    pub(super) publications: Vec<Publication>,
    pub(super) usage: Usage,
}

impl Stage {
    pub(super) fn new(now: Timestamp, limits: Limits, last: Revision, usage: Usage) -> Self {
        Self {
            now,
            limits,
            last,
            usage,
            touched: HashMap::new(),
            involved: false,
            bytes: 0,
            records: Vec::new(),
            publications: Vec::new(),
        }
    }

    /// Runs one write. Returns its answer, and whether that stands and falls with the batch: one that
    /// neither staged anything nor saw what is staged does not.
    pub(super) fn run(&mut self, work: Work) -> (Answer, bool) {
        self.involved = false;
        let answer = work(self);
        (answer, self.involved)
    }

    /// How many bytes of objects were staged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The object as the writes before this one left it.
    pub(super) fn current<R: Resource>(&mut self, cache: &Cache<R>, key: &Key) -> Option<Stored<R>> {
        match self.touched.get(&(R::PLURAL, key.clone())) {
            Some(touched) => {
                self.involved = true;
                touched.downcast_ref::<Option<Stored<R>>>().cloned().flatten()
            }
            None => cache.stored(key),
        }
    }

    /// Every object of a type as the writes before this one left it, in order.
    pub(super) fn all<R: Resource>(&mut self, cache: &Cache<R>) -> Vec<Arc<R>> {
        let mut objects: BTreeMap<Key, Arc<R>> =
            cache.snapshot(None).objects.into_iter().map(|(key, stored)| (key, stored.object)).collect();
        for ((_, key), touched) in self.touched.iter().filter(|((plural, _), _)| *plural == R::PLURAL) {
            self.involved = true;
            match touched.downcast_ref::<Option<Stored<R>>>() {
                Some(Some(stored)) => objects.insert(key.clone(), Arc::clone(&stored.object)),
                _ => objects.remove(key),
            };
        }
        objects.into_values().collect()
    }

    /// Checks everything about a write that [`Self::write`] would, and stages nothing.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn check<R: Resource>(
        &mut self,
        cache: &Cache<R>,
        key: &Key,
        room: Room,
        object: &R,
    ) -> Result<(), Error> {
        let (previous, limits) = (self.current(cache, key), self.limits.of(room));
        let bytes = encode(key, object, 0, &limits)?.len();
        let size = previous.as_ref().map(|stored| stored.bytes);
        self.usage.check(size, Some(bytes), &limits).map(drop)
    }

    /// Stages a write at the next revision and returns the object as it will be stored; for a delete,
    /// its last state with the version of the delete.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the object or the store would be over a limit; nothing is staged then.
    pub(super) fn write<R: Resource>(
        &mut self,
        cache: &Arc<Cache<R>>,
        key: &Key,
        actor: String,
        room: Room,
        decision: Decision<R>,
    ) -> Result<Arc<R>, Error> {
        let (previous, limits) = (self.current(cache, key), self.limits.of(room));
        let revision = self.last.next();
        let (object, current, change) = match decision {
            Decision::Put(mut object) => {
                object.metadata_mut().resource_version = revision.to_string();
                let expected = previous.as_ref().map_or(0, |stored| stored.bytes);
                let bytes = encode(key, &object, expected, &limits)?;
                let object = Arc::new(object);
                let stored = Stored { object: Arc::clone(&object), revision, bytes: bytes.len() };
                (object, Some(stored), Change::Put(bytes))
            }
            Decision::Delete => {
                let Some(previous) = &previous else { return Err(Error::not_found::<R>(key.name())) };
                let mut last = R::clone(&previous.object);
                last.metadata_mut().resource_version = revision.to_string();
                (Arc::new(last), None, Change::Delete)
            }
        };
        let size = |stored: &Option<Stored<R>>| stored.as_ref().map(|stored| stored.bytes);
        self.usage = self.usage.check(size(&previous), size(&current), &limits)?;
        self.involved = true;
        self.bytes += size(&current).unwrap_or(0);
        self.last = revision;
        self.records.push(Record {
            revision,
            previous: previous.as_ref().map_or(Revision::ZERO, |stored| stored.revision),
            at: self.now,
            actor,
            resource: R::PLURAL.to_owned(),
            key: key.into(),
            change,
        });
        self.touched.insert((R::PLURAL, key.clone()), Box::new(current.clone()));
        let event = Event { revision, key: key.clone(), previous, current };
        let cache = Arc::clone(cache);
        self.publications.push(Box::new(move || cache.publish(event)));
        Ok(object)
    }

    pub(super) fn finish(self) -> Staged {
        Staged { records: self.records, publications: self.publications, usage: self.usage }
    }
}

/// The bytes of an object as they are stored. How many are expected may be wrong.
///
/// # Errors
/// [`Error::TooLarge`] over the limit; [`Error::Internal`] when the type does not serialise, or
/// not to what reads back as the same.
fn encode<R: Resource>(key: &Key, object: &R, expected: usize, limits: &Limits) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(expected);
    serde_json::to_writer(&mut bytes, object).map_err(|cause| Error::Internal {
        why: format!("{} {:?} cannot be written as JSON", R::PLURAL, key.name()),
        cause: crate::error::Cause::of(cause),
    })?;
    // An object that does not read back would not be there after a restart.
    if !serde_json::from_slice::<R>(&bytes).is_ok_and(|back| back == *object) {
        let why = format!("{} {:?} does not read back from JSON as it was", R::PLURAL, key.name());
        return Err(Error::internal(why));
    }
    if bytes.len() > limits.max_object_bytes.saturating_add(overruled_bytes(object.status().conditions())) {
        return Err(Error::TooLarge {
            what: format!("{} {:?} of {} bytes", R::PLURAL, key.name(), bytes.len()),
            limit: format!("{} bytes", limits.max_object_bytes),
            hint: "store less in it".to_owned(),
        });
    }
    Ok(bytes)
}
