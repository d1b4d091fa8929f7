// SPDX-License-Identifier: Apache-2.0
//! SQLite storage for the node-local Device API.
//!
//! One file, one owner, one connection: each commit is one transaction, on the disk when it is
//! acknowledged. The folder is made where there is none (mode 0750), the file is readable by its
//! owner only (0600), and a `.lock` file beside it says who that is. A file of another program, or of a newer version,
//! is refused and left as it is, byte for byte. A `.mark` file says how far versions have gone, so that a database that was cut,
//! damaged or put back from a copy is noticed, and hands out none a second time.
//!
//! ```
//! use device_api_core::storage::{Endpoint, Storage};
//! use device_api_store_sqlite::SqliteStorage;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().display();
//! let endpoint = Endpoint::parse(&format!("sqlite://{folder}/state.db?synchronous=full"))?;
//! let mut storage = SqliteStorage::open(&endpoint).await?;
//! assert!(storage.load().await?.records.is_empty());
//! Box::new(storage).close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! While it is open, other programs cannot read the file: it is locked exclusively. To look into
//! it, copy it after the server has ended.

mod compaction;
mod database;
mod error;
mod files;
mod highwater;
mod lock;
mod options;
mod quarantine;
mod rows;
mod schema;
mod transaction;

use std::path::Path;

use async_trait::async_trait;
use device_api_core::storage::{
    Endpoint, Quarantine, Quarantined, Record, Revision, Snapshot, Storage, StorageError, Unreadable,
};
use sqlx::{Connection, SqliteConnection};

use self::database::{Database, WAL_LIMIT};
use self::error::{Error, Result};
use self::files::Files;
use self::highwater::HighWater;
pub use self::options::{SqliteOptions, Synchronous, SynchronousError};
use self::rows::Mark;

/// The backend's name and URL scheme.
pub const SCHEME: &str = "sqlite";

/// The connection for one call, and the files as they were before it, where that is known.
type Turn = (SqliteConnection, Option<Files>);

/// An open database, and its only owner.
#[derive(Debug)]
pub struct SqliteStorage {
    database: Database,
    high_water: HighWater,
    /// Whether what was acknowledged was compared with what is there.
    reported: bool,
    /// `None` while a call uses it, and after one that failed unclearly or was dropped: the next call
    /// opens a new one, which rolls back what was not finished.
    connection: Option<SqliteConnection>,
    /// The files as the last call left them; `None` where nobody knows how it did.
    files: Option<Files>,
    /// Whether the database has more than one name, so that it is said once.
    linked: bool,
}

impl SqliteStorage {
    /// Opens the database of `sqlite:///absolute/path.db`, with [`SqliteOptions`] as URL options.
    ///
    /// # Errors
    /// `Config` for a bad URL or folder, `Locked` for a database in use, `Unsupported` for a file of
    /// another program or version, `Corrupt` for one that is damaged.
    pub async fn open(endpoint: &Endpoint) -> std::result::Result<Self, StorageError> {
        if !endpoint.authority().is_empty() {
            // `sqlite://state.db` names a host, where a path was meant.
            return Err(Error::Path { path: format!("{}{}", endpoint.authority(), endpoint.path()) }.into());
        }
        let options = SqliteOptions::from_endpoint(endpoint).map_err(Error::Url)?;
        Self::open_path(endpoint.path(), options).await
    }

    /// Opens the database at an absolute path.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub async fn open_path(path: impl AsRef<Path>, options: SqliteOptions) -> std::result::Result<Self, StorageError> {
        let (database, high_water) = Database::claim(path.as_ref(), options).await?;
        let connection = Some(database.connect_first().await?);
        let files = Some(database.look()?);
        Ok(Self { database, high_water, reported: false, connection, files, linked: false })
    }

    /// Takes the connection for one call, if nobody has touched the files meanwhile. It goes back through [`Self::settle`], with
    /// the files as they were; if the call's future is dropped before, the connection is too.
    async fn take(&mut self) -> Result<Turn> {
        let now = self.database.look()?;
        if let Some(before) = &self.files {
            now.check_untouched(before, self.database.path())?;
        }
        match self.connection.take() {
            Some(connection) => Ok((connection, self.files.take())),
            // What a call that failed or was dropped has done to the files is done by the time that this returns.
            None => Ok((self.database.connect().await?, None)),
        }
    }

    /// Keeps the connection after a call, unless nobody knows what the failure did to it. Nothing is acknowledged that is in
    /// files which are not ours any more.
    async fn settle<T>(&mut self, (connection, before): Turn, outcome: Result<T>) -> Result<T> {
        match &outcome {
            Err(failure) if !failure.kind().is_definite() => {
                if let Err(error) = connection.close().await {
                    tracing::warn!(%error, "closing after a failure failed too");
                }
                return outcome;
            }
            _ => self.connection = Some(connection),
        }
        let path = self.database.path();
        let same = |now: &Files| before.as_ref().map_or(Ok(()), |before| now.check_identity(before, path));
        match self.database.look().and_then(|now| same(&now).map(|()| now)) {
            Ok(now) => {
                self.high_water.speak_of(now.pair());
                self.files = Some(now);
                outcome
            }
            Err(taken) => {
                self.files = before;
                Err(taken)
            }
        }
    }

    async fn write(&self, connection: &mut SqliteConnection, records: &[Record]) -> Result<()> {
        let error = |source| Error::writing("write to", self.database.path(), source);
        let mut chunks = rows::chunks(records).peekable();
        let Some(first) = chunks.next() else { return transaction::probe(connection).await.map_err(error) };
        if chunks.peek().is_none() {
            // One statement is a transaction by itself, without two trips to SQLite's thread.
            return rows::insert(connection, first).await.map_err(error);
        }
        transaction::begin(connection).await.map_err(error)?;
        let mut written = rows::insert(connection, first).await;
        for chunk in chunks {
            if written.is_ok() {
                written = rows::insert(connection, chunk).await;
            }
        }
        transaction::end(connection, written).await.map_err(error)
    }

    async fn sweep(&self, connection: &mut SqliteConnection, through: Revision) -> Result<()> {
        let error = |source| Error::writing("compact", self.database.path(), source);
        compaction::compact(connection, self.database.path(), rows::to_sql(through)?).await?;
        compaction::vacuum(connection).await.map_err(error)?;
        Ok(())
    }
}

async fn read(connection: &mut SqliteConnection, path: &Path) -> Result<Snapshot> {
    let mark = Mark::read(connection, path).await;
    let (records, mut unreadable) = rows::load(connection, path).await?;
    let last = records.last().map(|record| record.revision).max(unreadable.last().map(|row| row.revision));
    let last = last.unwrap_or(Revision::ZERO);
    let compacted = match mark {
        Ok(mark) => Revision(mark.compacted.cast_unsigned()),
        Err(Error::Row { row, why, .. }) => {
            unreadable.insert(0, Unreadable { revision: Revision::ZERO, why: format!("{row}: {why}"), claims: None });
            last
        }
        Err(failure) => return Err(failure),
    };
    let last = last.max(compacted);
    Ok(Snapshot { last, compacted, reserved: last, lost: false, records, unreadable })
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn load(&mut self) -> std::result::Result<Snapshot, StorageError> {
        let mut turn = self.take().await?;
        let outcome = read(&mut turn.0, self.database.path()).await;
        let mut snapshot = self.settle(turn, outcome).await?;
        if !std::mem::replace(&mut self.reported, true) {
            self.database.report(&self.high_water, snapshot.last.0);
        }
        snapshot.lost = self.high_water.said.acknowledged > snapshot.last.0;
        // Never the last one of a database that is not new: no file can prove that nobody put an older state of all files back.
        let above = if snapshot.last == Revision::ZERO { Revision::ZERO } else { snapshot.last.next() };
        snapshot.reserved = above.max(Revision(self.high_water.reserved()));
        Ok(snapshot)
    }

    async fn commit(&mut self, records: &[Record]) -> std::result::Result<(), StorageError> {
        rows::check_range(records)?;
        let last = records.last().map_or(0, |record| record.revision.0);
        self.high_water.reserve(last).await?;
        let mut turn = self.take().await?;
        let outcome = self.write(&mut turn.0, records).await;
        self.settle(turn, outcome).await?;
        if last > 0 {
            self.high_water.acknowledge(last);
        }
        Ok(())
    }

    async fn compact(&mut self, through: Revision) -> std::result::Result<(), StorageError> {
        // A new store begins there: it is the version of a list before anything is written.
        self.high_water.reserve(through.0).await?;
        let mut turn = self.take().await?;
        let outcome = self.sweep(&mut turn.0, through).await;
        Ok(self.settle(turn, outcome).await?)
    }

    async fn check(&mut self) -> std::result::Result<(), StorageError> {
        let now = self.database.look()?;
        if let Some(before) = &self.files {
            now.check_untouched(before, self.database.path())?;
        }
        if now.links() > 1 && !std::mem::replace(&mut self.linked, true) {
            let path = self.database.path().display();
            tracing::warn!(%path, "the database has got a second name (a hard link): the next start will refuse it");
        }
        if now.log_size() > WAL_LIMIT && self.connection.is_some() {
            let mut turn = self.take().await?;
            let outcome = compaction::checkpoint(&mut turn.0).await;
            let outcome = outcome.map_err(|source| Error::writing("sync", self.database.path(), source));
            self.settle(turn, outcome).await?;
        }
        Ok(())
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> std::result::Result<(), StorageError> {
        self.high_water.reserve(quarantine.through.0).await?;
        let mut turn = self.take().await?;
        let outcome = quarantine::put(&mut turn.0, self.database.path(), quarantine).await;
        Ok(self.settle(turn, outcome).await?)
    }

    async fn quarantined(&mut self) -> std::result::Result<Vec<Quarantined>, StorageError> {
        let mut turn = self.take().await?;
        let outcome = quarantine::read(&mut turn.0, self.database.path()).await;
        Ok(self.settle(turn, outcome).await?)
    }

    async fn discard(&mut self, revisions: &[Revision]) -> std::result::Result<usize, StorageError> {
        let mut turn = self.take().await?;
        let outcome = quarantine::discard(&mut turn.0, self.database.path(), revisions).await;
        Ok(self.settle(turn, outcome).await?)
    }

    async fn close(mut self: Box<Self>) -> std::result::Result<(), StorageError> {
        let error = |source| Error::writing("close", self.database.path(), source);
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        if self.files.is_some_and(|files| files.log_was_replaced(self.database.path())) {
            // To close it would delete, by its name, the log of whoever is there now.
            std::mem::forget(connection);
            return Ok(());
        }
        let checkpointed = compaction::checkpoint(&mut connection).await.map_err(error);
        let closed = connection.close().await.map_err(error);
        let synced = self.high_water.sync().await;
        Ok(checkpointed.and(closed).and(synced)?)
    }
}
