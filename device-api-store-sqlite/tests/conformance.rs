// SPDX-License-Identifier: Apache-2.0
//! The SQLite backend keeps every promise of a backend.

use async_trait::async_trait;
use device_api_core::storage::{Storage, StorageError, StorageErrorKind};
use device_api_core::testing::{Backend, Site, run};
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
}

fn main() {
    run(SqliteBackend)
}
