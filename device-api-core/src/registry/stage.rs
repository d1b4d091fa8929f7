// SPDX-License-Identifier: Apache-2.0
//! One batch of writes before it is committed.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::books::Usage;
use super::cache::{Cache, Event, Stored};
use super::options::Limits;
use crate::Error;
use crate::resource::{Key, Resource, Timestamp};
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
        Self { now, limits, last, usage, touched: HashMap::new(), records: Vec::new(), publications: Vec::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The object as the writes before this one left it.
    pub(super) fn current<R: Resource>(&self, cache: &Cache<R>, key: &Key) -> Option<Stored<R>> {
        match self.touched.get(&(R::PLURAL, key.clone())) {
            Some(touched) => touched.downcast_ref::<Option<Stored<R>>>().cloned().flatten(),
            None => cache.stored(key),
        }
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
        decision: Decision<R>,
    ) -> Result<Arc<R>, Error> {
        let previous = self.current(cache, key);
        let revision = self.last.next();
        let (object, current, change) = match decision {
            Decision::Put(mut object) => {
                object.metadata_mut().resource_version = revision.to_string();
                let expected = previous.as_ref().map_or(0, |stored| stored.bytes);
                let bytes = self.encode(key, &object, expected)?;
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
        self.usage = self.usage.check(previous.as_ref(), current.as_ref(), &self.limits)?;
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

    /// The bytes of an object as they are stored. How many are expected may be wrong.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over the limit; [`Error::Internal`] when the type does not serialise.
    pub(super) fn encode<R: Resource>(&self, key: &Key, object: &R, expected: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(expected);
        serde_json::to_writer(&mut bytes, object).map_err(|cause| Error::Internal {
            why: format!("{} {:?} cannot be written as JSON", R::PLURAL, key.name()),
            cause: crate::error::Cause::of(cause),
        })?;
        if bytes.len() > self.limits.max_object_bytes {
            return Err(Error::TooLarge {
                what: format!("{} {:?} of {} bytes", R::PLURAL, key.name(), bytes.len()),
                limit: format!("{} bytes", self.limits.max_object_bytes),
                hint: "store less in it".to_owned(),
            });
        }
        Ok(bytes)
    }

    pub(super) fn finish(self) -> Staged {
        Staged { records: self.records, publications: self.publications, usage: self.usage }
    }
}
