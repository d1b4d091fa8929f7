// SPDX-License-Identifier: Apache-2.0
//! What the ledger knows of the store: revisions, usage, history's age, and which type is where.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::{Cache, Event, Stored};
use super::jump::{self, Jump};
use super::ledger::panic_text;
use super::options::{History, Limits};
use super::salvage::{self, Salvage};
use super::stage::Publication;
use crate::Error;
use crate::resource::{Key, Resource, Timestamp};
use crate::storage::{Change, Quarantine, Record, RecordKey, Revision, Snapshot, StorageError, StorageErrorKind};

/// The ledger's own state; only its task touches it.
#[derive(Debug)]
pub(super) struct Books {
    /// The last revision, of a commit or of a jump.
    pub(super) revision: Revision,
    /// The record of the jump to it, for as long as the store has no room for it.
    pub(super) pending: Option<Record>,
    /// What history leaves out, in ascending order.
    jumps: Vec<Jump>,
    /// Whether something that was acknowledged was lost, as long as history tells of it: what is stored may be older than what was said last.
    has_lost: bool,
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
    /// What the store has yet to put into quarantine: until it has, it takes no record.
    pub(super) unsettled: Vec<Quarantine>,
    /// How many records are in quarantine or will be, by the plural that each says it is of.
    quarantined: watch::Sender<BTreeMap<String, usize>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    revision: Revision,
    /// When it was noted, on a clock that nobody sets.
    noted: Instant,
    /// How old it was then: an earlier run of the server may have written it.
    age: Duration,
    bytes: usize,
}

impl Entry {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.noted).saturating_add(self.age)
    }
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
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<R: Resource> Kind for Cache<R> {
    fn read(self: Arc<Self>, record: &Record) -> Result<Publication, StorageError> {
        let corrupt = |why: &str| corrupt(format!("revision {}: {why}", record.revision));
        let parse = || {
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
            Ok((key, current))
        };
        // It is the type's own code that parses, and the other types have nothing to do with that.
        let parsed = catch_unwind(AssertUnwindSafe(parse));
        let (key, current) = parsed
            .unwrap_or_else(|panic| Err(corrupt(&format!("{} panicked at it: {}", R::KIND, panic_text(&*panic)))))?;
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

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Books {
    /// Takes over what a store holds, at this time of day and of the time that passes, and tells what is in quarantine beyond what was there already.
    ///
    /// # Errors
    /// [`StorageErrorKind::Corrupt`] when records are missing, doubled or out of order, or most cannot be read.
    pub(super) fn open(
        mut snapshot: Snapshot,
        quarantined: watch::Sender<BTreeMap<String, usize>>,
        today: Timestamp,
        now: Instant,
    ) -> Result<Self, StorageError> {
        verify(&snapshot)?;
        let salvage = salvage::of_unreadable(&snapshot, today)?;
        if let Some(salvage) = &salvage {
            salvage.apply(&mut snapshot);
        }
        let mut books = Self {
            revision: snapshot.last,
            pending: None,
            jumps: Vec::new(),
            has_lost: snapshot.lost,
            floor: snapshot.compacted,
            compacted: snapshot.compacted,
            usage: Usage::default(),
            history: VecDeque::new(),
            history_bytes: 0,
            kinds: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            unsettled: Vec::new(),
            quarantined,
        };
        if let Some(salvage) = salvage {
            books.give_up(salvage);
        }
        books.usage = Usage::of(&snapshot.records);
        for record in snapshot.records {
            if record.revision > snapshot.compacted {
                books.remember(&record, now, today.since(record.at));
            }
            if let Some(jump) = Jump::of(&record) {
                books.has_lost |= jump.is_loss;
                books.jumps.push(jump);
                continue;
            }
            books.unclaimed.entry(record.resource.clone()).or_default().push(record);
        }
        // The time of day may have been set in between: nothing is younger than what came after it.
        let mut youngest = Duration::ZERO;
        for entry in books.history.iter_mut().rev() {
            youngest = youngest.max(entry.age);
            entry.age = youngest;
        }
        Ok(books)
    }

    /// Makes the cache of a type from what the store held of it.
    ///
    /// What does not fit the type goes into quarantine.
    ///
    /// # Errors
    /// [`Error::Internal`] when the type has a cache already.
    pub(super) fn attach<R: Resource>(&mut self, now: Timestamp) -> Result<Arc<Cache<R>>, Error> {
        if let Some(kind) = self.kinds.get(R::PLURAL) {
            // One that nobody has any more, or never had because its caller gave up, is given out again: here is one, and there another.
            if let Ok(cache) = Arc::clone(kind).into_any().downcast::<Cache<R>>()
                && Arc::strong_count(&cache) == 2
            {
                return Ok(cache);
            }
            return Err(Error::internal(format!("{} have a registry already: clone it", R::PLURAL)));
        }
        // Records up to `compacted` are state; the caches' own floor drops them from history below.
        let cache = Arc::new(Cache::<R>::new(self.floor, self.jumps.clone()));
        let mut records = self.unclaimed.remove(R::PLURAL).unwrap_or_default();
        let mut fitting = BTreeMap::new();
        let mut misfits = BTreeMap::new();
        for record in &records {
            match Arc::clone(&cache).read(record) {
                Ok(publish) => drop(fitting.insert(record.revision, publish)),
                Err(failure) => drop(misfits.insert(record.revision, failure.to_string())),
            }
        }
        if let Some(salvage) = salvage::of_misfits(&records, &misfits, now) {
            let before = Usage::of(&records);
            salvage.take_from(&mut records);
            let after = Usage::of(&records);
            self.usage.objects -= before.objects - after.objects;
            self.usage.bytes -= before.bytes - after.bytes;
            self.give_up(salvage);
        }
        for publish in records.iter().filter_map(|record| fitting.remove(&record.revision)) {
            publish();
        }
        self.kinds.insert(R::PLURAL, Arc::clone(&cache) as Arc<dyn Kind>);
        self.announce();
        Ok(cache)
    }

    /// Gives up what cannot be trusted: it is not there any more, nor is history up to it, and the store is to keep it for people.
    fn give_up(&mut self, salvage: Salvage) {
        salvage.tell();
        self.quarantined.send_modify(|quarantined| {
            for (resource, _) in &salvage.about {
                *quarantined.entry(resource.clone()).or_default() += 1;
            }
        });
        let through = salvage.quarantine.through;
        while let Some(oldest) = self.history.front().filter(|oldest| oldest.revision <= through) {
            self.history_bytes -= oldest.bytes;
            self.history.pop_front();
        }
        self.floor = self.floor.max(through);
        self.unsettled.push(salvage.quarantine);
    }

    /// Whether a record of this type may be missing: some are lost, or one in quarantine says that it is one, or is of a type that
    /// nobody here knows.
    pub(super) fn doubts(&self, plural: &str) -> bool {
        self.has_lost
            || self.quarantined.borrow().keys().any(|said| said == plural || !self.kinds.contains_key(said.as_str()))
    }

    /// Begins a new store, whose first revision comes after this one.
    pub(super) fn begin_at(&mut self, first: Revision) {
        (self.revision, self.floor, self.compacted) = (first, first, first);
    }

    /// Leaves revisions out from now on, which the store is yet to be told.
    pub(super) fn jump(&mut self, jump: Jump, at: Timestamp, now: Instant) {
        let record = jump.record(at);
        self.revision = jump.to;
        self.jumps.push(jump);
        self.remember(&record, now, Duration::ZERO);
        self.pending = Some(record);
    }

    /// The last revision that the store holds.
    fn stored(&self) -> Revision {
        self.pending.as_ref().and_then(Jump::of).map_or(self.revision, |jump| jump.after)
    }

    /// How far the store may forget in one call that looks at `most` revisions: what was left out takes no time.
    pub(super) fn compaction_step(&self, most: u64) -> Revision {
        let end = Revision(self.compacted.0.saturating_add(most));
        self.floor.min(jump::over(&self.jumps, end).map_or(end, |jump| jump.to))
    }

    /// Notes that records were committed, and forgets what history has no room for.
    pub(super) fn note(&mut self, records: &[Record], now: Instant, bounds: &History) {
        for record in records {
            self.revision = record.revision;
            self.remember(record, now, Duration::ZERO);
        }
        self.trim(now, bounds);
    }

    /// Forgets the history that is over a bound, and tells the caches how far they are.
    pub(super) fn trim(&mut self, now: Instant, bounds: &History) {
        while let Some(oldest) = self.history.front() {
            let over = self.history.len() > bounds.max_events
                || self.history_bytes > bounds.max_bytes
                || oldest.age(now) > bounds.max_age;
            if !over {
                break;
            }
            self.floor = oldest.revision;
            self.history_bytes -= oldest.bytes;
            self.history.pop_front();
        }
        self.announce();
    }

    /// Tells the caches how far they are.
    fn announce(&self) {
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
    /// Of what was known, memory has the truth: that the store cannot read it now is for the next owner, who puts it into quarantine.
    ///
    /// # Errors
    /// [`StorageErrorKind::Lost`] when the store lost what was committed, [`StorageErrorKind::Corrupt`] when what is new cannot
    /// be read.
    pub(super) fn catch_up(&mut self, snapshot: Snapshot, now: Instant, bounds: &History) -> Result<(), StorageError> {
        if snapshot.last < self.stored() {
            let why = format!("the store went back from revision {} to {}", self.stored(), snapshot.last);
            return Err(StorageError::new("journal", StorageErrorKind::Lost, why));
        }
        verify(&snapshot)?;
        for unreadable in &snapshot.unreadable {
            let (revision, why) = (unreadable.revision, &unreadable.why);
            if revision > self.revision {
                return Err(corrupt(format!("revision {revision}, which nobody was told of, cannot be read: {why}")));
            }
            tracing::error!(revision = revision.0, why, "a stored record cannot be read any more: a restart loses it");
        }
        let usage = Usage::of(&snapshot.records);
        let mut news = Vec::new();
        for record in snapshot.records.into_iter().filter(|record| record.revision > self.stored()) {
            let kind = self.kinds.get(record.resource.as_str());
            let publish = kind.map(|kind| Arc::clone(kind).read(&record)).transpose()?;
            news.push((record, publish));
        }
        // From here on nothing fails: all that is new becomes visible, or nothing.
        self.usage = usage;
        for (record, publish) in news {
            if self.pending.take_if(|jump| *jump == record).is_some() {
                continue;
            }
            self.revision = record.revision;
            self.remember(&record, now, Duration::ZERO);
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

    fn remember(&mut self, record: &Record, noted: Instant, age: Duration) {
        let bytes = match &record.change {
            Change::Put(bytes) => bytes.len(),
            Change::Delete => 0,
        };
        // What an event without a body costs in memory, so that deletes are not free.
        let bytes = bytes + 256;
        self.history.push_back(Entry { revision: record.revision, noted, age, bytes });
        self.history_bytes += bytes;
    }
}

/// Checks that no record is missing, doubled or out of order: after the compacted revision each
/// number is there once, save for what a jump leaves out, and each record supersedes the one before it of the same key. One that
/// cannot be read is there, too, and may be a jump.
pub(super) fn verify(snapshot: &Snapshot) -> Result<(), StorageError> {
    let mut expected = snapshot.compacted.next();
    let mut last = Revision::ZERO;
    let mut current: BTreeMap<(&str, &RecordKey), Revision> = BTreeMap::new();
    let mut unreadable = snapshot.unreadable.iter().map(|unreadable| unreadable.revision).peekable();
    let unread: BTreeSet<Revision> = unreadable.clone().collect();
    let mut follows = |revision: Revision, jump: Option<Jump>, may_be_jump: bool| {
        if revision <= last && revision != Revision::ZERO {
            return Err(corrupt(format!("revision {revision} comes after {last}")));
        }
        last = revision;
        if revision > snapshot.compacted {
            // Compaction may have come as far as into what was left out.
            let follows = |jump: Jump| jump.after.next() == expected || jump.leaves_out(snapshot.compacted);
            if revision != expected && !may_be_jump && !jump.is_some_and(follows) {
                return Err(corrupt(format!("revision {expected} is missing")));
            }
            expected = revision.next();
        }
        Ok(())
    };
    for record in &snapshot.records {
        while let Some(revision) = unreadable.next_if(|revision| *revision < record.revision) {
            follows(revision, None, true)?;
        }
        follows(record.revision, Jump::of(record), false)?;
        let key = (record.resource.as_str(), &record.key);
        let previous = current.get(&key).copied().unwrap_or(Revision::ZERO);
        // A superseded record may be compacted away; any other must be there.
        let may_lack = record.previous <= snapshot.compacted && previous == Revision::ZERO;
        // Where something between cannot be read, it may have been another state or a deletion.
        let between = (Bound::Excluded(previous), Bound::Excluded(record.revision));
        if record.previous != previous && !may_lack && unread.range(between).next().is_none() {
            let why = format!("revision {} supersedes {}, which is not there", record.revision, record.previous);
            return Err(corrupt(why));
        }
        match record.change {
            Change::Put(_) => current.insert(key, record.revision),
            Change::Delete => current.remove(&key),
        };
    }
    unreadable.try_for_each(|revision| follows(revision, None, true))?;
    if snapshot.last.next() != expected {
        return Err(corrupt(format!("revision {expected} is missing; the last one is {}", snapshot.last)));
    }
    Ok(())
}

fn corrupt(why: String) -> StorageError {
    StorageError::new("journal", StorageErrorKind::Corrupt, format!("the store is not what was written: {why}"))
}
