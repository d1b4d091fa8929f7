// SPDX-License-Identifier: Apache-2.0
//! What the ledger knows of the store: revisions, usage, history's age, and which type is where.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::cache::{Cache, Event, Stored};
use super::options::{History, Limits};
use super::stage::Publication;
use crate::Error;
use crate::error::Cause;
use crate::resource::{Key, Resource, Timestamp};
use crate::storage::{Change, Record, RecordKey, Revision, Snapshot, StorageError, StorageErrorKind};

/// The ledger's own state; only its task touches it.
#[derive(Debug)]
pub(super) struct Books {
    /// The last committed revision.
    pub(super) revision: Revision,
    /// History up to here was forgotten in memory.
    pub(super) floor: Revision,
    /// History up to here was forgotten in the store.
    pub(super) compacted: Revision,
    pub(super) usage: Usage,
    /// The events after `floor`, of all types.
    history: VecDeque<Entry>,
    history_bytes: usize,
    /// The caches, by plural.
    kinds: BTreeMap<&'static str, Arc<dyn Kind>>,
    /// Records of types that no registry serves yet. They stay in the store untouched.
    unclaimed: BTreeMap<String, Vec<Record>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    revision: Revision,
    at: Timestamp,
    bytes: usize,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) objects: usize,
    pub(super) bytes: usize,
}

impl Usage {
    /// The usage that records add up to.
    fn of(records: &[Record]) -> Self {
        let mut sizes: BTreeMap<(&str, &RecordKey), usize> = BTreeMap::new();
        for record in records {
            let key = (record.resource.as_str(), &record.key);
            match &record.change {
                Change::Put(bytes) => sizes.insert(key, bytes.len()),
                Change::Delete => sizes.remove(&key),
            };
        }
        Self { objects: sizes.len(), bytes: sizes.values().sum() }
    }

    /// The usage after a change from one size of an object to another.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the change adds to what is then over a limit. One that takes away is
    /// never refused.
    pub(super) fn check(self, previous: Option<usize>, current: Option<usize>, limits: &Limits) -> Result<Self, Error> {
        let after = Self {
            objects: (self.objects + usize::from(current.is_some())).saturating_sub(usize::from(previous.is_some())),
            bytes: (self.bytes + current.unwrap_or(0)).saturating_sub(previous.unwrap_or(0)),
        };
        let over = |what: &str, limit: usize, unit: &str| {
            Err(Error::TooLarge {
                what: what.to_owned(),
                limit: format!("{limit} {unit}"),
                hint: "delete objects that are no longer needed".to_owned(),
            })
        };
        if after.objects > self.objects && after.objects > limits.max_objects {
            return over("the number of objects", limits.max_objects, "objects");
        }
        if after.bytes > self.bytes && after.bytes > limits.max_total_bytes {
            return over("the size of all objects together", limits.max_total_bytes, "bytes");
        }
        Ok(after)
    }
}

/// A cache whose type was forgotten.
pub(super) trait Kind: fmt::Debug + Send + Sync {
    /// Reads a record that was found in the store, to be published when all are read.
    fn read(self: Arc<Self>, record: &Record) -> Result<Publication, StorageError>;
    fn announce(&self, revision: Revision, floor: Revision);
    fn close(&self);
}

impl<R: Resource> Kind for Cache<R> {
    fn read(self: Arc<Self>, record: &Record) -> Result<Publication, StorageError> {
        let corrupt = |why: &str| corrupt(format!("revision {}: {why}", record.revision));
        let key = Key::of::<R>(&record.key.namespace, &record.key.name)
            .map_err(|error| corrupt("its key is not valid").with_source(error))?;
        let current = match &record.change {
            Change::Put(bytes) => {
                let object: R = serde_json::from_slice(bytes)
                    .map_err(|error| corrupt(&format!("it is no {}", R::KIND)).with_source(error))?;
                Some(Stored { object: Arc::new(object), revision: record.revision, bytes: bytes.len() })
            }
            Change::Delete => None,
        };
        let revision = record.revision;
        Ok(Box::new(move || {
            let previous = self.stored(&key);
            self.publish(Event { revision, key, previous, current });
        }))
    }

    fn announce(&self, revision: Revision, floor: Revision) {
        Self::announce(self, revision, floor);
    }

    fn close(&self) {
        Self::close(self);
    }
}

impl Books {
    /// Takes over what a store holds.
    ///
    /// # Errors
    /// [`StorageErrorKind::Corrupt`] when records are missing, doubled or out of order.
    pub(super) fn open(snapshot: Snapshot) -> Result<Self, StorageError> {
        verify(&snapshot)?;
        let mut books = Self {
            revision: snapshot.last,
            floor: snapshot.compacted,
            compacted: snapshot.compacted,
            usage: Usage::default(),
            history: VecDeque::new(),
            history_bytes: 0,
            kinds: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
        };
        books.usage = Usage::of(&snapshot.records);
        for record in snapshot.records {
            if record.revision > snapshot.compacted {
                books.remember(&record);
            }
            books.unclaimed.entry(record.resource.clone()).or_default().push(record);
        }
        Ok(books)
    }

    /// Makes the cache of a type from what the store held of it.
    ///
    /// # Errors
    /// [`Error::Internal`] when the type has a cache already, or a record of it does not fit the type.
    pub(super) fn attach<R: Resource>(&mut self) -> Result<Arc<Cache<R>>, Error> {
        if self.kinds.contains_key(R::PLURAL) {
            return Err(Error::internal(format!("{} have a registry already: clone it", R::PLURAL)));
        }
        // Records up to `compacted` are state; the caches' own floor drops them from history below.
        let cache = Arc::new(Cache::<R>::new(self.floor));
        for record in self.unclaimed.get(R::PLURAL).into_iter().flatten() {
            let publish = Arc::clone(&cache).read(record).map_err(|cause| Error::Internal {
                why: format!("stored {} cannot be read", R::PLURAL),
                cause: Cause::of(cause),
            })?;
            publish();
        }
        self.unclaimed.remove(R::PLURAL);
        cache.announce(self.revision, self.floor);
        self.kinds.insert(R::PLURAL, Arc::clone(&cache) as Arc<dyn Kind>);
        Ok(cache)
    }

    /// Notes that records were committed, and forgets what history has no room for.
    pub(super) fn note(&mut self, records: &[Record], now: Timestamp, bounds: &History) {
        for record in records {
            self.revision = record.revision;
            self.remember(record);
        }
        self.trim(now, bounds);
    }

    /// Forgets the history that is over a bound, and tells the caches how far they are.
    pub(super) fn trim(&mut self, now: Timestamp, bounds: &History) {
        while let Some(oldest) = self.history.front() {
            let over = self.history.len() > bounds.max_events
                || self.history_bytes > bounds.max_bytes
                || now.since(oldest.at) > bounds.max_age;
            if !over {
                break;
            }
            self.floor = oldest.revision;
            self.history_bytes -= oldest.bytes;
            self.history.pop_front();
        }
        for kind in self.kinds.values() {
            kind.announce(self.revision, self.floor);
        }
    }

    /// Forgets the older half of history, to make room in the store.
    pub(super) fn forget_half(&mut self) {
        for oldest in self.history.drain(..self.history.len().div_ceil(2)) {
            self.floor = oldest.revision;
            self.history_bytes -= oldest.bytes;
        }
    }

    /// Publishes what a store turned out to hold beyond what was known.
    ///
    /// # Errors
    /// [`StorageErrorKind::Corrupt`] when the store lost what was committed, or a record is not valid.
    pub(super) fn catch_up(
        &mut self,
        snapshot: Snapshot,
        now: Timestamp,
        bounds: &History,
    ) -> Result<(), StorageError> {
        if snapshot.last < self.revision {
            let why = format!("it went back from revision {} to {}", self.revision, snapshot.last);
            return Err(corrupt(why));
        }
        verify(&snapshot)?;
        let usage = Usage::of(&snapshot.records);
        let mut news = Vec::new();
        for record in snapshot.records.into_iter().filter(|record| record.revision > self.revision) {
            let kind = self.kinds.get(record.resource.as_str());
            let publish = kind.map(|kind| Arc::clone(kind).read(&record)).transpose()?;
            news.push((record, publish));
        }
        // From here on nothing fails: all that is new becomes visible, or nothing.
        self.usage = usage;
        for (record, publish) in news {
            self.revision = record.revision;
            self.remember(&record);
            match publish {
                Some(publish) => publish(),
                None => self.unclaimed.entry(record.resource.clone()).or_default().push(record),
            }
        }
        self.trim(now, bounds);
        Ok(())
    }

    /// Ends all watches, once they have sent what was committed.
    pub(super) fn close(&self) {
        for kind in self.kinds.values() {
            kind.close();
        }
    }

    fn remember(&mut self, record: &Record) {
        let bytes = match &record.change {
            Change::Put(bytes) => bytes.len(),
            Change::Delete => 0,
        };
        // What an event without a body costs in memory, so that deletes are not free.
        let bytes = bytes + 256;
        self.history.push_back(Entry { revision: record.revision, at: record.at, bytes });
        self.history_bytes += bytes;
    }
}

/// Checks that no record is missing, doubled or out of order: after the compacted revision each
/// number is there once, and each record supersedes the one before it of the same key.
fn verify(snapshot: &Snapshot) -> Result<(), StorageError> {
    let mut expected = snapshot.compacted.next();
    let mut last = Revision::ZERO;
    let mut current: BTreeMap<(&str, &RecordKey), Revision> = BTreeMap::new();
    for record in &snapshot.records {
        if record.revision <= last {
            return Err(corrupt(format!("revision {} comes after {last}", record.revision)));
        }
        last = record.revision;
        if record.revision > snapshot.compacted {
            if record.revision != expected {
                return Err(corrupt(format!("revision {expected} is missing")));
            }
            expected = expected.next();
        }
        let key = (record.resource.as_str(), &record.key);
        let previous = current.get(&key).copied().unwrap_or(Revision::ZERO);
        // A superseded record may be compacted away; any other must be there.
        if record.previous != previous && (previous != Revision::ZERO || record.previous > snapshot.compacted) {
            let why = format!("revision {} supersedes {}, which is not there", record.revision, record.previous);
            return Err(corrupt(why));
        }
        match record.change {
            Change::Put(_) => current.insert(key, record.revision),
            Change::Delete => current.remove(&key),
        };
    }
    if snapshot.last.next() != expected {
        return Err(corrupt(format!("revision {expected} is missing; the last one is {}", snapshot.last)));
    }
    Ok(())
}

fn corrupt(why: String) -> StorageError {
    StorageError::new("journal", StorageErrorKind::Corrupt, format!("the store is not what was written: {why}"))
}
