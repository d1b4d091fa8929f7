// SPDX-License-Identifier: Apache-2.0
//! What a backend promises of records that are not to be trusted.

use std::sync::Arc;

use super::records::{delete, expect, open, put, reopen, snapshot};
use super::{Case, Site, cases};
use crate::resource::Timestamp;
use crate::storage::{Quarantine, Quarantined, Record, Revision};

pub(super) const CASES: &[Case] = cases!["quarantine":
    a_new_store_has_none,
    what_is_in_it_is_no_part_of_the_journal_and_kept_as_it_is,
    what_it_superseded_is_gone_and_history_ends_there,
    what_is_not_there_is_passed_over,
    what_is_discarded_is_gone_for_good,
];

fn at() -> Timestamp {
    Timestamp::from_unix(1_900_000_000, 0).unwrap()
}

fn quarantine(records: &[u64], superseded: &[u64], through: u64) -> Quarantine {
    Quarantine {
        at: at(),
        records: records.iter().map(|revision| (Revision(*revision), format!("why {revision}"))).collect(),
        superseded: superseded.iter().copied().map(Revision).collect(),
        through: Revision(through),
    }
}

fn kept(record: &Record, object: Option<&[u8]>) -> Quarantined {
    Quarantined {
        revision: record.revision,
        why: format!("why {}", record.revision),
        since: at(),
        actor: record.actor.clone(),
        resource: record.resource.clone(),
        key: record.key.clone(),
        object: object.map(<[u8]>::to_vec),
    }
}

async fn a_new_store_has_none(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    assert_eq!(storage.quarantined().await.unwrap(), []);
    assert_eq!(storage.discard(&[Revision(1)]).await.unwrap(), 0);
}

async fn what_is_in_it_is_no_part_of_the_journal_and_kept_as_it_is(site: Arc<dyn Site>) {
    let odd: Vec<u8> = (0..=255).collect();
    let records = [put(1, 0, "a", "1"), put(2, 0, "b", odd.clone()), put(3, 0, "c", "3"), delete(4, 1, "a")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    storage.quarantine(&quarantine(&[2, 4], &[1], 4)).await.unwrap();
    let mut storage = expect(&site, storage, &snapshot(4, 4, &records[2..3])).await;
    for _ in 0..2 {
        let found = storage.quarantined().await.unwrap();
        assert_eq!(found, [kept(&records[1], Some(&odd)), kept(&records[3], None)]);
        storage = reopen(&site, storage).await;
    }
    let next = [put(5, 0, "b", "anew")];
    storage.commit(&next).await.unwrap();
    expect(&site, storage, &snapshot(5, 4, &[&records[2..3], &next].concat())).await;
}

async fn what_it_superseded_is_gone_and_history_ends_there(site: Arc<dyn Site>) {
    let records =
        [put(1, 0, "a", "1"), put(2, 1, "a", "2"), put(3, 0, "b", "3"), put(4, 2, "a", "4"), put(5, 0, "c", "5")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    storage.quarantine(&quarantine(&[2], &[1], 4)).await.unwrap();
    let mut storage = expect(&site, storage, &snapshot(5, 4, &records[2..])).await;
    // Compaction goes on as ever.
    let more = [delete(6, 4, "a")];
    storage.commit(&more).await.unwrap();
    storage.compact(Revision(6)).await.unwrap();
    for _ in 0..2 {
        let found = storage.load().await.unwrap();
        assert_eq!((found.last, found.compacted), (Revision(6), Revision(6)));
        let is_superseded = |record: &Record| record.revision <= Revision(2);
        assert!(!found.records.iter().any(is_superseded), "an older state would be back once the deletion is gone");
        storage = reopen(&site, storage).await;
    }
}

async fn what_is_not_there_is_passed_over(site: Arc<dyn Site>) {
    let records = [put(1, 0, "a", "1"), put(2, 0, "b", "2")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    // Twice, as after an answer that was lost.
    for _ in 0..2 {
        storage.quarantine(&quarantine(&[2, 7], &[8], 2)).await.unwrap();
        assert_eq!(storage.quarantined().await.unwrap(), [kept(&records[1], Some(b"2"))]);
    }
    // Past every record, as compaction.
    storage.quarantine(&quarantine(&[], &[], 1_000)).await.unwrap();
    expect(&site, storage, &snapshot(1_000, 1_000, &records[..1])).await;
}

async fn what_is_discarded_is_gone_for_good(site: Arc<dyn Site>) {
    let records = [put(1, 0, "a", "1"), put(2, 0, "b", "2"), put(3, 0, "c", "3")];
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    storage.quarantine(&quarantine(&[1, 2, 3], &[], 3)).await.unwrap();
    assert_eq!(storage.discard(&[Revision(1), Revision(3), Revision(9)]).await.unwrap(), 2);
    storage = reopen(&site, storage).await;
    assert_eq!(storage.quarantined().await.unwrap(), [kept(&records[1], Some(b"2"))]);
    expect(&site, storage, &snapshot(3, 3, &[])).await;
}
