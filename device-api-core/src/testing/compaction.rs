// SPDX-License-Identifier: Apache-2.0
//! What a backend promises of compaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::random;
use super::records::{delete, expect, open, put, reopen, snapshot};
use super::{Case, Site, cases};
use crate::storage::{Change, Record, RecordKey, Revision, Storage};

pub(super) const CASES: &[Case] = cases!["compaction":
    a_new_store_remembers_one_beyond_its_records,
    it_never_goes_back,
    it_keeps_what_is_current_and_what_came_later,
    the_last_revision_survives_its_record,
    a_compacted_deletion_does_not_bring_its_object_back,
    random_histories_survive_it_and_restarts,
];

async fn a_new_store_remembers_one_beyond_its_records(site: Arc<dyn Site>) {
    let start = 1_795_528_097_000_000;
    let mut storage = open(&site).await;
    storage.compact(Revision(start)).await.unwrap();
    let mut storage = expect(&site, storage, &snapshot(start, start, &[])).await;
    let records = [put(start + 1, 0, "a", "1")];
    storage.commit(&records).await.unwrap();
    expect(&site, storage, &snapshot(start + 1, start, &records)).await;
}

async fn it_never_goes_back(site: Arc<dyn Site>) {
    let records = [put(1, 0, "a", "1"), put(2, 0, "b", "2"), put(3, 0, "c", "3")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    for through in [2, 1, 0, 2] {
        storage.compact(Revision(through)).await.unwrap();
    }
    expect(&site, storage, &snapshot(3, 2, &records)).await;
}

async fn it_keeps_what_is_current_and_what_came_later(site: Arc<dyn Site>) {
    let records = [
        put(1, 0, "a", "1"),
        put(2, 0, "b", "2"),
        put(3, 1, "a", "3"),
        put(4, 0, "c", "4"),
        delete(5, 2, "b"),
        put(6, 3, "a", "6"),
        delete(7, 4, "c"),
    ];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    storage.compact(Revision(5)).await.unwrap();
    let storage = expect_history(&site, storage, &records, 5).await;
    // Superseded after the compaction, so both are still needed for the state as of 5.
    drop(storage);
    let loaded = open(&site).await.load().await.unwrap();
    for needed in [&records[2], &records[3], &records[5], &records[6]] {
        assert!(loaded.records.contains(needed), "{needed:?} is gone");
    }
}

async fn the_last_revision_survives_its_record(site: Arc<dyn Site>) {
    let records = [put(1, 0, "a", "1"), delete(2, 1, "a")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    storage.compact(Revision(2)).await.unwrap();
    let mut storage = expect_history(&site, storage, &records, 2).await;
    let more = [records.to_vec(), vec![put(3, 0, "a", "3")]].concat();
    storage.commit(&more[2..]).await.unwrap();
    expect_history(&site, storage, &more, 2).await;
}

async fn a_compacted_deletion_does_not_bring_its_object_back(site: Arc<dyn Site>) {
    let records = [put(1, 0, "a", "1"), put(2, 1, "a", "2"), delete(3, 2, "a"), put(4, 0, "b", "4")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    for through in 1..=4 {
        storage.compact(Revision(through)).await.unwrap();
        storage = expect_history(&site, storage, &records, through).await;
    }
}

async fn random_histories_survive_it_and_restarts(site: Arc<dyn Site>) {
    let mut random = random("random_histories_survive_it_and_restarts");
    let mut records: Vec<Record> = Vec::new();
    let mut storage = open(&site).await;
    let mut compacted = 0;
    for _ in 0..60 {
        let mut batch = Vec::new();
        for _ in 0..random.usize(1..40) {
            let name = random.u8(..12).to_string();
            let revision = (records.len() + batch.len()) as u64 + 1;
            let before = records.iter().chain(&batch).rev().find(|record: &&Record| record.key.name == name);
            let previous =
                before.filter(|record| record.change != Change::Delete).map_or(0, |record| record.revision.0);
            let gone = previous > 0 && random.u8(..4) == 0;
            batch.push(if gone {
                delete(revision, previous, &name)
            } else {
                put(revision, previous, &name, name.as_bytes())
            });
        }
        storage.commit(&batch).await.unwrap();
        records.extend(batch);
        if random.bool() {
            compacted = random.u64(compacted..=records.len() as u64);
            storage.compact(Revision(compacted)).await.unwrap();
        }
        if random.u8(..8) == 0 {
            storage = expect_history(&site, storage, &records, compacted).await;
        }
    }
    expect_history(&site, storage, &records, compacted).await;
}

/// Checks, now and after a restart, that the store holds of `all` records at least what is needed
/// for the state as of every revision from `compacted` on, and nothing else.
async fn expect_history(
    site: &Arc<dyn Site>,
    mut storage: Box<dyn Storage>,
    all: &[Record],
    compacted: u64,
) -> Box<dyn Storage> {
    for _ in 0..2 {
        let found = storage.load().await.unwrap();
        assert_eq!((found.last.0, found.compacted.0), (all.last().unwrap().revision.0, compacted));
        assert!(found.records.iter().map(|record| record.revision).is_sorted(), "out of order");
        assert!(found.records.iter().all(|record| all.contains(record)), "a record that was never committed");
        let later = |records: &[Record]| {
            records.iter().filter(|record| record.revision.0 > compacted).cloned().collect::<Vec<_>>()
        };
        assert_eq!(later(&found.records), later(all), "history after {compacted} is not whole");
        assert_eq!(state(&found.records, compacted), state(all, compacted), "the state as of {compacted}");
        storage = reopen(site, storage).await;
    }
    storage
}

/// The objects as of a revision.
fn state(records: &[Record], at: u64) -> BTreeMap<&RecordKey, &Record> {
    let mut objects = BTreeMap::new();
    for record in records.iter().filter(|record| record.revision.0 <= at) {
        match record.change {
            Change::Put(_) => objects.insert(&record.key, record),
            Change::Delete => objects.remove(&record.key),
        };
    }
    objects
}
