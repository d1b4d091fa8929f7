// SPDX-License-Identifier: Apache-2.0
//! Records for the cases, and how they are checked.

use std::sync::Arc;

use super::Site;
use crate::resource::Timestamp;
use crate::storage::{Change, Record, RecordKey, Revision, Snapshot, Storage};

/// The record of a write to `gpus default/{name}`.
pub(super) fn put(revision: u64, previous: u64, name: &str, value: impl Into<Vec<u8>>) -> Record {
    Record {
        revision: Revision(revision),
        previous: Revision(previous),
        at: Timestamp::from_unix(1_800_000_000 + (revision % 1_000) as i64, 0).unwrap(),
        actor: "suite".to_owned(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: name.to_owned() },
        change: Change::Put(value.into()),
    }
}

pub(super) fn delete(revision: u64, previous: u64, name: &str) -> Record {
    Record { change: Change::Delete, ..put(revision, previous, name, "") }
}

pub(super) fn snapshot(last: u64, compacted: u64, records: &[Record]) -> Snapshot {
    let (last, compacted, records) = (Revision(last), Revision(compacted), records.to_vec());
    Snapshot { last, compacted, reserved: last, records, ..Snapshot::default() }
}

/// What a store holds, with what it reserves checked and put aside: that is as high as a backend likes.
pub(super) async fn load(storage: &mut Box<dyn Storage>) -> Snapshot {
    let found = storage.load().await.unwrap();
    assert!(found.reserved >= found.last, "{} is reserved, and {} was committed", found.reserved, found.last);
    Snapshot { reserved: found.last, lost: false, ..found }
}

pub(super) async fn open(site: &Arc<dyn Site>) -> Box<dyn Storage> {
    site.open().await.unwrap()
}

/// Closes and opens again.
pub(super) async fn reopen(site: &Arc<dyn Site>, storage: Box<dyn Storage>) -> Box<dyn Storage> {
    storage.close().await.unwrap();
    open(site).await
}

/// Checks what is loaded, now and after a restart, but for the records that compaction may leave.
pub(super) async fn expect(
    site: &Arc<dyn Site>,
    mut storage: Box<dyn Storage>,
    expected: &Snapshot,
) -> Box<dyn Storage> {
    for _ in 0..2 {
        let found = load(&mut storage).await;
        // Compared first without the records, whose dump may be long.
        assert_eq!((found.last, found.compacted), (expected.last, expected.compacted));
        assert!(found.records == expected.records, "found {} records: {:.2000?}", found.records.len(), found.records);
        storage = reopen(site, storage).await;
    }
    storage
}
