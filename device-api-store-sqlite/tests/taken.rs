// SPDX-License-Identifier: Apache-2.0
//! A database that goes back in time: cut, damaged, emptied, linked, deleted, replaced or put back from a copy. It is noticed, and no
//! version is handed out twice.

// Clippy takes only the tests themselves for tests, not the functions that they call.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use device_api_core::resource::Timestamp;
use device_api_core::storage::{Change, Record, RecordKey, Revision, Storage, StorageError, StorageErrorKind as Kind};
use device_api_store_sqlite::{SqliteOptions, SqliteStorage};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

async fn open(path: &Path) -> Result<SqliteStorage, StorageError> {
    SqliteStorage::open_path(path, SqliteOptions::default()).await
}

fn update(revision: u64) -> Record {
    Record {
        revision: Revision(revision),
        previous: Revision(revision - 1),
        at: Timestamp::from_unix(1_800_000_000, 0).unwrap(),
        actor: "test".to_owned(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: "gpu-0".to_owned() },
        change: Change::Put(format!("value-{revision}").into()),
    }
}

/// Commits these, one by one.
async fn write(storage: &mut SqliteStorage, revisions: std::ops::RangeInclusive<u64>) {
    for revision in revisions {
        storage.commit(&[update(revision)]).await.unwrap();
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// The files as a kill now would leave them, in a folder of their own.
fn killed(path: &Path) -> (TempDir, PathBuf) {
    let (folder, copy) = folder();
    for suffix in ["", "-wal", ".mark"] {
        fs::copy(with_suffix(path, suffix), with_suffix(&copy, suffix)).unwrap();
    }
    (folder, copy)
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StorageError>) -> Kind {
    outcome.unwrap_err().kind()
}

#[tokio::test]
async fn wherever_a_log_is_cut_or_damaged_every_version_in_it_stays_reserved() {
    const LAST: u64 = 12;
    let (_folder, path) = folder();
    let mut storage = open(&path).await.unwrap();
    write(&mut storage, 1..=LAST).await;
    let log = fs::read(with_suffix(&path, "-wal")).unwrap();
    // Frames are 4,120 bytes after 32 of the header: https://www.sqlite.org/fileformat.html, section 4.1.
    let places: Vec<usize> = (0..32).step_by(7).chain((32..log.len()).step_by(1_373)).collect();
    assert!(places.len() > 20, "{} bytes of log", log.len());
    let mut lost = 0;
    for cut in [true, false] {
        for place in &places {
            let (_folder, path) = killed(&path);
            let mut bad = log.clone();
            if cut {
                bad.truncate(*place);
            } else {
                bad[*place] ^= 0x40;
            }
            fs::write(with_suffix(&path, "-wal"), bad).unwrap();
            let mut storage = open(&path).await.unwrap();
            let found = storage.load().await.unwrap();
            assert!(found.last.0 <= LAST);
            assert_eq!(found.lost, found.last.0 < LAST, "cut={cut} at {place}");
            assert!(found.reserved.0 >= LAST, "cut={cut} at {place}: {} reserved", found.reserved);
            assert!(found.records.iter().all(|record| *record == update(record.revision.0)));
            lost += LAST - found.last.0;
            // And again: what is reserved never goes back.
            drop(storage);
            let again = open(&path).await.unwrap().load().await.unwrap();
            assert_eq!(again, found);
        }
    }
    assert!(lost > 0, "nothing was damaged");
}

#[tokio::test]
async fn a_mark_that_is_missing_or_damaged_keeps_nothing_from_being_opened() {
    let (_folder, path) = folder();
    let mut storage = Box::new(open(&path).await.unwrap());
    write(&mut storage, 1..=3).await;
    storage.close().await.unwrap();
    let mark = with_suffix(&path, ".mark");
    for text in [None, Some(&b""[..]), Some(b"garbage"), Some(&[0xff; 4096])] {
        match text {
            Some(text) => fs::write(&mark, text).unwrap(),
            None => fs::remove_file(&mark).unwrap(),
        }
        let mut storage = open(&path).await.unwrap();
        let found = storage.load().await.unwrap();
        assert_eq!(found.last, Revision(3));
        assert!(found.reserved > found.last, "no file can prove that nothing is lost");
    }
}

#[tokio::test]
async fn a_database_that_is_gone_leaves_its_versions_reserved_and_its_log_aside() {
    let (_folder, path) = folder();
    let mut storage = open(&path).await.unwrap();
    write(&mut storage, 1..=5).await;
    let (_folder, path) = killed(&path);
    fs::remove_file(&path).unwrap();
    let mut storage = open(&path).await.unwrap();
    let found = storage.load().await.unwrap();
    assert_eq!((found.last, found.records.len()), (Revision::ZERO, 0));
    assert!(found.reserved.0 >= 5);
    assert!(with_suffix(&path, "-wal.orphan").exists(), "its last writes are for people to look at");
    storage.commit(&[update(found.reserved.0 + 1)]).await.unwrap();
}

#[tokio::test]
async fn a_database_that_was_never_written_to_keeps_its_first_version_reserved() {
    let (_folder, path) = folder();
    let mut storage = Box::new(open(&path).await.unwrap());
    storage.load().await.unwrap();
    // As a ledger begins on a new store: a list has this version from now on.
    storage.compact(Revision(1_000)).await.unwrap();
    storage.close().await.unwrap();
    let mark = fs::read_to_string(with_suffix(&path, ".mark")).unwrap();
    assert!(mark.starts_with("reserved "), "the next start would take it for damaged: {mark}");
    fs::remove_file(&path).unwrap();
    let found = open(&path).await.unwrap().load().await.unwrap();
    assert!(found.reserved >= Revision(1_000), "{found:?}");
}

#[tokio::test]
async fn a_database_that_was_emptied_is_refused() {
    let (_folder, path) = folder();
    let mut storage = Box::new(open(&path).await.unwrap());
    write(&mut storage, 1..=5).await;
    storage.close().await.unwrap();
    File::create(&path).unwrap();
    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("is empty, and had versions up to 5"), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "it is left as it is");
}

#[tokio::test]
async fn a_database_that_is_a_link_is_refused_and_left_as_it_is() {
    let (folder, path) = folder();
    let mut storage = Box::new(open(&path).await.unwrap());
    write(&mut storage, 1..=5).await;
    storage.close().await.unwrap();
    let other = folder.path().join("other.db");
    std::os::unix::fs::symlink(&path, &other).unwrap();
    let error = open(&other).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("is a symbolic link"), "{error}");
    fs::remove_file(&other).unwrap();
    fs::hard_link(&path, &other).unwrap();
    for path in [&path, &other] {
        let error = open(path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("one of 2 hard links"), "{error}");
    }
    fs::remove_file(&other).unwrap();
    assert_eq!(open(&path).await.unwrap().load().await.unwrap().last, Revision(5));
}

#[tokio::test]
async fn what_somebody_added_to_a_database_is_refused_and_named() {
    for (sql, object) in [
        ("CREATE TABLE more (x)", "the table \"more\""),
        ("CREATE INDEX fast ON record (name)", "the index \"fast\""),
        ("CREATE VIEW v AS SELECT 1", "the view \"v\""),
        ("CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM record; END", "the trigger \"t\""),
    ] {
        let (_folder, path) = folder();
        let mut storage = Box::new(open(&path).await.unwrap());
        write(&mut storage, 1..=2).await;
        storage.close().await.unwrap();
        let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(object), "{error}");
    }
}

#[tokio::test]
async fn a_copy_that_is_put_back_beside_the_log_of_a_later_state_is_refused() {
    let (_folder, path) = folder();
    let copy = with_suffix(&path, ".copy");
    let mut storage = Box::new(open(&path).await.unwrap());
    write(&mut storage, 1..=5).await;
    storage.close().await.unwrap();
    fs::copy(&path, &copy).unwrap();
    let mut storage = open(&path).await.unwrap();
    write(&mut storage, 6..=9).await;
    // The log of a server that was killed, which never closed it.
    let log = with_suffix(&path, "-wal");
    let kept = with_suffix(&path, ".kept");
    fs::hard_link(&log, &kept).unwrap();
    drop(storage);
    let mut patience = 0;
    while log.exists() && patience < 6_000 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        patience += 1;
    }
    fs::rename(&kept, &log).unwrap();
    if fs::metadata(&log).unwrap().created().is_err() {
        // A file system that does not say when files were made.
        return;
    }
    fs::rename(&copy, &path).unwrap();
    let before = fs::read(&path).unwrap();
    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("replaced beside the log"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before, "nothing of the log was played into it");
    fs::remove_file(&log).unwrap();
    let found = open(&path).await.unwrap().load().await.unwrap();
    assert_eq!(found.last, Revision(5));
    assert!(found.reserved.0 >= 9);
}

/// What somebody does to the files of a server that runs.
type Deed = fn(&Path);

const DEEDS: [(&str, Deed); 9] = [
    ("deleted", |path| fs::remove_file(path).unwrap()),
    ("renamed", |path| fs::rename(path, with_suffix(path, ".old")).unwrap()),
    ("replaced by a copy", |path| {
        fs::copy(path, with_suffix(path, ".copy")).unwrap();
        fs::rename(with_suffix(path, ".copy"), path).unwrap();
    }),
    ("emptied", |path| drop(File::create(path).unwrap())),
    ("made longer", |path| File::options().append(true).open(path).unwrap().write_all(&[0; 4096]).unwrap()),
    ("overwritten in place with as many bytes", |path| {
        // A clock of the file system that stands still between two calls would hide it.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let bytes = fs::read(path).unwrap();
        File::options().write(true).open(path).unwrap().write_all(&bytes).unwrap();
    }),
    ("without its log", |path| fs::remove_file(with_suffix(path, "-wal")).unwrap()),
    ("with its log cut", |path| {
        File::options().write(true).open(with_suffix(path, "-wal")).unwrap().set_len(100).unwrap();
    }),
    ("with another log", |path| {
        let log = with_suffix(path, "-wal");
        fs::copy(&log, with_suffix(path, ".copy")).unwrap();
        fs::rename(with_suffix(path, ".copy"), &log).unwrap();
    }),
];

type Call = fn(&mut SqliteStorage) -> Kind;

#[tokio::test]
async fn files_that_somebody_touches_while_they_are_open_are_noticed_by_every_call() {
    for (what, deed) in DEEDS {
        let calls: [(&str, Call); 4] = [
            ("check", |storage| kind(futures_util::FutureExt::now_or_never(storage.check()).unwrap())),
            ("load", |storage| kind(tokio::runtime::Handle::current().block_on(storage.load()))),
            ("commit", |storage| kind(tokio::runtime::Handle::current().block_on(storage.commit(&[update(6)])))),
            ("compact", |storage| kind(tokio::runtime::Handle::current().block_on(storage.compact(Revision(2))))),
        ];
        for (name, call) in calls {
            let (_folder, path) = folder();
            let mut storage = Box::new(open(&path).await.unwrap());
            write(&mut storage, 1..=5).await;
            storage.check().await.unwrap();
            deed(&path);
            let storage = tokio::task::spawn_blocking(move || {
                assert_eq!(call(&mut storage), Kind::Lost, "{name} of a database that was {what}");
                assert_eq!(call(&mut storage), Kind::Lost, "and again");
                storage
            });
            let log = fs::read(with_suffix(&path, "-wal"));
            let _ = storage.await.unwrap().close().await;
            if what == "with another log" {
                assert_eq!(
                    fs::read(with_suffix(&path, "-wal")).unwrap(),
                    log.unwrap(),
                    "somebody else's is left alone"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_database_that_was_renamed_while_it_was_open_has_everything_that_was_acknowledged() {
    let (_folder, path) = folder();
    let mut storage = Box::new(open(&path).await.unwrap());
    write(&mut storage, 1..=5).await;
    let old = with_suffix(&path, ".old");
    fs::rename(&path, &old).unwrap();
    assert_eq!(kind(storage.check().await), Kind::Lost);
    storage.close().await.unwrap();
    fs::rename(&old, &path).unwrap();
    assert_eq!(open(&path).await.unwrap().load().await.unwrap().last, Revision(5));
}

#[tokio::test]
async fn what_reads_the_files_or_changes_their_owner_and_mode_disturbs_nobody() {
    let (_folder, path) = folder();
    let mut storage = open(&path).await.unwrap();
    for revision in 1..=5 {
        storage.commit(&[update(revision)]).await.unwrap();
        for suffix in ["", "-wal", ".mark", ".lock"] {
            let path = with_suffix(&path, suffix);
            fs::read(&path).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(std::os::unix::fs::MetadataExt::uid(&metadata)), None).unwrap();
            fs::set_permissions(&path, metadata.permissions()).unwrap();
        }
        storage.check().await.unwrap();
    }
    // A second name takes nothing away yet. The next start refuses it.
    fs::hard_link(&path, with_suffix(&path, ".backup")).unwrap();
    storage.check().await.unwrap();
    storage.commit(&[update(6)]).await.unwrap();
}
