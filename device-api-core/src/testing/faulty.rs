// SPDX-License-Identifier: Apache-2.0
//! Storage that fails on purpose.

use super::schedule::Schedule;
use crate::storage::{Quarantine, Quarantined, Record, Revision, Snapshot, Storage, StorageError, StorageErrorKind};

/// The name of the backend in errors made on purpose.
const BACKEND: &str = "faulty";

/// A call of [`Storage`] that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// [`Storage::load`].
    Load,
    /// [`Storage::commit`].
    Commit,
    /// [`Storage::compact`].
    Compact,
    /// [`Storage::quarantine`].
    Quarantine,
    /// [`Storage::check`].
    Check,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It does nothing and fails with this kind.
    Refuse(StorageErrorKind),
    /// It does what it should, and then fails with [`StorageErrorKind::Unclear`].
    LoseReply,
    /// It does nothing and fails with [`StorageErrorKind::Unclear`].
    LoseRequest,
    /// It hangs until [`Faults::release`], and then does what it should.
    Hang,
    /// It panics, as a backend with a bug might.
    Panic,
}

/// Says which calls of a [`FaultyStorage`] fail. Clones control the same storage, which may be
/// opened again with the same faults after a "restart".
#[derive(Clone, Debug)]
pub struct Faults {
    schedule: Schedule<Call, Fault>,
}

/// Storage that does what another does, but for its [`Faults`].
///
/// ```
/// # use device_api_core::storage::*;
/// use device_api_core::testing::{Call, Fault, Faults, FaultyStorage};
///
/// # async fn show(storage: Box<dyn Storage>, record: Record) {
/// let faults = Faults::new();
/// let mut storage = FaultyStorage::new(storage, &faults);
/// faults.next(Call::Commit, Fault::Refuse(StorageErrorKind::Full));
/// assert!(storage.commit(&[record.clone()]).await.is_err());
/// assert!(storage.commit(&[record]).await.is_ok());
/// # }
/// ```
#[derive(Debug)]
pub struct FaultyStorage<S: Storage + ?Sized> {
    faults: Faults,
    inner: Box<S>,
}

impl Faults {
    /// No faults yet.
    #[must_use]
    pub fn new() -> Self {
        Self { schedule: Schedule::new() }
    }

    /// The next call of this kind fails.
    pub fn next(&self, call: Call, fault: Fault) {
        self.nth(call, 1, fault);
    }

    /// The `n`th call of this kind from now on fails; 1 is the next.
    pub fn nth(&self, call: Call, n: u64, fault: Fault) {
        self.schedule.nth(call, n, fault);
    }

    /// Every call of this kind fails, until [`Self::clear`].
    pub fn always(&self, call: Call, fault: Fault) {
        self.schedule.always(call, fault);
    }

    /// No later call fails. Calls that hang go on hanging.
    pub fn clear(&self) {
        self.schedule.clear();
    }

    /// How many calls of this kind there were.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.schedule.calls(call)
    }

    /// Waits until a call hangs.
    pub async fn hanging(&self) {
        self.schedule.hanging().await;
    }

    /// Lets the calls that hang go on.
    pub fn release(&self) {
        self.schedule.release();
    }

    /// Meets the fault before the call: `Ok(true)` when the reply is to be lost after it.
    async fn before(&self, call: Call) -> Result<bool, StorageError> {
        match self.schedule.meet(call) {
            None => Ok(false),
            Some(Fault::Refuse(kind)) => Err(StorageError::new(BACKEND, kind, format!("{call:?} refused on purpose"))),
            Some(Fault::LoseRequest) => Err(lost(call)),
            Some(Fault::LoseReply) => Ok(true),
            Some(Fault::Panic) => panic!("{call:?} panics on purpose"),
            Some(Fault::Hang) => {
                self.schedule.hang().await;
                Ok(false)
            }
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Storage + ?Sized> FaultyStorage<S> {
    /// Wraps a storage.
    #[must_use]
    pub fn new(inner: Box<S>, faults: &Faults) -> Self {
        Self { faults: faults.clone(), inner }
    }
}

fn lost(call: Call) -> StorageError {
    StorageError::new(BACKEND, StorageErrorKind::Unclear, format!("{call:?} failed on purpose, done or not"))
}

#[async_trait::async_trait]
impl<S: Storage + ?Sized> Storage for FaultyStorage<S> {
    async fn load(&mut self) -> Result<Snapshot, StorageError> {
        let lose = self.faults.before(Call::Load).await?;
        let snapshot = self.inner.load().await?;
        if lose { Err(lost(Call::Load)) } else { Ok(snapshot) }
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let lose = self.faults.before(Call::Commit).await?;
        self.inner.commit(records).await?;
        if lose { Err(lost(Call::Commit)) } else { Ok(()) }
    }

    async fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        let lose = self.faults.before(Call::Compact).await?;
        self.inner.compact(through).await?;
        if lose { Err(lost(Call::Compact)) } else { Ok(()) }
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> Result<(), StorageError> {
        let lose = self.faults.before(Call::Quarantine).await?;
        self.inner.quarantine(quarantine).await?;
        if lose { Err(lost(Call::Quarantine)) } else { Ok(()) }
    }

    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> {
        self.inner.quarantined().await
    }

    async fn discard(&mut self, revisions: &[Revision]) -> Result<usize, StorageError> {
        self.inner.discard(revisions).await
    }

    async fn check(&mut self) -> Result<(), StorageError> {
        let lose = self.faults.before(Call::Check).await?;
        self.inner.check().await?;
        if lose { Err(lost(Call::Check)) } else { Ok(()) }
    }

    async fn close(self: Box<Self>) -> Result<(), StorageError> {
        self.inner.close().await
    }
}
