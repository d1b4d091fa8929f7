// SPDX-License-Identifier: Apache-2.0
//! What becomes of a store in which some records cannot be read: which objects that concerns, and what goes into quarantine.
//!
//! An object whose newest state cannot be read is not there. An older state of it is never served instead: it may look like
//! health. Where it cannot be told which object an unreadable record is about, all that it may be about are not there.

use std::collections::{BTreeMap, BTreeSet};

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

/// The first revision of a store that begins now: no earlier one can have handed it out.
pub(super) fn of_clock(now: Timestamp) -> Revision {
    Revision(u64::try_from(now.unix_micros()).unwrap_or(1).max(1))
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
        // What it supersedes may have been compacted away.
        revision == Revision::ZERO || unreadable || revision <= snapshot.compacted
    };
    let is_empty = claims.resource.is_empty() || claims.key.name.is_empty();
    if named.is_empty() && (is_empty || claims.previous >= unreadable.revision || !is_known(claims.previous)) {
        return older.keys().copied().collect();
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Claims;

    fn key(name: &str) -> RecordKey {
        RecordKey { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn put(revision: u64, previous: u64, name: &str) -> Record {
        Record {
            revision: Revision(revision),
            previous: Revision(previous),
            at: Timestamp::UNIX_EPOCH,
            actor: String::new(),
            resource: "gpus".to_owned(),
            key: key(name),
            change: Change::Put(b"{}".to_vec()),
        }
    }

    fn bad(revision: u64, claims: Option<(u64, &str)>) -> Unreadable {
        let claims = claims.map(|(previous, name)| Claims {
            previous: Revision(previous),
            resource: "gpus".to_owned(),
            key: key(name),
        });
        Unreadable { revision: Revision(revision), why: "its checksum does not match".to_owned(), claims }
    }

    /// What goes into quarantine, what goes for good, through which revision, and what is left.
    fn salvaged(
        compacted: u64,
        records: &[Record],
        unreadable: Unreadable,
    ) -> (Vec<u64>, Vec<u64>, u64, Vec<(u64, String)>) {
        let last = records.iter().map(|record| record.revision).chain([unreadable.revision]).max().unwrap();
        let mut snapshot =
            Snapshot { last, compacted: Revision(compacted), records: records.to_vec(), unreadable: vec![unreadable] };
        let salvage = of_unreadable(&snapshot, Timestamp::UNIX_EPOCH).unwrap().unwrap();
        salvage.apply(&mut snapshot);
        super::super::books::verify(&snapshot).unwrap();
        let Quarantine { records, superseded, through, .. } = salvage.quarantine;
        (
            records.iter().map(|(revision, _)| revision.0).collect(),
            superseded.iter().map(|revision| revision.0).collect(),
            through.0,
            snapshot.records.iter().map(|record| (record.revision.0, record.key.name.clone())).collect(),
        )
    }

    fn left(records: &[(u64, &str)]) -> Vec<(u64, String)> {
        records.iter().map(|(revision, name)| (*revision, (*name).to_owned())).collect()
    }

    #[test]
    fn an_older_state_never_takes_the_place_of_one_that_cannot_be_read() {
        let records = [put(1, 0, "a"), put(2, 0, "b"), put(3, 1, "a"), put(5, 2, "b")];
        let found = salvaged(0, &records, bad(4, Some((3, "a"))));
        assert_eq!(found, (vec![3, 4], vec![1], 4, left(&[(2, "b"), (5, "b")])));
    }

    #[test]
    fn what_was_superseded_by_something_readable_costs_no_object_but_history() {
        let records = [put(1, 0, "a"), put(2, 0, "b"), put(4, 3, "a")];
        let found = salvaged(0, &records, bad(3, Some((1, "a"))));
        assert_eq!(found, (vec![3], vec![1], 4, left(&[(2, "b"), (4, "a")])));
    }

    #[test]
    fn where_key_and_predecessor_differ_both_are_suspect_and_others_are_not() {
        let records = [put(1, 0, "a"), put(2, 0, "b"), put(3, 0, "c")];
        let found = salvaged(0, &records, bad(4, Some((1, "b"))));
        assert_eq!(found, (vec![1, 2, 4], vec![], 4, left(&[(3, "c")])));
    }

    #[test]
    fn a_record_that_can_be_about_anything_spares_only_what_is_newer() {
        let records = [put(1, 0, "a"), put(2, 0, "b"), put(4, 2, "b")];
        for claims in [None, Some((0, "")), Some((9, "x"))] {
            let found = salvaged(0, &records, bad(3, claims));
            assert_eq!(found, (vec![1, 3], vec![], 3, left(&[(2, "b"), (4, "b")])), "{claims:?}");
        }
    }

    #[test]
    fn the_only_state_of_an_object_takes_no_other_with_it() {
        // A creation, and a state whose predecessors were compacted away.
        for (compacted, previous) in [(2, 0), (3, 1)] {
            let found = salvaged(compacted, &[put(2, 0, "a")], bad(3, Some((previous, "x"))));
            assert_eq!(found, (vec![3], vec![], 3, left(&[(2, "a")])));
        }
    }

    #[test]
    fn a_store_that_is_mostly_unreadable_is_refused() {
        let many: Vec<_> = (1..=9).map(|revision| bad(revision, None)).collect();
        let snapshot = |records: u64| Snapshot {
            last: Revision(30),
            records: (0..records).map(|index| put(10 + index, 0, &index.to_string())).collect(),
            unreadable: many.clone(),
            ..Snapshot::default()
        };
        assert!(of_unreadable(&snapshot(9), Timestamp::UNIX_EPOCH).is_ok());
        let error = of_unreadable(&snapshot(8), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Corrupt);
        assert!(error.to_string().contains("9 of 17 records"), "{error}");
    }

    #[test]
    fn a_store_that_lost_its_mark_goes_on_where_no_version_can_have_been() {
        let now: Timestamp = "2026-11-24T13:48:17Z".parse().unwrap();
        let mut snapshot = Snapshot {
            last: Revision(7),
            compacted: Revision(7),
            records: vec![put(3, 0, "a"), put(7, 3, "a")],
            unreadable: vec![bad(0, None)],
        };
        let salvage = of_unreadable(&snapshot, now).unwrap().unwrap();
        assert!(salvage.quarantine.records.is_empty());
        salvage.apply(&mut snapshot);
        assert_eq!((snapshot.last, snapshot.compacted), (of_clock(now), of_clock(now)));
        assert_eq!(snapshot.records.len(), 2);
    }

    #[test]
    fn of_a_type_that_changed_the_newest_state_is_kept_for_people_and_older_ones_go() {
        let records = [put(1, 0, "a"), put(2, 0, "b"), put(3, 1, "a"), put(4, 2, "b"), put(5, 0, "c")];
        let why: BTreeMap<_, _> = [1, 2, 3].map(|revision| (Revision(revision), "no Gpu".to_owned())).into();
        let quarantine = of_misfits(&records, &why, Timestamp::UNIX_EPOCH).unwrap().quarantine;
        assert_eq!(quarantine.records, [(Revision(3), "no Gpu".to_owned())]);
        assert_eq!(quarantine.superseded, [Revision(1), Revision(2)]);
        assert_eq!(quarantine.through, Revision(4), "b is readable from there on");
        assert!(of_misfits(&records, &BTreeMap::new(), Timestamp::UNIX_EPOCH).is_none());
    }
}
