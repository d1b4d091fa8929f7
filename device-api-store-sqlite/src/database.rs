// SPDX-License-Identifier: Apache-2.0
//! The database file: claimed once, connected to as often as needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use device_api_core::storage::StorageErrorKind as Kind;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode};
use sqlx::{ConnectOptions, Connection};

use crate::SqliteOptions;
use crate::compaction;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::highwater::{HighWater, Said, State};
use crate::lock::{self, Lock};
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
    /// The files as they were when they were claimed.
    files: Files,
}

impl Database {
    /// Takes the lock, looks at what was said of the database when it was last open, and makes it where there is none.
    pub(crate) async fn claim(path: &Path, options: SqliteOptions) -> Result<(Self, HighWater)> {
        if !path.is_absolute() {
            return Err(Error::Path { path: path.display().to_string() });
        }
        // These few calls block for less than a reply from SQLite's thread would take.
        let path = schema::prepare_folder(path)?;
        let lock = Arc::new(Lock::take(&path).await?);
        schema::inspect_companions(&path)?;
        let mut said = Said::read(&path)?;
        if schema::inspect(&path, &said)? == Found::Nothing {
            if said.acknowledged > 0 {
                tracing::error!(
                    path = %path.display(),
                    acknowledged = said.acknowledged,
                    "the database is gone, with all writes up to this version: starting with an empty one"
                );
                said.acknowledged = 0;
            }
            schema::put_leftovers_aside(&path)?;
            schema::create(&path).await?;
        }
        let files = Files::look(&path)?;
        // An empty log holds nothing of anybody's.
        if let (Some(before), Some(now)) = (said.files, files.pair())
            && files.log_size() > 0
            && now.is_another_database_beside_the_log_of(before)
        {
            return Err(Error::OtherLog { path });
        }
        let high_water = HighWater::open(&path, said)?;
        Ok((Self { path, options, lock, files }, high_water))
    }

    /// Looks at the files, and checks that they are those that were claimed.
    pub(crate) fn look(&self) -> Result<Files> {
        let files = Files::look(&self.path)?;
        files.check_database(&self.files, &self.path)?;
        Ok(files)
    }

    /// Compares what the database holds with what was acknowledged, and says what is missing.
    pub(crate) fn report(&self, high_water: &HighWater, last: u64) {
        let (said, path) = (&high_water.said, self.path.display());
        match said.state {
            _ if said.acknowledged > last => tracing::error!(
                %path,
                last,
                acknowledged = said.acknowledged,
                "ACKNOWLEDGED WRITES ARE LOST: the database holds less than it did, because it or its log was cut, damaged or put \
                 back from a copy; versions go on above all that were handed out, and clients list again"
            ),
            State::Missing if last > 0 => tracing::warn!(
                %path,
                "the file that says what was acknowledged (.mark) is missing: whether the database is the last one cannot be told"
            ),
            State::Damaged => tracing::warn!(
                %path,
                "the file that says what was acknowledged (.mark) is damaged: whether the database is the last one cannot be told"
            ),
            State::Missing | State::Whole => {}
        }
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

    /// Opens the one connection anew.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection> {
        self.connect_within(BUSY_TIMEOUT).await
    }

    /// Opens the one connection, and checks library and file.
    async fn connect_within(&self, patience: Duration) -> Result<SqliteConnection> {
        let error = |source| Error::reading("open", &self.path, source);
        let mut connection = self.settings(patience).connect().await.map_err(error)?;
        let sound = match self.check(&mut connection).await {
            Ok(()) => self.settle_log(&mut connection).await,
            refused => refused,
        };
        match sound {
            Ok(()) => Ok(connection),
            Err(failure) => {
                // The failure that led here says more than one of closing.
                let _ = connection.close().await;
                Err(failure)
            }
        }
    }

    /// Moves what an earlier connection left in the log into the database, and syncs it: where that was not closed, nobody knows
    /// whether the disk has it.
    async fn settle_log(&self, connection: &mut SqliteConnection) -> Result<()> {
        let moved = compaction::checkpoint(connection).await;
        match moved.map_err(|source| Error::writing("sync", &self.path, source)) {
            Err(full @ Error::Full { .. }) => {
                tracing::warn!(error = &full as &dyn std::error::Error, "the log stays as it is");
                Ok(())
            }
            settled => settled,
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
        let found: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(error)?;
        if found != "ok" {
            return Err(Error::Damaged { path: self.path.clone(), found });
        }
        schema::check_objects(connection, &self.path).await
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
