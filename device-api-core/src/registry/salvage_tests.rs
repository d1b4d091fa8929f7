// SPDX-License-Identifier: Apache-2.0
//! What is given up for which damage, and that no older state is ever left in the place of a newer one.

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
type Salvaged = (Vec<u64>, Vec<u64>, u64, Vec<(u64, String)>);

fn salvaged(compacted: u64, records: &[Record], unreadable: Unreadable) -> Salvaged {
    let last = records.iter().map(|record| record.revision).chain([unreadable.revision]).max().unwrap();
    let mut snapshot = Snapshot {
        last,
        compacted: Revision(compacted),
        records: records.to_vec(),
        unreadable: vec![unreadable],
        ..Snapshot::default()
    };
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
fn a_deletion_that_cannot_be_read_keeps_no_store_from_opening_and_tells_no_old_state() {
    let records = [put(1, 0, "a"), put(2, 0, "b"), put(4, 0, "a"), put(5, 2, "b")];
    let found = salvaged(0, &records, bad(3, Some((1, "a"))));
    assert_eq!(found, (vec![3], vec![1], 4, left(&[(2, "b"), (4, "a"), (5, "b")])));
}

#[test]
fn two_states_in_a_row_that_cannot_be_read_take_no_other_object_with_them() {
    let records = [put(1, 0, "a"), put(2, 0, "b"), put(5, 4, "b")];
    let mut snapshot = Snapshot {
        last: Revision(5),
        records: records.to_vec(),
        unreadable: vec![bad(3, Some((2, "b"))), bad(4, Some((3, "b")))],
        ..Snapshot::default()
    };
    of_unreadable(&snapshot, Timestamp::UNIX_EPOCH).unwrap().unwrap().apply(&mut snapshot);
    assert_eq!(snapshot.records, [records[0].clone(), records[2].clone()]);
}

/// A random history of some objects, from `compacted` on as a store has it.
fn history(random: &mut fastrand::Rng) -> Snapshot {
    let mut records: Vec<Record> = Vec::new();
    let mut current: BTreeMap<&str, u64> = BTreeMap::new();
    for revision in 1..=random.u64(1..40) {
        let name = ["a", "b", "c", "d", "e"][random.usize(..5)];
        let previous = current.remove(name).unwrap_or_default();
        let mut record = put(revision, previous, name);
        if previous > 0 && random.u8(..4) == 0 {
            record.change = Change::Delete;
        } else {
            current.insert(name, revision);
        }
        records.push(record);
    }
    let compacted = Revision(random.u64(..=records.len() as u64));
    let last = Revision(records.len() as u64);
    let old = || records.iter().filter(|record| record.revision <= compacted);
    let superseded: BTreeSet<_> = old().map(|record| record.previous).collect();
    let gone: BTreeSet<_> = old()
        .filter(|record| superseded.contains(&record.revision) || record.change == Change::Delete)
        .map(|record| record.revision)
        .collect();
    records.retain(|record| !gone.contains(&record.revision));
    Snapshot { last, compacted, records, ..Snapshot::default() }
}

#[test]
fn whatever_is_damaged_no_object_is_in_an_older_state() {
    let given = std::env::var("DEVICE_API_SEED");
    let seed = given.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..2_000 {
        let whole = history(&mut random);
        let mut snapshot = whole.clone();
        for _ in 0..random.usize(1..4) {
            if snapshot.records.is_empty() {
                break;
            }
            let record = snapshot.records.remove(random.usize(..snapshot.records.len()));
            let mut claims = Claims { previous: record.previous, resource: record.resource, key: record.key };
            // Damage to one of the two that say which object it is, or to neither, or all of it.
            match random.u8(..5) {
                0 => claims.key.name = ["a", "c", "e", "x", ""][random.usize(..5)].to_owned(),
                1 => claims.previous = Revision(random.u64(..60)),
                _ => {}
            }
            let claims = (random.u8(..6) > 0).then_some(claims);
            let why = "damaged".to_owned();
            snapshot.unreadable.push(Unreadable { revision: record.revision, why, claims });
        }
        snapshot.unreadable.sort_by_key(|unreadable| unreadable.revision);
        super::super::books::verify(&snapshot).unwrap();
        let Some(salvage) = of_unreadable(&snapshot, Timestamp::UNIX_EPOCH).unwrap() else { continue };
        let damaged = snapshot.clone();
        salvage.apply(&mut snapshot);
        super::super::books::verify(&snapshot).unwrap_or_else(|error| panic!("seed {seed}: {error}: {damaged:?}"));
        // Now, and at every moment that history reaches back to.
        for at in snapshot.compacted.0..=snapshot.last.0 {
            let until = |records: &[Record]| -> Vec<Record> {
                records.iter().filter(|record| record.revision <= Revision(at)).cloned().collect()
            };
            let (found, truth) = (until(&snapshot.records), until(&whole.records));
            let truth = current(&truth);
            for (key, record) in current(&found) {
                let true_one = truth.get(&key).map(|record| record.revision);
                assert_eq!(
                    true_one,
                    Some(record.revision),
                    "seed {seed}: {key:?} at {at} of {whole:?}, damaged {damaged:?}"
                );
            }
        }
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
        ..Snapshot::default()
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
