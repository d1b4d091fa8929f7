// SPDX-License-Identifier: Apache-2.0
//! A handle to leases whose calls fail on purpose.

use tokio::sync::watch;

use super::faults::{CallFaults, Verb};
use crate::Result;
use crate::lease::{AcquireLease, Lease, LeaseVerbs};

/// A handle to leases that does what another does, but for its [`CallFaults`].
#[derive(Clone, Debug)]
pub struct FaultyLeases<L> {
    /// `None` while the server is down.
    inner: watch::Receiver<Option<L>>,
    faults: CallFaults,
}

impl<L: LeaseVerbs> FaultyLeases<L> {
    /// Wraps a handle.
    #[must_use]
    pub fn new(inner: L, faults: &CallFaults) -> Self {
        let (_, inner) = watch::channel(Some(inner));
        Self::following(inner, faults)
    }

    /// Wraps the handle that is current at each call. While there is none the server is out of reach:
    /// every call fails with [`CallFaults::lost`], and counts as none.
    #[must_use]
    pub fn following(inner: watch::Receiver<Option<L>>, faults: &CallFaults) -> Self {
        Self { inner, faults: faults.clone() }
    }

    fn inner(&self) -> Result<L> {
        self.inner.borrow().clone().ok_or_else(CallFaults::lost)
    }
}

impl<L: LeaseVerbs> LeaseVerbs for FaultyLeases<L> {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        let inner = self.inner()?;
        self.faults.call(Verb::AcquireLease, inner.acquire(request)).await
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        let inner = self.inner()?;
        self.faults.call(Verb::ReleaseLease, inner.release(name, id)).await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        let inner = self.inner()?;
        self.faults.call(Verb::ListLeases, inner.list()).await
    }
}
