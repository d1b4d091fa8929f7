// SPDX-License-Identifier: Apache-2.0
//! What becomes of a store in which some records cannot be read: which objects that concerns, and what goes into quarantine.
//!
//! An object whose newest state cannot be read is not there. An older state of it is never served instead: it may look like
//! health. Where it cannot be told which object an unreadable record is about, all that it may be about are not there.

use std::collections::{BTreeMap, BTreeSet};

use super::opening::of_clock;
use crate::resource::Timestamp;
use crate::storage::{
    Change, Quarantine, Record, RecordKey, Revision, Snapshot, StorageError, StorageErrorKind, Unreadable,
};

/// A store with more unreadable records than the first, and more than readable ones, or with more than the second, is refused: that
/// is no damage of single records.
const FEW: usize = 8;
const MANY: usize = 1_000;
/// How many lines the log has at most about single records.
const LINES: usize = 16;

/// An object's key, of whatever resource.
type AnyKey<'a> = (&'a str, &'a RecordKey);

/// What is to be taken out of a store.
#[derive(Debug)]
pub(super) struct Salvage {
    pub(super) quarantine: Quarantine,
    /// Of each record that goes into quarantine, what it says that it is about.
    pub(super) about: Vec<(String, RecordKey)>,
}

/// What goes, while it is being decided.
struct Pile<'a> {
    /// The readable revisions of each object, in order.
    revisions: BTreeMap<AnyKey<'a>, Vec<Revision>>,
    records: BTreeMap<Revision, (String, AnyKey<'a>)>,
    superseded: BTreeSet<Revision>,
    through: Revision,
}

/// What has to go because records cannot be read; `None` when all could be. The snapshot's records are in order.
///
/// # Errors
/// [`StorageErrorKind::Corrupt`] when most cannot be read.
pub(super) fn of_unreadable(snapshot: &Snapshot, now: Timestamp) -> Result<Option<Salvage>, StorageError> {
    let (bad, good) = (snapshot.unreadable.len(), snapshot.records.len());
    if bad == 0 {
        return Ok(None);
    }
    if bad > MANY || (bad > FEW && bad > good) {
        let first = snapshot.unreadable.first().map_or("", |unreadable| unreadable.why.as_str());
        let why = format!(
            "{bad} of {} records cannot be read (the first: {first}), which is more than damage: restore it, or remove it to start afresh",
            bad + good
        );
        return Err(StorageError::new("journal", StorageErrorKind::Corrupt, why));
    }
    let nobody = RecordKey { namespace: String::new(), name: String::new() };
    let mut pile = Pile::of(&snapshot.records, snapshot.compacted);
    let current = current(&snapshot.records);
    let by_previous: BTreeMap<Revision, &Record> =
        snapshot.records.iter().map(|record| (record.previous, record)).collect();
    for record in unlinked(&snapshot.records) {
        pile.supersede(key_of(record), record.revision);
    }
    for unreadable in &snapshot.unreadable {
        let revision = unreadable.revision;
        if revision == Revision::ZERO {
            // Nobody knows how far versions had come, so they go on where none can have been, as those of a new store do.
            pile.through = pile.through.max(snapshot.last).max(of_clock(now));
            continue;
        }
        let claimed =
            unreadable.claims.as_ref().map_or(("", &nobody), |claims| (claims.resource.as_str(), &claims.key));
        pile.records.insert(revision, (unreadable.why.clone(), claimed));
        pile.through = pile.through.max(revision);
        if let Some(next) = by_previous.get(&revision) {
            // What came after it can be read, so the object is what it should be; of its past nothing can be told.
            pile.supersede(key_of(next), next.revision);
            continue;
        }
        let older = current.iter().filter(|(_, record)| record.revision < revision);
        for key in suspects(unreadable, snapshot, &older.map(|(key, record)| (*key, record.revision)).collect()) {
            let Some(suspect) = current.get(&key) else { continue };
            let why = format!("revision {revision}, which cannot be read, may be a newer state of it");
            pile.records.entry(suspect.revision).or_insert((why, key));
            pile.supersede(key, suspect.revision);
        }
    }
    Ok(Some(pile.decided(now)))
}

/// What has to go because records do not fit their type, for the reasons given. All are of one type, and in order.
pub(super) fn of_misfits(records: &[Record], why: &BTreeMap<Revision, String>, now: Timestamp) -> Option<Salvage> {
    let mut pile = Pile::of(records, Revision::ZERO);
    let mut newest: BTreeMap<AnyKey<'_>, Revision> = BTreeMap::new();
    for record in records.iter().filter(|record| why.contains_key(&record.revision)) {
        newest.insert(key_of(record), record.revision);
    }
    for (key, bad) in newest {
        let next = pile.revisions.get(&key).and_then(|all| all.iter().find(|revision| **revision > bad)).copied();
        if next.is_none() {
            pile.records.insert(bad, (why.get(&bad).cloned().unwrap_or_default(), key));
        }
        pile.supersede(key, next.unwrap_or(bad));
    }
    (pile.through > Revision::ZERO).then(|| pile.decided(now))
}

impl<'a> Pile<'a> {
    fn of(records: &'a [Record], through: Revision) -> Self {
        let mut revisions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in records {
            revisions.entry(key_of(record)).or_default().push(record.revision);
        }
        Self { revisions, records: BTreeMap::new(), superseded: BTreeSet::new(), through }
    }

    /// Of an object everything goes that is older than this; and history with it, which would tell of an object that was not there.
    fn supersede(&mut self, key: AnyKey<'a>, revision: Revision) {
        let all = self.revisions.get(&key).into_iter().flatten();
        self.superseded.extend(all.take_while(|older| **older < revision));
        self.through = self.through.max(revision);
    }

    fn decided(self, at: Timestamp) -> Salvage {
        let Self { records, superseded, through, .. } = self;
        let superseded = superseded.into_iter().filter(|revision| !records.contains_key(revision)).collect();
        let about = records.values().map(|(_, (resource, key))| ((*resource).to_owned(), (*key).clone())).collect();
        let records = records.into_iter().map(|(revision, (why, _))| (revision, why)).collect();
        Salvage { quarantine: Quarantine { at, records, superseded, through }, about }
    }
}

impl Salvage {
    /// Takes out of a snapshot what the store is to take out of itself.
    pub(super) fn apply(&self, snapshot: &mut Snapshot) {
        self.take_from(&mut snapshot.records);
        snapshot.unreadable.clear();
        snapshot.compacted = snapshot.compacted.max(self.quarantine.through);
        snapshot.last = snapshot.last.max(snapshot.compacted);
    }

    /// Takes out of some records what the store is to take out of itself.
    pub(super) fn take_from(&self, records: &mut Vec<Record>) {
        let Quarantine { records: unsound, superseded, .. } = &self.quarantine;
        let gone: BTreeSet<Revision> =
            unsound.iter().map(|(revision, _)| revision).chain(superseded).copied().collect();
        records.retain(|record| !gone.contains(&record.revision));
    }

    /// Says what happened, loudly, in a bounded number of lines.
    pub(super) fn tell(&self) {
        let Quarantine { records, through, .. } = &self.quarantine;
        for ((revision, why), (resource, key)) in records.iter().zip(&self.about).take(LINES) {
            let RecordKey { namespace, name } = key;
            tracing::error!(
                revision = revision.0,
                resource,
                namespace,
                name,
                why,
                "a stored record cannot be trusted: it is in quarantine, and its object is not there until it is written anew"
            );
        }
        if let Some(more) = records.len().checked_sub(LINES).filter(|more| *more > 0) {
            tracing::error!(more, "and more records are in quarantine");
        }
        tracing::warn!(through = through.0, "history up to here was forgotten, for some of it cannot be read");
    }
}

/// The newest record of each object that is there.
fn current(records: &[Record]) -> BTreeMap<AnyKey<'_>, &Record> {
    let mut current = BTreeMap::new();
    for record in records {
        match record.change {
            Change::Put(_) => current.insert(key_of(record), record),
            Change::Delete => current.remove(&key_of(record)),
        };
    }
    current
}

/// The records that do not supersede what is there before them of the same object: what was between, a state or a deletion, cannot be read.
fn unlinked(records: &[Record]) -> Vec<&Record> {
    let mut current = BTreeMap::new();
    let mut unlinked = Vec::new();
    for record in records {
        let before = match record.change {
            Change::Put(_) => current.insert(key_of(record), record.revision),
            Change::Delete => current.remove(&key_of(record)),
        };
        if before.is_some_and(|before| before != record.previous) {
            unlinked.push(record);
        }
    }
    unlinked
}

fn key_of(record: &Record) -> AnyKey<'_> {
    (&record.resource, &record.key)
}

/// The objects, of those with an older state, that an unreadable record may be the newest state of.
///
/// It says twice which one it is: by its key, and by the revision that it supersedes. Where the two differ, it may be either; where
/// both lead nowhere, as nothing that was written does, it may be any.
fn suspects<'a>(
    unreadable: &Unreadable,
    snapshot: &Snapshot,
    older: &BTreeMap<AnyKey<'a>, Revision>,
) -> BTreeSet<AnyKey<'a>> {
    let Some(claims) = &unreadable.claims else { return older.keys().copied().collect() };
    let supersedes = |(_, revision): &(&AnyKey<'a>, &Revision)| **revision == claims.previous;
    let by_previous = older.iter().find(supersedes).map(|(key, _)| *key);
    let by_key = older.keys().find(|(resource, key)| *resource == claims.resource && **key == claims.key).copied();
    let named: BTreeSet<_> = by_previous.into_iter().chain(by_key).collect();
    let is_known = |revision| {
        let unreadable = snapshot.unreadable.iter().any(|unreadable| unreadable.revision == revision);
        let readable = snapshot.records.binary_search_by_key(&revision, |record| record.revision).is_ok();
        // What it supersedes may have been compacted away, or have been superseded once more by something readable.
        revision == Revision::ZERO || unreadable || readable || revision <= snapshot.compacted
    };
    let is_empty = claims.resource.is_empty() || claims.key.name.is_empty();
    if named.is_empty() && (is_empty || claims.previous >= unreadable.revision || !is_known(claims.previous)) {
        return older.keys().copied().collect();
    }
    named
}

#[cfg(test)]
#[path = "salvage_tests.rs"]
mod tests;
