// SPDX-License-Identifier: Apache-2.0
//! What a backend promises of load, commit and its single owner.

use std::sync::Arc;

use super::records::{delete, expect, load, open, put, snapshot};
use super::{Case, Site, cases};
use crate::storage::{Record, Revision, Snapshot, StorageErrorKind};

pub(super) const CASES: &[Case] = cases!["journal":
    a_new_store_is_empty,
    load_returns_what_was_committed_in_order,
    every_byte_is_kept,
    times_are_kept_to_the_nanosecond,
    a_large_batch_is_one_commit,
    values_of_a_mebibyte_are_kept,
    an_empty_commit_changes_nothing,
    revisions_keep_all_their_bits,
    a_gap_in_the_revisions_is_kept,
    what_was_acknowledged_stays_reserved_after_any_end,
    a_store_that_is_open_is_its_owners,
    a_second_owner_is_refused_and_told_of_the_first,
    a_closed_store_opens_again_with_everything,
    a_dropped_store_opens_again_with_everything,
    a_dropped_commit_happened_or_did_not,
];

async fn a_new_store_is_empty(site: Arc<dyn Site>) {
    let storage = open(&site).await;
    expect(&site, storage, &Snapshot::default()).await;
}

async fn load_returns_what_was_committed_in_order(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    let records =
        [put(1, 0, "b", "1"), put(2, 0, "a", "2"), put(3, 1, "b", "3"), delete(4, 2, "a"), put(5, 0, "a", "5")];
    storage.commit(&records[..1]).await.unwrap();
    storage.commit(&records[1..4]).await.unwrap();
    assert_eq!(load(&mut storage).await, snapshot(4, 0, &records[..4]));
    storage.commit(&records[4..]).await.unwrap();
    expect(&site, storage, &snapshot(5, 0, &records)).await;
}

async fn every_byte_is_kept(site: Arc<dyn Site>) {
    let odd = [
        "",
        " ",
        "a ",
        "\0",
        "a\0b",
        "'; DROP TABLE record; --",
        "%_\\",
        "\u{feff}bom",
        "\r\n",
        "ä",
        "a\u{308}",
        "\u{10ffff}",
        "NULL",
        "0",
        "1e3",
    ];
    let mut records = Vec::new();
    for (index, text) in odd.iter().enumerate() {
        let mut record = put(index as u64 + 1, 0, text, *text);
        record.key.namespace = odd[(index + 1) % odd.len()].to_owned();
        record.resource = odd[(index + 2) % odd.len()].to_owned();
        record.actor = odd[(index + 3) % odd.len()].to_owned();
        records.push(record);
    }
    let revision = records.len() as u64;
    records.push(put(revision + 1, 0, "bytes", (0..=255).collect::<Vec<u8>>()));
    records.push(put(revision + 2, 0, "not-utf8", [0xff, 0xfe, 0x00, 0x80]));
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    expect(&site, storage, &snapshot(revision + 2, 0, &records)).await;
}

async fn times_are_kept_to_the_nanosecond(site: Arc<dyn Site>) {
    let texts = [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00.000000001Z",
        "2026-11-24T13:48:17.123456789Z",
        "9999-12-31T23:59:59.999999999Z",
    ];
    let record = |(index, text): (usize, &&str)| {
        let revision = index as u64 + 1;
        Record { at: text.parse().unwrap(), ..put(revision, revision - 1, "a", "x") }
    };
    let records: Vec<_> = texts.iter().enumerate().map(record).collect();
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    expect(&site, storage, &snapshot(records.len() as u64, 0, &records)).await;
}

async fn a_large_batch_is_one_commit(site: Arc<dyn Site>) {
    let records: Vec<_> = (1..=2_500).map(|revision| put(revision, revision - 1, "a", revision.to_string())).collect();
    let mut storage = open(&site).await;
    storage.commit(&records).await.unwrap();
    expect(&site, storage, &snapshot(2_500, 0, &records)).await;
}

async fn values_of_a_mebibyte_are_kept(site: Arc<dyn Site>) {
    let value = |seed: u64| std::iter::repeat_with(|| 0).zip(seed..).map(|(_, n): (u8, u64)| (n * 31 / 7) as u8);
    let records: Vec<_> = (1..=4)
        .map(|revision| put(revision, 0, &revision.to_string(), value(revision).take(1 << 20).collect::<Vec<_>>()))
        .collect();
    let mut storage = open(&site).await;
    storage.commit(&records[..1]).await.unwrap();
    storage.commit(&records[1..]).await.unwrap();
    expect(&site, storage, &snapshot(4, 0, &records)).await;
}

async fn an_empty_commit_changes_nothing(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    storage.commit(&[]).await.unwrap();
    assert_eq!(load(&mut storage).await, Snapshot::default());
    let records = [put(1, 0, "a", "1")];
    storage.commit(&records).await.unwrap();
    storage.commit(&[]).await.unwrap();
    expect(&site, storage, &snapshot(1, 0, &records)).await;
}

async fn revisions_keep_all_their_bits(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    let mut records = Vec::new();
    let mut last = 0;
    for start in [u64::from(u32::MAX) - 1, 1 << 53, (1 << 62) + 1] {
        // Only a compaction makes a gap.
        storage.compact(Revision(start)).await.unwrap();
        for revision in start + 1..=start + 3 {
            records.push(put(revision, last, &revision.to_string(), "x"));
        }
        storage.commit(&records[records.len() - 3..]).await.unwrap();
        last = start + 3;
        // Each record supersedes one of another name here, so that `previous` is large too.
        records = storage.load().await.unwrap().records;
        let loaded: Vec<_> = records.iter().rev().take(3).rev().map(|record| record.revision.0).collect();
        assert_eq!(loaded, [start + 1, start + 2, start + 3]);
    }
    let expected = snapshot(last, (1 << 62) + 1, &records);
    expect(&site, storage, &expected).await;
}

async fn a_gap_in_the_revisions_is_kept(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    let far = 1_795_528_097_000_000;
    // As a ledger commits them: a deletion of nothing where it goes on, alone or with what comes then.
    let gap = |to| delete(to, 0, "nothing");
    let records =
        [put(1, 0, "a", "1"), gap(far), put(far + 1, 1, "a", "2"), gap(2 * far), put(2 * far + 1, 0, "b", "3")];
    storage.commit(&records[..1]).await.unwrap();
    storage.commit(&records[1..2]).await.unwrap();
    storage.commit(&records[2..]).await.unwrap();
    let mut storage = expect(&site, storage, &snapshot(2 * far + 1, 0, &records)).await;
    storage.compact(Revision(far)).await.unwrap();
    let found = load(&mut storage).await.records;
    assert!(found.contains(&records[0]) && found.ends_with(&records[2..]), "what came before and after it is kept");
    storage.compact(Revision(2 * far)).await.unwrap();
    assert!(load(&mut storage).await.records.ends_with(&records[4..]));
}

async fn what_was_acknowledged_stays_reserved_after_any_end(site: Arc<dyn Site>) {
    let mut last = 0;
    for orderly in [true, false, false, true, true, false] {
        let mut storage = open(&site).await;
        let found = storage.load().await.unwrap();
        assert!(found.reserved.0 >= last, "{} was acknowledged, and {} is reserved", last, found.reserved);
        // As a ledger goes on: above what may have been handed out.
        let next = found.reserved.0.max(last) + 1;
        storage
            .commit(&[put(next, 0, &next.to_string(), "x"), put(next + 1, 0, &(next + 1).to_string(), "x")])
            .await
            .unwrap();
        last = next + 1;
        if orderly {
            storage.close().await.unwrap();
        }
    }
}

async fn a_store_that_is_open_is_its_owners(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    storage.check().await.unwrap();
    storage.commit(&[put(1, 0, "a", "1")]).await.unwrap();
    storage.check().await.unwrap();
    storage.compact(Revision(1)).await.unwrap();
    storage.check().await.unwrap();
    storage.load().await.unwrap();
    storage.check().await.unwrap();
}

async fn a_second_owner_is_refused_and_told_of_the_first(site: Arc<dyn Site>) {
    let mut first = open(&site).await;
    let error = site.open().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Locked);
    let pid = std::process::id().to_string();
    assert!(error.to_string().contains(&pid), "{error} does not name the first owner, process {pid}");
    first.commit(&[put(1, 0, "a", "1")]).await.unwrap();
    first.close().await.unwrap();
    open(&site).await;
}

async fn a_closed_store_opens_again_with_everything(site: Arc<dyn Site>) {
    let mut records = Vec::new();
    for revision in 1..=10 {
        let mut storage = open(&site).await;
        assert_eq!(load(&mut storage).await, snapshot(revision - 1, 0, &records));
        records.push(put(revision, revision - 1, "a", revision.to_string()));
        storage.commit(&records[records.len() - 1..]).await.unwrap();
        storage.close().await.unwrap();
    }
}

async fn a_dropped_store_opens_again_with_everything(site: Arc<dyn Site>) {
    let mut records = Vec::new();
    for revision in 1..=10 {
        let mut storage = open(&site).await;
        assert_eq!(load(&mut storage).await, snapshot(revision - 1, 0, &records));
        records.push(put(revision, revision - 1, "a", revision.to_string()));
        storage.commit(&records[records.len() - 1..]).await.unwrap();
        drop(storage);
    }
}

async fn a_dropped_commit_happened_or_did_not(site: Arc<dyn Site>) {
    let mut storage = open(&site).await;
    let mut known: Vec<Record> = Vec::new();
    for polls in 0..40 {
        let first = known.len() as u64 + 1;
        let batch: Vec<_> = (first..first + 300).map(|revision| put(revision, 0, &revision.to_string(), "x")).collect();
        poll_at_most(polls, storage.commit(&batch)).await;
        if polls % 2 == 1 {
            drop(storage);
            storage = open(&site).await;
        }
        let found = storage.load().await.unwrap().records;
        let more = [known.clone(), batch].concat();
        assert!(
            found == known || found == more,
            "after {polls} polls {} records, not {} or {}",
            found.len(),
            known.len(),
            more.len()
        );
        known = found;
    }
    let last = known.len() as u64;
    expect(&site, storage, &snapshot(last, 0, &known)).await;
}

/// Polls a future so many times, then drops it.
async fn poll_at_most(polls: usize, future: impl Future) {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context).map(drop)
    })
    .await;
}
