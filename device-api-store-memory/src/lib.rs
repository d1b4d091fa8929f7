// SPDX-License-Identifier: Apache-2.0
//! Memory storage for the node-local Device API.
//!
//! Everything is gone when the process ends, and everything else is as in any backend: history,
//! revisions, compaction and the single owner. It is the shortest implementation of [`Storage`]:
//! start from it when you write your own.
//!
//! ```
//! use device_api_core::storage::Storage;
//! use device_api_store_memory::Memory;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = Memory::new();
//! let mut storage = memory.open()?;
//! assert!(storage.load().await?.records.is_empty());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use device_api_core::storage::{
    Change, Endpoint, Quarantine, Quarantined, Record, Revision, Snapshot, Storage, StorageError, StorageErrorKind,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The backend's name and URL scheme.
pub const SCHEME: &str = "memory";

/// A journal in memory. Clones share it, so a test can "restart" a server: close or drop the
/// [`MemoryStorage`], and open another.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    // Guards the journal for its owner, who holds it from open to close: that is the single-owner
    // promise. An async mutex, because its guard can be held over an await and sent between threads.
    journal: Arc<Mutex<Journal>>,
}

#[derive(Debug, Default)]
struct Journal {
    last: Revision,
    compacted: Revision,
    records: BTreeMap<Revision, Record>,
    quarantine: Vec<Quarantined>,
}

/// An open [`Memory`], and its only owner.
#[derive(Debug)]
pub struct MemoryStorage {
    journal: OwnedMutexGuard<Journal>,
}

impl Memory {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal for `memory://`.
    ///
    /// # Errors
    /// [`StorageErrorKind::Config`] when the URL has a path, a host or an option: there are none.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self, StorageError> {
        let config = |what| StorageError::new(SCHEME, StorageErrorKind::Config, what);
        if !endpoint.path().is_empty() || !endpoint.authority().is_empty() {
            return Err(config("it takes no host and no path: write memory://".to_owned()));
        }
        endpoint.options().finish().map_err(|error| config(error.to_string()))?;
        Ok(Self::new())
    }

    /// Opens the journal.
    ///
    /// # Errors
    /// [`StorageErrorKind::Locked`] when it is open.
    pub fn open(&self) -> Result<MemoryStorage, StorageError> {
        let journal = Arc::clone(&self.journal).try_lock_owned().map_err(|_| {
            let what = format!("this journal is open already, in this process (pid {})", std::process::id());
            StorageError::new(SCHEME, StorageErrorKind::Locked, what)
        })?;
        Ok(MemoryStorage { journal })
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn load(&mut self) -> Result<Snapshot, StorageError> {
        let Journal { last, compacted, records, .. } = &*self.journal;
        let records = records.values().cloned().collect();
        // Nothing that it holds can be lost without all the rest.
        let reserved = *last;
        Ok(Snapshot { last: *last, compacted: *compacted, reserved, records, ..Snapshot::default() })
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.journal.records.extend(records.iter().map(|record| (record.revision, record.clone())));
        self.journal.last = records.last().map_or(self.journal.last, |record| record.revision);
        Ok(())
    }

    async fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        let Journal { last, compacted, records, .. } = &mut *self.journal;
        if through <= *compacted {
            return Ok(());
        }
        let forgotten: Vec<Revision> = records
            .range(compacted.next()..=through)
            .flat_map(|(revision, record)| {
                let deleted = (record.change == Change::Delete).then_some(*revision);
                [Some(record.previous), deleted]
            })
            .flatten()
            .collect();
        for revision in forgotten {
            records.remove(&revision);
        }
        *compacted = through;
        *last = through.max(*last);
        Ok(())
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> Result<(), StorageError> {
        let Journal { records, quarantine: kept, .. } = &mut *self.journal;
        for (revision, why) in &quarantine.records {
            let Some(record) = records.remove(revision) else { continue };
            kept.push(Quarantined {
                revision: *revision,
                why: why.clone(),
                since: quarantine.at,
                actor: record.actor,
                resource: record.resource,
                key: record.key,
                object: match record.change {
                    Change::Put(object) => Some(object),
                    Change::Delete => None,
                },
            });
        }
        for revision in &quarantine.superseded {
            records.remove(revision);
        }
        self.compact(quarantine.through).await
    }

    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> {
        Ok(self.journal.quarantine.clone())
    }

    async fn discard(&mut self, revisions: &[Revision]) -> Result<usize, StorageError> {
        let kept = &mut self.journal.quarantine;
        let before = kept.len();
        kept.retain(|record| !revisions.contains(&record.revision));
        Ok(before - kept.len())
    }

    async fn check(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_has_nothing_but_its_scheme() {
        for good in ["memory:", "memory://"] {
            assert!(Memory::from_endpoint(&Endpoint::parse(good).unwrap()).is_ok(), "{good}");
        }
        for bad in ["memory:///a", "memory://a", "memory:a", "memory://?synchronous=full"] {
            let error = Memory::from_endpoint(&Endpoint::parse(bad).unwrap()).unwrap_err();
            assert_eq!(error.kind(), StorageErrorKind::Config, "{bad}");
        }
    }
}
