// SPDX-License-Identifier: Apache-2.0
//! What a local case runs on: one store that is opened again and again, a clock and faults.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Nic, NicStrategy};
use crate::lease::Leases;
use crate::registry::{Ledger, LedgerOptions, Registry};
use crate::resource::{Gpu, GpuStrategy};
use crate::storage::{Storage, StorageError};
use crate::testing::contract::World;
use crate::testing::leases::LeaseWorld;
use crate::testing::{Backend, Faults, FaultyStorage, ManualClock, Site};

/// One store of a backend, new and empty at first, and what surrounds it.
#[derive(Debug)]
pub struct Fixture {
    backend: Arc<dyn Backend>,
    site: Box<dyn Site>,
    /// The clock of every ledger that is opened here.
    pub clock: ManualClock,
    /// The faults of the store.
    pub faults: Faults,
    /// How the ledgers behave. The waits are short, so that cases are; history is the default one.
    pub options: LedgerOptions,
}

/// An open ledger and its registries.
#[derive(Debug)]
pub struct Running {
    /// The ledger.
    pub ledger: Ledger,
    /// The first resource type.
    pub gpus: Registry<Gpu>,
    /// A second one, which shares the ledger.
    pub nics: Registry<Nic>,
}

impl Fixture {
    /// A new store of this backend.
    ///
    /// # Errors
    /// When the backend has none.
    pub async fn new(backend: Arc<dyn Backend>) -> Result<Self, StorageError> {
        let site = backend.create().await?;
        let clock = ManualClock::default();
        let options =
            LedgerOptions::default().with_clock(Arc::new(clock.clone())).with_version_wait(Duration::from_secs(2));
        Ok(Self { backend, site, clock, faults: Faults::new(), options })
    }

    /// The same backend, clock and options with another store, which is new and empty.
    ///
    /// # Panics
    /// When the backend has none.
    pub async fn with_new_store(self) -> Self {
        let site = self.backend.create().await.expect("the backend makes a new store");
        Self { site, faults: Faults::new(), ..self }
    }

    /// Opens the store. After [`Running::stop`] it may be opened again: a restart.
    ///
    /// # Panics
    /// When the store does not open, or what it holds does not fit.
    pub async fn start(&self) -> Running {
        self.start_on(Box::new(FaultyStorage::new(self.storage().await, &self.faults))).await
    }

    /// The store itself, while no ledger has it.
    pub(super) async fn storage(&self) -> Box<dyn Storage> {
        self.try_storage().await.expect("the store opens")
    }

    /// As [`Self::storage`], where another may still have it.
    pub(super) async fn try_storage(&self) -> Result<Box<dyn Storage>, StorageError> {
        self.site.open().await
    }

    /// Opens a ledger on the store, or on what wraps it.
    pub(super) async fn start_on(&self, storage: Box<dyn Storage>) -> Running {
        let ledger = Ledger::open(storage, self.options.clone()).await.expect("the ledger opens");
        let gpus = ledger.registry(GpuStrategy).await.expect("the first registry opens");
        let nics = ledger.registry(NicStrategy).await.expect("the second registry opens");
        Running { ledger, gpus, nics }
    }
}

impl Running {
    /// Closes the store in the orderly way.
    ///
    /// # Panics
    /// When the store does not close.
    pub async fn stop(self) {
        self.ledger.close().await.expect("the ledger closes");
    }
}

/// A registry in process as a [`World`] for the cases of the contract.
#[derive(Debug)]
pub struct InProcess {
    running: Running,
    leases: Leases,
    // Ends it with the world.
    _keeper: JoinSet<()>,
    // A store's site may take its files along.
    _fixture: Fixture,
}

impl InProcess {
    /// Opens a new store of this backend. It has this machine's clock, and waits for versions of the
    /// future no longer than it must.
    ///
    /// # Errors
    /// When the backend has none.
    pub async fn new(backend: Arc<dyn Backend>) -> Result<Self, StorageError> {
        let mut fixture = Fixture::new(backend).await?;
        fixture.options = LedgerOptions::default().with_version_wait(fixture.options.version_wait);
        let running = fixture.start().await;
        let leases = Leases::open(&running.ledger).await.expect("the leases open");
        let mut keeper = JoinSet::new();
        keeper.spawn({
            let (leases, gpus) = (leases.clone(), running.gpus.clone());
            async move { leases.keep(gpus).await }
        });
        Ok(Self { running, leases, _keeper: keeper, _fixture: fixture })
    }
}

impl World for InProcess {
    type Api = Registry<Gpu>;

    fn api(&self) -> Registry<Gpu> {
        self.running.gpus.clone()
    }
}

impl LeaseWorld for InProcess {
    type Leases = Leases;

    fn leases(&self) -> Leases {
        self.leases.clone()
    }
}
