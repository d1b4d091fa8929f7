// SPDX-License-Identifier: Apache-2.0
//! The SQLite backend keeps every promise of a backend.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use device_api_core::storage::{Storage, StorageError, StorageErrorKind};
use device_api_core::testing::{Backend, Site, Tear, run};
use device_api_store_sqlite::{SqliteOptions, SqliteStorage};
use tempfile::TempDir;

#[derive(Debug)]
struct SqliteBackend;

#[derive(Debug)]
struct SqliteSite(TempDir);

#[async_trait]
impl Backend for SqliteBackend {
    fn name(&self) -> &str {
        "sqlite"
    }

    async fn create(&self) -> Result<Box<dyn Site>, StorageError> {
        let no_folder = |error: std::io::Error| {
            StorageError::new("sqlite", StorageErrorKind::Config, "no temporary folder").with_source(error)
        };
        Ok(Box::new(SqliteSite(tempfile::tempdir().map_err(no_folder)?)))
    }
}

#[async_trait]
impl Site for SqliteSite {
    async fn open(&self) -> Result<Box<dyn Storage>, StorageError> {
        Ok(Box::new(SqliteStorage::open_path(self.0.path().join("state.db"), SqliteOptions::default()).await?))
    }

    async fn tear(&self, tear: &Tear) -> Result<Option<Box<dyn Site>>, StorageError> {
        let copied = || -> std::io::Result<TempDir> {
            let copy = tempfile::tempdir()?;
            for entry in fs::read_dir(self.0.path())? {
                let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
                let mut bytes = fs::read(path)?;
                if name == "state.db-wal" {
                    let (start, end) = last_transaction(&bytes);
                    bytes.truncate(end);
                    tear.apply(&mut bytes, start);
                }
                fs::write(copy.path().join(&name), bytes)?;
                fs::set_permissions(copy.path().join(name), fs::Permissions::from_mode(0o600))?;
            }
            Ok(copy)
        };
        let unclear = |error: std::io::Error| {
            StorageError::new("sqlite", StorageErrorKind::Unclear, "no copy").with_source(error)
        };
        Ok(Some(Box::new(SqliteSite(copied().map_err(unclear)?))))
    }
}

/// Where the last transaction of a write-ahead log begins and ends, <https://www.sqlite.org/fileformat.html>, section 4. What is there after
/// it is of an earlier use of the file.
fn last_transaction(log: &[u8]) -> (usize, usize) {
    let (header, frame) = (32, 24 + 4096);
    let mut bounds = (header, header);
    for at in (header..log.len()).step_by(frame) {
        // Frames of an earlier use have other salts.
        if log.get(at + 8..at + 16) != log.get(16..24) {
            break;
        }
        let ends_one = log[at + 4..at + 8] != [0; 4];
        if ends_one {
            bounds = (bounds.1, at + frame);
        }
    }
    bounds
}

fn main() {
    run(SqliteBackend)
}
