// SPDX-License-Identifier: Apache-2.0
//! What a backend promises of a power cut in the middle of a write.

use std::sync::Arc;

use super::records::{delete, open, put, reopen};
use super::{Case, Rest, Site, Tear, cases};
use crate::storage::{Record, Revision, Storage};

pub(super) const CASES: &[Case] = cases!["power":
    a_torn_commit_is_whole_or_not_there_and_takes_nothing_with_it,
    a_torn_compaction_takes_nothing_with_it,
];

/// Parts of a write, from nothing to nearly all, and what is found where the rest should be.
fn tears() -> impl Iterator<Item = Tear> {
    let rests = [Rest::Gone, Rest::Zeros, Rest::Garbage];
    let parts = [0, 1, 40, 128, 200, 250, 255];
    parts.into_iter().flat_map(move |kept| rests.map(|rest| Tear { kept, rest }))
}

async fn a_torn_commit_is_whole_or_not_there_and_takes_nothing_with_it(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    let mut before: Vec<Record> = Vec::new();
    // One small record, several, and more than a page of most disks.
    for (count, bytes) in [(1, 10), (5, 100), (40, 1_000), (1, 100_000), (1, 10)] {
        let first = before.len() as u64 + 1;
        let batch: Vec<_> =
            (first..first + count).map(|revision| put(revision, 0, &revision.to_string(), vec![b'x'; bytes])).collect();
        storage.commit(&batch).await.unwrap();
        let after = [before.clone(), batch].concat();
        for tear in tears() {
            let Some(torn) = site.tear(&tear).await.unwrap() else { return };
            let torn: Arc<dyn Site> = torn.into();
            let mut storage = open(&torn).await;
            let found = storage.load().await.unwrap().records;
            assert!(
                found == before || found == after,
                "{tear:?} of commit {first}: {} records, not {} or {}",
                found.len(),
                before.len(),
                after.len()
            );
            goes_on(&torn, storage, found).await;
        }
        before = after;
    }
}

async fn a_torn_compaction_takes_nothing_with_it(site: Arc<dyn Site>) {
    let records =
        [put(1, 0, "a", "1"), put(2, 0, "b", "2"), put(3, 1, "a", "3"), delete(4, 2, "b"), put(5, 3, "a", "5")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    storage.compact(Revision(4)).await.unwrap();
    for tear in tears() {
        let Some(torn) = site.tear(&tear).await.unwrap() else { return };
        let torn: Arc<dyn Site> = torn.into();
        let mut storage = open(&torn).await;
        let found = storage.load().await.unwrap();
        assert_eq!(found.last, Revision(5), "{tear:?}");
        assert!(found.compacted == Revision::ZERO || found.compacted == Revision(4), "{tear:?}: {}", found.compacted);
        let needed = if found.compacted == Revision::ZERO { &records[..] } else { &records[2..] };
        for record in needed.iter().filter(|record| record.revision != Revision(4) || needed.len() == 5) {
            assert!(found.records.contains(record), "{tear:?}: {record:?} is gone");
        }
        goes_on(&torn, storage, found.records).await;
    }
}

/// What is written after the cut stays.
async fn goes_on(site: &Arc<dyn Site>, mut storage: Box<dyn Storage>, found: Vec<Record>) {
    let next = found.last().map_or(1, |record| record.revision.0 + 1);
    let more = [put(next, 0, "after", "the cut"), put(next + 1, 0, "and", "more")];
    for written in 1..=more.len() {
        storage.commit(&more[written - 1..written]).await.unwrap();
        storage = reopen(site, storage).await;
        let records = storage.load().await.unwrap().records;
        assert!(records.ends_with(&more[..written]), "what came after the cut is gone");
        assert!(records.len() <= found.len() + written);
    }
}
