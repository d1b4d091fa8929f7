// SPDX-License-Identifier: Apache-2.0
//! Storage that fails on purpose fails as it was told to, and otherwise does what it wraps does.

// Clippy takes only the tests themselves for tests, not the functions that they call.
#![allow(clippy::unwrap_used)]

use device_api_core::resource::Timestamp;
use device_api_core::storage::{Change, Record, RecordKey, Revision, Storage, StorageErrorKind as Kind};
use device_api_core::testing::{Call, Fault, Faults, FaultyStorage};
use device_api_store_memory::{Memory, MemoryStorage};

fn record(revision: u64) -> Record {
    Record {
        revision: Revision(revision),
        previous: Revision::ZERO,
        at: Timestamp::from_unix(0, 0).unwrap(),
        actor: String::new(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: revision.to_string() },
        change: Change::Delete,
    }
}

fn faulty() -> (FaultyStorage<MemoryStorage>, Faults) {
    let faults = Faults::new();
    (FaultyStorage::new(Box::new(Memory::new().open().unwrap()), &faults), faults)
}

async fn commit(storage: &mut FaultyStorage<MemoryStorage>, revision: u64) -> Result<(), Kind> {
    storage.commit(&[record(revision)]).await.map_err(|error| error.kind())
}

async fn stored(storage: &mut FaultyStorage<MemoryStorage>) -> u64 {
    storage.load().await.unwrap().last.0
}

#[tokio::test]
async fn the_nth_commit_fails_and_no_other() {
    let (mut storage, faults) = faulty();
    commit(&mut storage, 1).await.unwrap();
    faults.nth(Call::Commit, 2, Fault::Refuse(Kind::Full));
    commit(&mut storage, 2).await.unwrap();
    assert_eq!(commit(&mut storage, 3).await, Err(Kind::Full));
    assert_eq!(stored(&mut storage).await, 2);
    commit(&mut storage, 3).await.unwrap();
    assert_eq!(faults.calls(Call::Commit), 4);
}

#[tokio::test]
async fn an_unclear_commit_was_written_or_was_not() {
    let (mut storage, faults) = faulty();
    faults.next(Call::Commit, Fault::LoseRequest);
    assert_eq!(commit(&mut storage, 1).await, Err(Kind::Unclear));
    assert_eq!(stored(&mut storage).await, 0);
    faults.next(Call::Commit, Fault::LoseReply);
    assert_eq!(commit(&mut storage, 1).await, Err(Kind::Unclear));
    assert_eq!(stored(&mut storage).await, 1);
}

#[tokio::test]
async fn loads_and_compactions_fail_until_the_faults_are_cleared() {
    let (mut storage, faults) = faulty();
    faults.always(Call::Load, Fault::Refuse(Kind::Corrupt));
    faults.always(Call::Compact, Fault::LoseRequest);
    for _ in 0..3 {
        assert_eq!(storage.load().await.unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(storage.compact(Revision(9)).await.unwrap_err().kind(), Kind::Unclear);
    }
    faults.clear();
    assert_eq!(stored(&mut storage).await, 0);
    storage.compact(Revision(9)).await.unwrap();
    assert_eq!(stored(&mut storage).await, 9);
}

#[tokio::test]
async fn a_call_hangs_until_it_is_released() {
    let (mut storage, faults) = faulty();
    faults.next(Call::Commit, Fault::Hang);
    let task = tokio::spawn(async move {
        commit(&mut storage, 1).await.unwrap();
        stored(&mut storage).await
    });
    faults.hanging().await;
    assert!(!task.is_finished());
    faults.release();
    assert_eq!(task.await.unwrap(), 1);
}
