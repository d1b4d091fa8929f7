// SPDX-License-Identifier: Apache-2.0
//! What the backend does with files: its own, damaged ones, and those of others.

// Clippy takes only the tests themselves for tests, not the functions that they call.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use device_api_core::resource::Timestamp;
use device_api_core::storage::{
    Change, Endpoint, Record, RecordKey, Revision, Storage, StorageError, StorageErrorKind as Kind,
};
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

fn record(revision: u64, value: &str) -> Record {
    Record {
        revision: Revision(revision),
        previous: Revision(revision - 1),
        at: Timestamp::from_unix(1_800_000_000, 5).unwrap(),
        actor: "test".to_owned(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: "gpu-0".to_owned() },
        change: Change::Put(value.into()),
    }
}

async fn fill(path: &Path, records: u64) {
    let mut storage = Box::new(open(path).await.unwrap());
    let records: Vec<_> = (1..=records).map(|revision| record(revision, &format!("value-of-{revision:06}"))).collect();
    storage.commit(&records).await.unwrap();
    storage.close().await.unwrap();
}

/// Every file of a folder but those beside the database, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_none_or(|extension| extension != "lock" && extension != "mark"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A database as another program would make it, in WAL mode.
async fn foreign(path: &Path, pragmas: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql(pragmas).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_untouched() {
    let (text, text_path) = folder();
    fs::write(&text_path, "dear diary").unwrap();
    let (other, other_path) = folder();
    foreign(&other_path, "PRAGMA application_id = 7").await;
    for (folder, path) in [(text, text_path), (other, other_path)] {
        let before = contents(folder.path());
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains("left untouched"), "{error}");
        assert_eq!(contents(folder.path()), before);
    }
}

#[tokio::test]
async fn a_newer_version_is_refused_and_left_untouched() {
    let (folder, path) = folder();
    // `DevA`, and a format of the future.
    foreign(&path, "PRAGMA application_id = 0x44657641; PRAGMA user_version = 9").await;
    let before = contents(folder.path());
    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("has format 9, and this program knows 1"), "{error}");
    assert_eq!(contents(folder.path()), before);
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    for keep in [4_096, 8_192, 20_000] {
        let (_folder, path) = folder();
        fill(&path, 1_000).await;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(file.metadata().unwrap().len() > keep);
        file.set_len(keep).unwrap();
        drop(file);
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn an_empty_file_and_an_unfinished_draft_become_a_new_database() {
    let (folder, path) = folder();
    fs::write(&path, "").unwrap();
    fs::write(folder.path().join("state.db.new"), "half a draft").unwrap();
    fill(&path, 1).await;
    let names: Vec<_> = contents(folder.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, [path]);
}

#[tokio::test]
async fn the_folder_is_made_and_only_the_owner_reads_the_files() {
    let (folder, _) = folder();
    let path = folder.path().join("a/b/state.db");
    let mut storage = open(&path).await.unwrap();
    storage.commit(&[record(1, "x")]).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("a")) & 0o027, 0);
    let files: Vec<_> = fs::read_dir(folder.path().join("a/b")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "database, log, lock and mark: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn the_lock_names_its_owner_and_holds_through_a_linked_folder() {
    let (folder, path) = folder();
    let first = open(&path).await.unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    for path in [path, link.join("state.db")] {
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Locked);
        let program = fs::read_to_string("/proc/self/comm").unwrap();
        let owner = format!("process {} ({}), since 20", std::process::id(), program.trim_end());
        assert!(error.to_string().contains(&owner), "{error}");
    }
    drop(first);
}

#[tokio::test]
async fn a_lock_that_is_a_link_to_a_file_is_refused_and_the_file_left_untouched() {
    let link: [fn(&Path, &Path) -> std::io::Result<()>; 2] =
        [|file, name| std::os::unix::fs::symlink(file, name), |file, name| fs::hard_link(file, name)];
    for link in link {
        let (folder, path) = folder();
        let precious = folder.path().join("precious");
        fs::write(&precious, "dear diary").unwrap();
        link(&precious, &folder.path().join("state.db.lock")).unwrap();
        let error = open(&path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("left untouched"), "{error}: {source}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "dear diary");
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_link_in_the_place_of_the_draft_is_replaced_and_its_file_left_untouched() {
    let (folder, path) = folder();
    let precious = folder.path().join("precious");
    fs::write(&precious, "dear diary").unwrap();
    std::os::unix::fs::symlink(&precious, folder.path().join("state.db.new")).unwrap();
    fill(&path, 1).await;
    assert_eq!(fs::read_to_string(&precious).unwrap(), "dear diary");
}

#[tokio::test]
async fn a_url_that_names_no_database_is_refused_with_what_to_do() {
    for (url, hint) in [
        ("sqlite:state.db", "write three slashes"),
        ("sqlite://state.db", "write three slashes"),
        ("sqlite://", "write three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///tmp/x.db?sync=full", "it has: synchronous, max_size_mib"),
        ("sqlite:///tmp/x.db?synchronous=off", "synchronous=off in the datastore URL: must be full or normal"),
        ("sqlite:///tmp/x.db?max_size_mib=0", "must be a number of MiB, at least 1"),
    ] {
        let error = SqliteStorage::open(&Endpoint::parse(url).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{url}");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {source}").contains(hint), "{url}: {error}: {source}");
    }
}

/// Names the database that the child of [`a_database_that_another_program_has_is_refused_with_its_name`] holds.
const HELD: &str = "DEVICE_API_TEST_HELD";

#[tokio::test]
async fn a_database_that_another_program_has_is_refused_with_its_name() {
    if let Some(path) = std::env::var_os(HELD) {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::raw_sql("SELECT * FROM record").execute(&mut connection).await.unwrap();
        println!("\nheld");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let (_folder, path) = folder();
    fill(&path, 1).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_database_that_another_program_has_is_refused_with_its_name", "--nocapture"])
        .env(HELD, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "held"));
    let error = open(&path).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked, "{error}");
    assert!(error.to_string().contains(&format!("in use by process {} (", child.id())), "{error}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    open(&path).await.unwrap();
}
