// SPDX-License-Identifier: Apache-2.0
//! A server with a source, in this process, since only so one knows when its driver reported something: on
//! a thread of its own, with the parts and the settings of `device-apiserver`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use device_api_core::registry::{Ledger, LedgerOptions};
use device_api_core::resource::GpuTelemetry;
use device_api_core::storage::Endpoint;
use device_api_server::source::nvml::SourceOptions;
use device_api_server::source::nvml::driver::{Description, Driver, DriverError, Event, Found, System, Vitals};
use device_api_server::source::simulated::Simulated;
use device_api_server::{Listener, Server, SocketOptions, datastore};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::node::Node;
use crate::support::socket_in;

/// How many events wait to be reported: one is, at a time.
const QUEUE: usize = 16;

/// Where its objects are.
#[derive(Clone, Copy, Debug)]
pub enum Store {
    Sqlite,
    Memory,
}

impl Store {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Memory => "memory",
        }
    }

    fn endpoint(self, folder: &Path) -> String {
        match self {
            Self::Sqlite => format!("sqlite://{}/state.db", folder.display()),
            Self::Memory => "memory://".to_owned(),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Told {
    /// What is sent here the driver reports at once.
    pub events: mpsc::Sender<Event>,
    pub socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Told {
    /// Starts a server with its database, if it has one, and its socket in this folder.
    pub fn start(node: Node, store: Store, folder: &Path) -> Self {
        let (events, told) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let driver = ToldDriver { node: Simulated::new(node.simulated()), events: Mutex::new(told) };
        let socket = socket_in(folder);
        let listener_at = SocketOptions::new(socket.display().to_string().parse().unwrap());
        let endpoint = store.endpoint(folder);
        // As device-apiserver's main.
        let threads = thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        let listener = runtime.block_on(async { Listener::bind(&listener_at).unwrap() });
        let run = async move {
            let storage = datastore::open(&Endpoint::parse(&endpoint).unwrap()).await.unwrap();
            let ledger = Ledger::open(storage, LedgerOptions::default()).await.unwrap();
            let server = Server::new(ledger).with_gpus_of(Arc::new(driver), SourceOptions::default()).await.unwrap();
            server.run(listener, async { stopped.await.unwrap_or_default() }).await.unwrap();
        };
        let thread = thread::spawn(move || runtime.block_on(async { tokio::spawn(run).await.unwrap() }));
        Self { events, socket, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server did not end well");
    }
}

/// The simulated driver, but for its events.
#[derive(Debug)]
struct ToldDriver {
    node: Simulated,
    events: Mutex<mpsc::Receiver<Event>>,
}

#[async_trait::async_trait]
impl Driver for ToldDriver {
    fn boot_id(&self) -> Option<String> {
        self.node.boot_id()
    }

    async fn init(&self) -> Result<System, DriverError> {
        self.node.init().await
    }

    async fn shutdown(&self) {
        self.node.shutdown().await;
    }

    async fn list(&self) -> Result<Vec<Found>, DriverError> {
        self.node.list().await
    }

    async fn describe(&self, uuid: &str) -> Result<Description, DriverError> {
        self.node.describe(uuid).await
    }

    async fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError> {
        self.node.vitals(uuid).await
    }

    async fn telemetry(&self, uuid: &str) -> Result<GpuTelemetry, DriverError> {
        self.node.telemetry(uuid).await
    }

    async fn subscribe(&self, uuid: &str) -> Result<(), DriverError> {
        self.node.subscribe(uuid).await
    }

    async fn next_event(&self, wait: Duration) -> Result<Option<Event>, DriverError> {
        Ok(timeout(wait, async { self.events.lock().await.recv().await }).await.unwrap_or(None))
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
