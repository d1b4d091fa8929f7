// SPDX-License-Identifier: Apache-2.0
//! The other side of writes on SQLite: one transaction for each write, on one connection, with the
//! settings of `device-api-store-sqlite`. It checks nothing and reads nothing, so it does less than
//! any server could.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use tokio::sync::Mutex;

/// The columns of a record, as the store has them.
const TABLE: &str = "CREATE TABLE record (revision INTEGER NOT NULL PRIMARY KEY, previous INTEGER NOT NULL, \
    seconds INTEGER NOT NULL, nanos INTEGER NOT NULL, actor TEXT NOT NULL, resource TEXT NOT NULL, \
    namespace TEXT NOT NULL, name TEXT NOT NULL, object BLOB, checksum INTEGER NOT NULL) STRICT";
const INSERT: &str = "INSERT INTO record VALUES (NULL, 1, 1, 1, 'uid=0,gid=0,pid=1', 'gpus', 'default', \
    'gpu-6f1e8c5a-3b52-4d0e-9c1f-000000000000', ?, 1)";

/// A database that is written one by one.
#[derive(Debug)]
pub struct OneByOne {
    // SQLite has one writer at a time, so that more connections would wait for each other there.
    connection: Mutex<SqliteConnection>,
}

impl OneByOne {
    pub async fn open(path: &Path) -> Self {
        let settings = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(4096)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .pragma("journal_size_limit", (16 << 20).to_string())
            .pragma("mmap_size", "0")
            .disable_statement_logging();
        let mut connection = settings.connect().await.unwrap();
        sqlx::query(TABLE).execute(&mut connection).await.unwrap();
        Self { connection: Mutex::new(connection) }
    }

    pub async fn write(&self, object: &[u8]) {
        let mut connection = self.connection.lock().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.unwrap();
        sqlx::query(INSERT).bind(object).execute(&mut *connection).await.unwrap();
        sqlx::query("COMMIT").execute(&mut *connection).await.unwrap();
    }
}
