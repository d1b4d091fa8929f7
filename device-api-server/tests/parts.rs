// SPDX-License-Identifier: Apache-2.0
//! A part of the server that ends before its time shows in health, begins anew, and is not believed meanwhile.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use device_api_client::{Api, Client, LeaseApi, VerbsExt as _};
use device_api_core::lease::{AcquireLease, LeaseVerbs as _};
use device_api_core::registry::{Clock, Ledger, LedgerOptions, ListParams, PatchParams, PostParams, SystemClock};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuTelemetry, ObjectMeta, Timestamp, condition};
use device_api_server::source::nvml::SourceOptions;
use device_api_server::source::nvml::driver::{Description, Driver, DriverError, Event, Found, System, Vitals};
use device_api_server::source::simulated::{Scenario, Simulated};
use device_api_server::{Listener, Server, ServerError, SocketOptions};
use device_api_store_memory::Memory;
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How long anything may take before a test gives up: no verdict depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

const GPUS: &str = "nvidia.nvsentinel.v1alpha1.GpuService";
const LEASES: &str = "nvidia.nvsentinel.v1alpha1.LeaseService";
const SERVER: &str = "";

/// A server in this process, on a socket of its own.
struct World {
    client: Client,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServerError>>,
    _folder: TempDir,
}

async fn ledger(options: LedgerOptions) -> Ledger {
    Ledger::open(Box::new(Memory::new().open().unwrap()), options).await.unwrap()
}

impl World {
    async fn of(server: Server) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("s.sock").display().to_string();
        let listener = Listener::bind(&SocketOptions::new(path.parse().unwrap())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(listener, async { drop(stopped.await) }));
        Self { client: Client::connect(path.parse().unwrap()).await.unwrap(), stop, server, _folder: folder }
    }

    fn gpus(&self) -> Api<Gpu> {
        Api::all(self.client.clone())
    }

    async fn health(&self, service: &str) -> Health {
        let request = HealthCheckRequest { service: service.to_owned() };
        Health(HealthClient::new(self.client.transport()).watch(request).await.unwrap().into_inner())
    }

    /// Waits until each GPU says this of NVML, in words such as `Unknown ProviderLost`.
    async fn until_nvml_ready_is(&self, is: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let list = self.gpus().list(&ListParams::default()).await.unwrap();
            let said: Vec<_> = list.items.iter().map(|gpu| said(gpu, "NVMLReady")).collect();
            if !said.is_empty() && said.iter().all(|said| is(said)) {
                return;
            }
            assert!(Instant::now() < end, "{said:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.server).await.unwrap().unwrap().unwrap();
    }
}

/// What health says of a service, change by change.
struct Health(Streaming<HealthCheckResponse>);

impl Health {
    async fn until(&mut self, is_serving: bool) {
        let wanted = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        let reading = async { while self.0.message().await.unwrap().unwrap().status() != wanted {} };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("health never says {wanted:?}"));
    }
}

fn said(gpu: &Gpu, type_: &str) -> String {
    let found = condition::find(&gpu.status.conditions, type_);
    found.map_or("-".to_owned(), |condition| format!("{} {}", condition.status, condition.reason))
}

#[tokio::test]
async fn a_source_that_panics_or_returns_begins_anew_and_its_service_is_not_serving_meanwhile() {
    let (begun, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let source = {
        let (begun, ends) = (Arc::clone(&begun), Arc::clone(&ends));
        move |stop: CancellationToken| {
            let (number, ends) = (begun.fetch_add(1, Ordering::Relaxed), Arc::clone(&ends));
            async move {
                if number < 2 {
                    ends.notified().await;
                }
                match number {
                    0 => panic!("a bug"),
                    1 => {}
                    _ => stop.cancelled().await,
                }
            }
        }
    };
    let server = Server::new(ledger(LedgerOptions::default()).await).with_gpus().await.unwrap();
    let world = World::of(server.with_source("buggy", GPUS, source)).await;
    let (mut of_gpus, mut of_server) = (world.health(GPUS).await, world.health(SERVER).await);
    let mut of_leases = world.health(LEASES).await;
    of_leases.until(true).await;
    for _ in 0..2 {
        for health in [&mut of_gpus, &mut of_server] {
            health.until(true).await;
        }
        ends.notify_one();
        for health in [&mut of_gpus, &mut of_server] {
            health.until(false).await;
        }
    }
    for health in [&mut of_gpus, &mut of_server] {
        health.until(true).await;
    }
    assert_eq!(begun.load(Ordering::Relaxed), 3);
    // Who has another source's lease is served all the time: the next that health says of it is that the server ends.
    world.end().await;
    of_leases.until(false).await;
}

/// A clock that has a bug for whoever waits, at times.
#[derive(Debug, Default)]
struct Faulty(AtomicBool);

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn sleep_until(&self, instant: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        assert!(!self.0.load(Ordering::Relaxed), "a bug in a clock");
        Box::pin(tokio::time::sleep_until(instant))
    }
}

#[tokio::test]
async fn a_keeper_that_panics_begins_anew_and_the_server_is_not_serving_meanwhile() {
    let clock = Arc::new(Faulty::default());
    let options = LedgerOptions::default().with_clock(clock.clone());
    let world = World::of(Server::new(ledger(options).await).with_gpus().await.unwrap()).await;
    let gpu = Gpu { metadata: ObjectMeta::named("a"), ..Gpu::default() };
    world.gpus().create(&PostParams::default(), &gpu).await.unwrap();
    let ready = Condition::new("NVMLReady", ConditionStatus::True);
    world.gpus().set_condition("a", &PatchParams::default(), &ready).await.unwrap();
    let mut healths = [world.health(GPUS).await, world.health(LEASES).await, world.health(SERVER).await];
    for health in &mut healths {
        health.until(true).await;
    }
    // The keeper waits for its end, of all that there is the first to do so.
    clock.0.store(true, Ordering::Relaxed);
    let lease = AcquireLease::new("nvml").with_condition_types(["NVMLReady"]).with_duration(Duration::from_secs(1));
    LeaseApi::new(world.client.clone()).acquire(&lease).await.unwrap();
    for health in &mut healths {
        health.until(false).await;
    }
    clock.0.store(false, Ordering::Relaxed);
    world.until_nvml_ready_is(|said| said == "Unknown ProviderLost").await;
    for health in &mut healths {
        health.until(true).await;
    }
    let kept = world.gpus().get("a").await.unwrap();
    assert_eq!(said(&kept, "NVMLReady"), "Unknown ProviderLost");
    world.end().await;
}

/// A driver whose caller panics, while it is broken.
#[derive(Debug)]
struct Brittle {
    driver: Simulated,
    is_broken: AtomicBool,
}

impl Brittle {
    fn breaks(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Driver for Brittle {
    fn boot_id(&self) -> Option<String> {
        assert!(!self.is_broken(), "a bug in a driver");
        None
    }

    async fn init(&self) -> Result<System, DriverError> {
        assert!(!self.is_broken(), "a bug in a driver");
        self.driver.init().await
    }

    async fn shutdown(&self) {
        self.driver.shutdown().await;
    }

    async fn list(&self) -> Result<Vec<Found>, DriverError> {
        // It is initialised anew then.
        if self.is_broken() { Err(DriverError::Uninitialized) } else { self.driver.list().await }
    }

    async fn describe(&self, uuid: &str) -> Result<Description, DriverError> {
        self.driver.describe(uuid).await
    }

    async fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError> {
        self.driver.vitals(uuid).await
    }

    async fn telemetry(&self, uuid: &str) -> Result<GpuTelemetry, DriverError> {
        self.driver.telemetry(uuid).await
    }

    async fn subscribe(&self, uuid: &str) -> Result<(), DriverError> {
        self.driver.subscribe(uuid).await
    }

    async fn next_event(&self, wait: Duration) -> Result<Option<Event>, DriverError> {
        self.driver.next_event(wait).await
    }
}

#[tokio::test]
async fn what_a_source_said_that_panics_again_and_again_is_unknown_in_time() {
    let driver = Simulated::new(Scenario::from_spec("2").unwrap());
    let driver = Arc::new(Brittle { driver, is_broken: AtomicBool::new(false) });
    let mut options = SourceOptions::default();
    options.lease = Duration::from_secs(1);
    options.resync = Duration::from_millis(200);
    options.retry = (Duration::from_millis(50), Duration::from_millis(100));
    let server = Server::new(ledger(LedgerOptions::default()).await);
    let world = World::of(server.with_gpus_of(driver.clone(), options).await.unwrap()).await;
    let mut health = world.health(GPUS).await;
    world.until_nvml_ready_is(|said| said.starts_with("True ")).await;
    health.until(true).await;

    driver.breaks(true);
    health.until(false).await;
    world.until_nvml_ready_is(|said| said == "Unknown ProviderLost").await;

    driver.breaks(false);
    world.until_nvml_ready_is(|said| said.starts_with("True ")).await;
    health.until(true).await;
    assert_eq!(world.gpus().list(&ListParams::default()).await.unwrap().items.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_server_whose_own_wait_panics_ends_in_order_with_an_error() {
    let folder = TempDir::new().unwrap();
    let memory = Memory::new();
    let ledger = Ledger::open(Box::new(memory.open().unwrap()), LedgerOptions::default()).await.unwrap();
    let path = folder.path().join("s.sock");
    let listener = Listener::bind(&SocketOptions::new(path.display().to_string().parse().unwrap())).unwrap();
    let run = Server::new(ledger).with_gpus().await.unwrap().run(listener, async { panic!("a bug in a program") });
    let error = timeout(PATIENCE, run).await.unwrap().unwrap_err();
    assert!(matches!(error, ServerError::PartLost { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 5);
    assert!(memory.open().is_ok(), "the store was not closed");
    assert!(!path.exists(), "the socket is still there");
}
