// SPDX-License-Identifier: Apache-2.0
//! SQLite storage for the node-local Device API.
//!
//! One file, one owner, one connection: each commit is one transaction, on the disk when it is
//! acknowledged. The folder is made where there is none (mode 0750), the file is readable by its
//! owner only (0600), and a `.lock` file beside it says who that is. A file of another program, or of a newer version,
//! is refused and left as it is, byte for byte.
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
pub use self::options::{SqliteOptions, Synchronous, SynchronousError};
use self::rows::Mark;

/// The backend's name and URL scheme.
pub const SCHEME: &str = "sqlite";

/// An open database, and its only owner.
#[derive(Debug)]
pub struct SqliteStorage {
    database: Database,
    /// `None` while a call uses it, and after one that failed unclearly or was dropped: the next call
    /// opens a new one, which rolls back what was not finished.
    connection: Option<SqliteConnection>,
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
        let database = Database::claim(path.as_ref(), options).await?;
        let connection = Some(database.connect_first().await?);
        Ok(Self { database, connection })
    }

    /// Takes the connection for one call. It goes back through [`Self::settle`]; if the call's future
    /// is dropped before, the connection is too.
    async fn take(&mut self) -> Result<SqliteConnection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.database.connect().await,
        }
    }

    /// Keeps the connection after a call, unless nobody knows what the failure did to it.
    async fn settle<T>(&mut self, connection: SqliteConnection, outcome: Result<T>) -> Result<T> {
        match &outcome {
            Err(failure) if !failure.kind().is_definite() => {
                if let Err(error) = connection.close().await {
                    tracing::debug!(%error, "closing after a failure failed too");
                }
            }
            _ => self.connection = Some(connection),
        }
        outcome
    }

    async fn write(&self, connection: &mut SqliteConnection, records: &[Record]) -> Result<()> {
        let error = |source| Error::writing("write to", self.database.path(), source);
        rows::check_range(records)?;
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
        if self.database.wal_size() > WAL_LIMIT {
            compaction::checkpoint(connection).await.map_err(error)?;
        }
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
    Ok(Snapshot { last: last.max(compacted), compacted, records, unreadable })
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn load(&mut self) -> std::result::Result<Snapshot, StorageError> {
        let mut connection = self.take().await?;
        let outcome = read(&mut connection, self.database.path()).await;
        Ok(self.settle(connection, outcome).await?)
    }

    async fn commit(&mut self, records: &[Record]) -> std::result::Result<(), StorageError> {
        let mut connection = self.take().await?;
        let outcome = self.write(&mut connection, records).await;
        Ok(self.settle(connection, outcome).await?)
    }

    async fn compact(&mut self, through: Revision) -> std::result::Result<(), StorageError> {
        let mut connection = self.take().await?;
        let outcome = self.sweep(&mut connection, through).await;
        Ok(self.settle(connection, outcome).await?)
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> std::result::Result<(), StorageError> {
        let mut connection = self.take().await?;
        let outcome = quarantine::put(&mut connection, self.database.path(), quarantine).await;
        Ok(self.settle(connection, outcome).await?)
    }

    async fn quarantined(&mut self) -> std::result::Result<Vec<Quarantined>, StorageError> {
        let mut connection = self.take().await?;
        let outcome = quarantine::read(&mut connection, self.database.path()).await;
        Ok(self.settle(connection, outcome).await?)
    }

    async fn discard(&mut self, revisions: &[Revision]) -> std::result::Result<usize, StorageError> {
        let mut connection = self.take().await?;
        let outcome = quarantine::discard(&mut connection, self.database.path(), revisions).await;
        Ok(self.settle(connection, outcome).await?)
    }

    async fn close(mut self: Box<Self>) -> std::result::Result<(), StorageError> {
        let error = |source| Error::writing("close", self.database.path(), source);
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let checkpointed = compaction::checkpoint(&mut connection).await.map_err(error);
        let closed = connection.close().await.map_err(error);
        Ok(checkpointed.and(closed)?)
    }
}
