// SPDX-License-Identifier: Apache-2.0
//! The server of a test: started, stopped, killed and started again.

use std::sync::Arc;

use device_api_core::lease::Leases;
use device_api_core::proto::FILE_DESCRIPTOR_SET;
use device_api_core::proto::v1alpha1::gpu_service_server::GpuServiceServer;
use device_api_core::proto::v1alpha1::lease_service_server::LeaseServiceServer;
use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
use device_api_core::resource::{Gpu, GpuStrategy};
use device_api_core::testing::{CallFaults, Faults, FaultyLeases, FaultyStorage, FaultyVerbs, ManualClock};
use device_api_store_memory::Memory;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;

use super::TestServerBuilder;
use super::service::{FaultyGpuApi, FaultyLeaseApi};
use crate::server::MAX_LEASE;
use crate::{Listener, ServeOptions, Server, ServerError, SocketOptions, SocketPath};

/// A server over memory, in the process of its test.
///
/// What it stores survives [`Self::restart`], and handles that were taken before go on to work. It
/// stops when it is dropped.
#[derive(Debug)]
#[must_use = "the server stops when it is dropped"]
pub struct TestServer {
    memory: Memory,
    options: LedgerOptions,
    serve: ServeOptions,
    clock: ManualClock,
    faults: CallFaults,
    storage: Faults,
    /// The registry that is up; `None` while the server is down.
    gpus: watch::Sender<Option<Registry<Gpu>>>,
    /// Those of the same ledger.
    leases: watch::Sender<Option<Leases>>,
    running: Option<Running>,
    socket: Option<Socket>,
}

#[derive(Debug)]
struct Running {
    ledger: Ledger,
    /// Sees to the conditions of lost providers until the ledger is closed.
    keeper: AbortOnDropHandle<()>,
    /// Where there is a socket.
    serving: Option<Serving>,
}

#[derive(Debug)]
struct Serving {
    shutdown: CancellationToken,
    task: AbortOnDropHandle<Result<(), ServerError>>,
}

#[derive(Debug)]
struct Socket {
    path: SocketPath,
    _folder: TempDir,
}

impl TestServer {
    /// A server that is about to start.
    pub fn builder() -> TestServerBuilder {
        TestServerBuilder::default()
    }

    pub(super) async fn with(builder: TestServerBuilder) -> Self {
        let clock = ManualClock::default();
        let mut server = Self {
            memory: Memory::new(),
            options: builder.ledger.with_clock(Arc::new(clock.clone())),
            serve: builder.serve,
            clock,
            faults: CallFaults::new(),
            storage: Faults::new(),
            gpus: watch::Sender::new(None),
            leases: watch::Sender::new(None),
            running: None,
            socket: builder.has_socket.then(Socket::new),
        };
        server.start().await;
        let gpus = server.registry();
        for gpu in &builder.gpus {
            let created = gpus.create(&PostParams::default(), gpu).await;
            created.unwrap_or_else(|error| panic!("the server cannot start with {:?}: {error}", gpu.metadata.name));
        }
        server
    }

    /// The GPUs, in process. The handle works across restarts.
    #[must_use]
    pub fn gpus(&self) -> FaultyVerbs<Registry<Gpu>> {
        FaultyVerbs::following(self.gpus.subscribe(), &self.faults)
    }

    /// The leases of providers, in process. The handle works across restarts.
    #[must_use]
    pub fn leases(&self) -> FaultyLeases<Leases> {
        FaultyLeases::following(self.leases.subscribe(), &self.faults)
    }

    /// The services of GPUs and of leases for `Client::from_service`, with no socket in between. They work across restarts.
    #[must_use]
    pub fn service(&self) -> Routes {
        // Messages have limits on a socket. Here the registry says what is too large, as it does in process.
        let gpus = self.gpu_service().max_decoding_message_size(usize::MAX);
        Routes::new(gpus).add_service(self.lease_service().max_decoding_message_size(usize::MAX))
    }

    fn gpu_service(&self) -> GpuServiceServer<FaultyGpuApi> {
        FaultyGpuApi::new(self.gpus.subscribe(), &self.faults).into_service()
    }

    fn lease_service(&self) -> LeaseServiceServer<FaultyLeaseApi> {
        FaultyLeaseApi::new(self.leases.subscribe(), &self.faults).into_service()
    }

    /// Where it listens, such as `unix:///tmp/x/device-api.sock`: what `device-apiserver` takes as
    /// `--bind-address`, and a client as its target. A restart makes a new socket at the same place.
    ///
    /// # Panics
    /// When it was not started with [`TestServerBuilder::on_socket`].
    #[must_use]
    pub fn address(&self) -> String {
        let socket = self.socket.as_ref();
        socket.expect("the server has no socket: start it with `on_socket`").path.to_string()
    }

    /// The clock of the server. It stands still, at the start of 2026, until the test moves it. Leases end by it: who
    /// advances it by more than their duration loses the providers that have not renewed them since.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The faults of calls, whichever way they come.
    #[must_use]
    pub fn faults(&self) -> &CallFaults {
        &self.faults
    }

    /// The faults of the store.
    #[must_use]
    pub fn storage_faults(&self) -> &Faults {
        &self.storage
    }

    /// The registry of the server that is up: without faults, for what a test does itself.
    ///
    /// # Panics
    /// When the server is down.
    #[must_use]
    pub fn registry(&self) -> Registry<Gpu> {
        self.gpus.borrow().clone().expect("the server is down: start it")
    }

    /// Forgets history: what needs a version from before the last write is Expired. A watch that is
    /// open, or comes back, with the last version misses nothing and goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> device_api_core::Result<()> {
    /// # use device_api_core::registry::{DeleteParams, Verbs as _, WatchParams};
    /// # use device_api_server::testing::TestServer;
    /// let server = TestServer::builder().with_gpus(2).start().await;
    /// let seen = server.gpus().get("gpu-1").await?.metadata.resource_version.clone();
    /// server.registry().delete("gpu-0", &DeleteParams::default()).await?;
    /// server.expire_history().await;
    /// let resumed = server.gpus().watch(&WatchParams::default().at(seen)).await;
    /// assert!(resumed.unwrap_err().is_expired());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// When the server is down.
    pub async fn expire_history(&self) {
        let ledger = &self.running.as_ref().expect("the server is down: start it").ledger;
        ledger.forget_history().await.expect("the ledger is open");
    }

    /// Starts the server again after [`Self::stop`] or [`Self::kill`]; does nothing when it is up.
    ///
    /// # Panics
    /// When it cannot be started: faults of the store are planned, or somebody else has the socket.
    pub async fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let storage = self.memory.open().expect("the store is free");
        let storage = Box::new(FaultyStorage::new(Box::new(storage), &self.storage));
        let ledger = Ledger::open(storage, self.options.clone()).await.expect("the ledger opens");
        let gpus = ledger.registry(GpuStrategy).await.expect("the stored GPUs are GPUs");
        let leases = Leases::open(&ledger).await.expect("the stored leases are leases");
        self.gpus.send_replace(Some(gpus.clone()));
        self.leases.send_replace(Some(leases.clone()));
        let keeper = AbortOnDropHandle::new(tokio::spawn(async move { leases.keep(gpus).await }));
        let serving = self.socket.as_ref().map(|socket| self.serve_on(socket, &ledger));
        self.running = Some(Running { ledger, keeper, serving });
    }

    fn serve_on(&self, socket: &Socket, ledger: &Ledger) -> Serving {
        let listener = Listener::bind(&SocketOptions::new(socket.path.clone())).expect("the socket is free");
        let limit = self.serve.max_request_bytes;
        let gpus = self.gpu_service().max_decoding_message_size(limit);
        let leases = self.lease_service().max_decoding_message_size(limit.min(MAX_LEASE));
        let server = Server::new(ledger.clone()).with_options(self.serve.clone());
        let server = server.add_service(gpus, FILE_DESCRIPTOR_SET).add_service(leases, FILE_DESCRIPTOR_SET);
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone().cancelled_owned();
        Serving { shutdown, task: AbortOnDropHandle::new(tokio::spawn(server.run(listener, asked))) }
    }

    /// Stops the server in order: calls that hang go on, calls in flight are answered, watches end well
    /// after they have sent what was committed. Until [`Self::start`] it is out of reach. Does nothing
    /// when it is down.
    ///
    /// # Panics
    /// When the store does not close, or the server ended before it was asked to.
    pub async fn stop(&mut self) {
        let Some(Running { ledger, keeper, serving }) = self.take_down() else { return };
        self.faults.release();
        self.storage.release();
        let ended = match serving {
            Some(Serving { shutdown, task }) => {
                shutdown.cancel();
                task.await.expect("the server does not panic")
            }
            None => ledger.close().await.map_err(ServerError::Close),
        };
        match ended {
            // A call that a test delays for longer than the grace period.
            Ok(()) | Err(ServerError::Cut { .. }) => {}
            Err(error) => panic!("the server did not end well: {}", crate::one_line(&error)),
        }
        keeper.await.expect("the keeper of leases does not panic");
    }

    /// Stops the server as a crash does: calls in flight and watches lose their connection. What was
    /// acknowledged is kept. Until [`Self::start`] it is out of reach. Does nothing when it is down.
    pub async fn kill(&mut self) {
        let Some(Running { ledger, keeper, serving }) = self.take_down() else { return };
        drop(keeper);
        self.faults.disconnect();
        if let Some(Serving { task, .. }) = serving {
            task.abort();
            // Cancelled, as wished.
            let _ = task.await;
        }
        self.storage.release();
        // A store that fails now would fail a server that crashes, too.
        let _ = ledger.close().await;
    }

    /// From here on the server is out of reach.
    fn take_down(&mut self) -> Option<Running> {
        let running = self.running.take()?;
        self.gpus.send_replace(None);
        self.leases.send_replace(None);
        Some(running)
    }

    /// Stops the server in order, and starts it again with what it had stored.
    ///
    /// # Panics
    /// As [`Self::stop`] and [`Self::start`].
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }
}

impl Socket {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("device-api.sock").display().to_string();
        Self { path: path.parse().expect("the temporary folder's path is short enough for a socket"), _folder: folder }
    }
}
