// SPDX-License-Identifier: Apache-2.0
//! The database file: claimed once, connected to as often as needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use device_api_core::storage::StorageErrorKind as Kind;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode};
use sqlx::{ConnectOptions, Connection};

use crate::SqliteOptions;
use crate::error::{Error, Result};
use crate::lock::{self, Lock, with_suffix};
use crate::schema::{self, Found, PAGE_SIZE};

/// The first release without the WAL-reset bug, <https://www.sqlite.org/wal.html>, section 11.
const FIRST_SOUND: [u32; 3] = [3, 51, 3];
/// How long to wait for a connection of ours that is just closing; there are no others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait at first, when somebody else may have the database.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// The write-ahead log is cut down to this size, in bytes.
pub(crate) const WAL_LIMIT: u64 = 16 << 20;

/// A database file that is ours alone.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    options: SqliteOptions,
    lock: Arc<Lock>,
}

impl Database {
    /// Takes the lock, and makes the file where there is none.
    pub(crate) async fn claim(path: &Path, options: SqliteOptions) -> Result<Self> {
        if !path.is_absolute() {
            return Err(Error::Path { path: path.display().to_string() });
        }
        // These few calls block for less than a reply from SQLite's thread would take.
        let path = schema::prepare_folder(path)?;
        let lock = Arc::new(Lock::take(&path).await?);
        schema::inspect_companions(&path)?;
        if schema::inspect(&path)? == Found::Nothing {
            schema::create(&path).await?;
        }
        Ok(Self { path, options, lock })
    }

    /// Opens the first connection. Who has the database without the lock is named.
    pub(crate) async fn connect_first(&self) -> Result<SqliteConnection> {
        match self.connect_within(FIRST_PATIENCE).await {
            Err(failure) if failure.kind() == Kind::Busy => {
                Err(Error::Locked { path: self.path.clone(), owner: lock::holder(&self.path) })
            }
            connected => connected,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the write-ahead log, in bytes.
    pub(crate) fn wal_size(&self) -> u64 {
        std::fs::metadata(with_suffix(&self.path, "-wal")).map_or(0, |wal| wal.len())
    }

    /// Opens the one connection anew.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection> {
        self.connect_within(BUSY_TIMEOUT).await
    }

    /// Opens the one connection, and checks library and file.
    async fn connect_within(&self, patience: Duration) -> Result<SqliteConnection> {
        let error = |source| Error::reading("open", &self.path, source);
        let mut connection = self.settings(patience).connect().await.map_err(error)?;
        match self.check(&mut connection).await {
            Ok(()) => Ok(connection),
            Err(failure) => {
                // The failure that led here says more than one of closing.
                let _ = connection.close().await;
                Err(failure)
            }
        }
    }

    fn settings(&self, patience: Duration) -> SqliteConnectOptions {
        let lock = Arc::clone(&self.lock);
        let settings = SqliteConnectOptions::new()
            .filename(&self.path)
            // With one owner the log's index lives in its memory: no -shm file, nothing mapped, and a
            // connection that was dropped in the middle of a call keeps the next one out until it ended.
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(self.options.synchronous.into())
            .busy_timeout(patience)
            .foreign_keys(false)
            .pragma("journal_size_limit", WAL_LIMIT.to_string())
            .pragma("mmap_size", "0")
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            // SQLite frees a collation's closure after it has closed the files, on its own thread. So
            // the lock is held until then, even if this connection is dropped in the middle of a call.
            .collation("holds_the_lock", move |_, _| {
                let _held = &lock;
                std::cmp::Ordering::Equal
            })
            .disable_statement_logging();
        match self.options.max_size_mib {
            Some(mib) => {
                let pages = u64::from(mib) * (1 << 20) / u64::from(PAGE_SIZE);
                settings.pragma("max_page_count", pages.to_string())
            }
            None => settings,
        }
    }

    async fn check(&self, connection: &mut SqliteConnection) -> Result<()> {
        let error = |source| Error::reading("check", &self.path, source);
        let library: String =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await.map_err(error)?;
        if !is_sound(&library) {
            return Err(Error::Library { found: library });
        }
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await.map_err(error)?;
        if found == "ok" { Ok(()) } else { Err(Error::Damaged { path: self.path.clone(), found }) }
    }
}

fn is_sound(version: &str) -> bool {
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    parts.as_slice() >= FIRST_SOUND.as_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_with_the_wal_reset_bug_are_refused() {
        for bad in ["3.46.0", "3.51.2", "3.7.17", "2.99.99", "", "x"] {
            assert!(!is_sound(bad), "{bad}");
        }
        for good in ["3.51.3", "3.51.10", "3.52.0", "4.0.0"] {
            assert!(is_sound(good), "{good}");
        }
    }
}
