// SPDX-License-Identifier: Apache-2.0
//! What becomes of the ledger shows: in health, and in how the server ends.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use device_api_client::{Api, Client};
use device_api_core::registry::{Ledger, LedgerOptions, PostParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use device_api_core::storage::{Quarantine, Quarantined, Record, Revision, Snapshot, Storage, StorageError};
use device_api_core::testing::{Call, Fault, Faults, FaultyStorage};
use device_api_server::{Listener, Server, ServerError, SocketOptions};
use device_api_store_memory::Memory;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long anything may take before a test gives up: no verdict depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server in this process, on a socket of its own.
struct World {
    ledger: Ledger,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), ServerError>>,
    _folder: TempDir,
}

impl World {
    async fn on(storage: Box<dyn Storage>) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("s.sock").display().to_string();
        let ledger = Ledger::open(storage, LedgerOptions::default()).await.unwrap();
        let server = Server::new(ledger.clone()).with_gpus().await.unwrap();
        let listener = Listener::bind(&SocketOptions::new(path.parse().unwrap())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(listener, async {
            let _ = stopped.await;
        }));
        let client = Client::connect(path.parse().unwrap()).await.unwrap();
        Self { ledger, client, stop: Some(stop), server, _folder: folder }
    }

    async fn create(&self, name: &str) -> device_api_core::Result<()> {
        let gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
        Api::all(self.client.clone()).create(&PostParams::default(), &gpu).await.map(drop)
    }

    async fn end(self) -> Result<(), ServerError> {
        tokio::time::timeout(PATIENCE, self.server).await.unwrap().unwrap()
    }
}

fn memory() -> Box<dyn Storage> {
    Box::new(Memory::new().open().unwrap())
}

#[tokio::test]
async fn health_is_not_serving_for_as_long_as_the_ledger_recovers() {
    let faults = Faults::new();
    let mut world = World::on(Box::new(FaultyStorage::new(memory(), &faults))).await;
    let mut health = HealthClient::new(world.client.transport());
    for service in ["", "nvidia.nvsentinel.v1alpha1.GpuService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        let mut next =
            async || tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap().status();
        assert_eq!(next().await, ServingStatus::Serving, "{service:?}");
        faults.next(Call::Commit, Fault::LoseRequest);
        faults.always(Call::Load, Fault::LoseRequest);
        let (write, status) = tokio::join!(world.create("gpu"), async {
            let status = next().await;
            faults.clear();
            status
        });
        assert!(write.unwrap_err().is_unavailable());
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
        assert_eq!(next().await, ServingStatus::Serving, "{service:?}");
    }
    world.create("gpu").await.unwrap();
    world.stop.take().unwrap().send(()).unwrap();
    world.end().await.unwrap();
}

#[tokio::test]
async fn a_server_whose_ledger_somebody_closes_ends_with_an_error() {
    let world = World::on(memory()).await;
    world.ledger.close().await.unwrap();
    let error = world.end().await.unwrap_err();
    assert!(matches!(error, ServerError::LedgerClosed { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 5);
}

/// Memory that has a bug.
#[derive(Debug)]
struct Broken(Box<dyn Storage>);

#[async_trait::async_trait]
impl Storage for Broken {
    async fn load(&mut self) -> Result<Snapshot, StorageError> {
        self.0.load().await
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        assert!(records.is_empty(), "a bug in a store");
        Ok(())
    }

    async fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        self.0.compact(through).await
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> Result<(), StorageError> {
        self.0.quarantine(quarantine).await
    }

    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> {
        self.0.quarantined().await
    }

    async fn discard(&mut self, revisions: &[Revision]) -> Result<usize, StorageError> {
        self.0.discard(revisions).await
    }

    async fn check(&mut self) -> Result<(), StorageError> {
        self.0.check().await
    }

    async fn close(self: Box<Self>) -> Result<(), StorageError> {
        panic!("another bug in a store");
    }
}

#[tokio::test]
async fn a_server_whose_store_dies_while_it_is_closed_does_not_end_well() {
    let mut world = World::on(Box::new(Broken(memory()))).await;
    world.stop.take().unwrap().send(()).unwrap();
    let error = world.end().await.unwrap_err();
    assert!(matches!(error, ServerError::Close(_)), "{error:?}");
    assert_eq!(error.exit_code(), 5);
}

#[tokio::test]
async fn a_server_whose_ledger_dies_ends_with_an_error() {
    let world = World::on(Box::new(Broken(memory()))).await;
    assert!(world.create("gpu").await.is_err());
    let error = world.end().await.unwrap_err();
    assert!(matches!(error, ServerError::LedgerClosed { source: Some(_) }), "{error:?}");
    assert_eq!(error.exit_code(), 5);
}
