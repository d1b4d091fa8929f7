// SPDX-License-Identifier: Apache-2.0
//! The memory backend keeps every promise of a backend.

use async_trait::async_trait;
use device_api_core::storage::{Storage, StorageError};
use device_api_core::testing::{Backend, Site, Tear, run};
use device_api_store_memory::Memory;

#[derive(Debug)]
struct MemoryBackend;

#[derive(Debug)]
struct MemorySite(Memory);

#[async_trait]
impl Backend for MemoryBackend {
    fn name(&self) -> &str {
        "memory"
    }

    async fn create(&self) -> Result<Box<dyn Site>, StorageError> {
        Ok(Box::new(MemorySite(Memory::new())))
    }
}

#[async_trait]
impl Site for MemorySite {
    async fn open(&self) -> Result<Box<dyn Storage>, StorageError> {
        Ok(Box::new(self.0.open()?))
    }

    async fn tear(&self, _: &Tear) -> Result<Option<Box<dyn Site>>, StorageError> {
        Ok(None)
    }
}

fn main() {
    run(MemoryBackend)
}
