// SPDX-License-Identifier: Apache-2.0
//! The backend of the example `own_backend` keeps every promise of a backend: this is the whole test.

#[path = "../own_backend/jsonl/mod.rs"]
mod jsonl;

use async_trait::async_trait;
use device_api_core::storage::{Storage, StorageError, StorageErrorKind};
use device_api_core::testing::{Backend, Site, run};
use tempfile::TempDir;

#[derive(Debug)]
struct JsonLinesBackend;

#[derive(Debug)]
struct Folder(TempDir);

#[async_trait]
impl Backend for JsonLinesBackend {
    fn name(&self) -> &str {
        "jsonl"
    }

    async fn create(&self) -> Result<Box<dyn Site>, StorageError> {
        let folder = TempDir::new().map_err(|error| {
            StorageError::new("jsonl", StorageErrorKind::Config, "cannot make a folder").with_source(error)
        })?;
        Ok(Box::new(Folder(folder)))
    }
}

#[async_trait]
impl Site for Folder {
    async fn open(&self) -> Result<Box<dyn Storage>, StorageError> {
        Ok(Box::new(jsonl::JsonLines::open(&self.0.path().join("gpus.jsonl")).await?))
    }
}

fn main() {
    run(JsonLinesBackend)
}
