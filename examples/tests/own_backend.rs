// SPDX-License-Identifier: Apache-2.0
//! The backend of the example `own_backend` keeps every promise of a backend: this is the whole test.

#[path = "../own_backend/jsonl/mod.rs"]
mod jsonl;

use async_trait::async_trait;
use device_api_core::storage::{Storage, StorageError, StorageErrorKind};
use device_api_core::testing::{Backend, Site, Tear, run};
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
        Ok(Box::new(Folder(TempDir::new().map_err(failure)?)))
    }
}

fn failure(error: std::io::Error) -> StorageError {
    StorageError::new("jsonl", StorageErrorKind::Config, "cannot make a folder with a file").with_source(error)
}

#[async_trait]
impl Site for Folder {
    async fn open(&self) -> Result<Box<dyn Storage>, StorageError> {
        Ok(Box::new(jsonl::JsonLines::open(&self.0.path().join("gpus.jsonl")).await?))
    }

    async fn tear(&self, tear: &Tear) -> Result<Option<Box<dyn Site>>, StorageError> {
        let mut file = std::fs::read(self.0.path().join("gpus.jsonl")).map_err(failure)?;
        // The last write is the last line.
        let before = file.len().saturating_sub(1);
        let start = file[..before].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        tear.apply(&mut file, start);
        let copy = TempDir::new().map_err(failure)?;
        std::fs::write(copy.path().join("gpus.jsonl"), file).map_err(failure)?;
        Ok(Some(Box::new(Folder(copy))))
    }
}

fn main() {
    run(JsonLinesBackend)
}
