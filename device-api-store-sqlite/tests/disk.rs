// SPDX-License-Identifier: Apache-2.0
//! What the backend does when the disk is full, when history grows, and when the process is killed.

// Clippy takes only the tests themselves for tests, not the functions that they call.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use device_api_core::registry::{History, Ledger, LedgerOptions, LedgerState};
use device_api_core::resource::Timestamp;
use device_api_core::storage::{Change, Record, RecordKey, Revision, Storage, StorageErrorKind as Kind};
use device_api_store_sqlite::{SqliteOptions, SqliteStorage};

/// Updates of one object.
fn updates(revisions: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Record> {
    let update = |revision: u64| Record {
        revision: Revision(revision),
        previous: Revision(revision - 1),
        at: Timestamp::from_unix(1_800_000_000, 0).unwrap(),
        actor: "test".to_owned(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: "gpu-0".to_owned() },
        change: Change::Put(vec![revision as u8; bytes]),
    };
    revisions.map(update).collect()
}

async fn open(folder: &Path, options: SqliteOptions) -> SqliteStorage {
    SqliteStorage::open_path(folder.join("state.db"), options).await.unwrap()
}

async fn last(storage: &mut SqliteStorage) -> u64 {
    storage.load().await.unwrap().last.0
}

#[tokio::test]
async fn a_full_disk_refuses_whole_commits_and_recovers_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path(), SqliteOptions::default().with_max_size_mib(1)).await;
    // One statement, which fails by itself, and several, where SQLite rolls the transaction back.
    for batch in [10, 100] {
        let mut known = last(&mut storage).await;
        let failure = loop {
            match storage.commit(&updates(known + 1..=known + batch, 8 << 10)).await {
                Ok(()) => known += batch,
                Err(error) => break error,
            }
            assert!(known < 1_000, "the size is not limited");
        };
        assert_eq!(failure.kind(), Kind::Full, "{failure}");
        assert!(failure.to_string().contains("max_size_mib"), "{failure}");
        assert_eq!(last(&mut storage).await, known);
        storage.compact(Revision(known)).await.unwrap();
        let next = updates(known + 1..=known + 90, 4 << 10);
        storage.commit(&next).await.unwrap();
        assert_eq!(last(&mut storage).await, known + 90);
        storage.compact(Revision(known + 90)).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_is_full_of_history_is_opened_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_max_size_mib(1);
    let mut storage = Box::new(open(folder.path(), options.clone()).await);
    let mut known = 0;
    while storage.commit(&updates(known + 1..=known + 1, 8 << 10)).await.is_ok() {
        known += 1;
    }
    assert_eq!(storage.commit(&[]).await.unwrap_err().kind(), Kind::Full, "a question is answered as a write is");
    storage.close().await.unwrap();
    // Nobody who heeds health would make the write that makes room.
    let history = History::default().with_max_age(Duration::MAX);
    let storage = Box::new(open(folder.path(), options).await);
    let ledger = Ledger::open(storage, LedgerOptions::default().with_history(history)).await.unwrap();
    assert_eq!(*ledger.state().borrow(), LedgerState::Open);
    assert!(ledger.revision().await.unwrap() >= Revision(known));
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_refused_record_takes_its_whole_commit_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = open(folder.path(), SqliteOptions::default()).await;
    storage.commit(&updates(1..=5, 10)).await.unwrap();
    for (first, count) in [(4, 10), (4, 500)] {
        let error = storage.commit(&updates(first..=first + count, 10)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Rejected, "{error}");
        let mut repeated = updates(6..=600, 10);
        repeated.extend(updates(600..=600, 10));
        assert_eq!(storage.commit(&repeated).await.unwrap_err().kind(), Kind::Rejected);
        let huge = [updates(6..=6, 10), updates(u64::MAX..=u64::MAX, 10)].concat();
        assert_eq!(storage.commit(&huge).await.unwrap_err().kind(), Kind::Rejected);
        assert_eq!(last(&mut storage).await, 5);
    }
    storage.commit(&updates(6..=6, 10)).await.unwrap();
}

#[tokio::test]
async fn many_updates_of_one_object_keep_the_files_small() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_synchronous(device_api_store_sqlite::Synchronous::Normal);
    let mut storage = open(folder.path(), options).await;
    let size = |suffix: &str| {
        std::fs::metadata(folder.path().join(format!("state.db{suffix}"))).map_or(0, |metadata| metadata.len())
    };
    // 40 MiB of updates in all.
    for first in (1..=40_000).step_by(200) {
        storage.commit(&updates(first..=first + 199, 1 << 10)).await.unwrap();
        storage.compact(Revision((first + 199).saturating_sub(1_000))).await.unwrap();
        assert!(size("") < 4 << 20, "{} bytes after {first} updates", size(""));
        assert!(size("-wal") <= 17 << 20, "{} bytes of log after {first} updates", size("-wal"));
    }
}

#[tokio::test]
async fn room_is_given_back_after_history_shrank() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = Box::new(open(folder.path(), SqliteOptions::default()).await);
    storage.commit(&updates(1..=2_000, 10 << 10)).await.unwrap();
    for _ in 0..20 {
        storage.compact(Revision(2_000)).await.unwrap();
    }
    storage.close().await.unwrap();
    let size = std::fs::metadata(folder.path().join("state.db")).unwrap().len();
    assert!(size < 6 << 20, "{size} bytes for one object of 10 KiB");
    assert!(!folder.path().join("state.db-wal").exists());
}

/// Names the folder in the child that [`a_killed_process_leaves_what_it_acknowledged`] kills.
const VICTIM: &str = "DEVICE_API_TEST_VICTIM";

#[tokio::test]
async fn a_killed_process_leaves_what_it_acknowledged() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        let mut storage = open(Path::new(&folder), SqliteOptions::default()).await;
        for first in (last(&mut storage).await + 1..).step_by(3) {
            storage.commit(&updates(first..=first + 2, 300)).await.unwrap();
            println!("\nacknowledged {}", first + 2);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_what_it_acknowledged", "--nocapture"])
            .env(VICTIM, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let revisions = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        acknowledged = revisions.take(20 * round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut storage = Box::new(open(folder.path(), SqliteOptions::default()).await);
        let snapshot = storage.load().await.unwrap();
        assert!(snapshot.last.0 >= acknowledged, "{} of {acknowledged}", snapshot.last);
        assert_eq!(snapshot.last.0 % 3, 0, "a part of a commit");
        assert!(snapshot.records == updates(1..=snapshot.last.0, 300));
        storage.close().await.unwrap();
    }
    assert!(acknowledged > 0);
}
