// SPDX-License-Identifier: Apache-2.0
//! What is served, and how it ends.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::lease::Leases;
use device_api_core::proto::FILE_DESCRIPTOR_SET;
use device_api_core::registry::{Ledger, Registry};
use device_api_core::resource::{Gpu, GpuStrategy, Resource};
use device_api_core::storage::StorageError;
use prost::bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{LayerExt as _, RoutesBuilder};
use tonic_health::ServingStatus;
use tower_service::Service;

use crate::accept::Incoming;
use crate::connections::Connections;
use crate::details;
use crate::drain::Drain;
use crate::error::ServerError;
use crate::grpc::budget::Budget;
use crate::grpc::guard::Guard;
use crate::grpc::in_flight::InFlight;
use crate::grpc::refusals::Refusals;
use crate::grpc::{GpuApi, LeaseApi};
use crate::health::Health;
use crate::listen::Listener;
use crate::reach;
use crate::shutdown::notify;
use crate::source::nvml::driver::Driver;
use crate::source::nvml::{self, SourceOptions};

/// The largest message to health and reflection, in bytes: they are asked for names.
const MAX_QUESTION: usize = 16 << 10;
/// The largest message to the lease service, in bytes: a lease of 64 types with the longest names, and some.
pub(crate) const MAX_LEASE: usize = 32 << 10;
/// How long sources may take to end.
const SOURCE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the datastore may take to close once nothing runs any more.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Bounds of serving. The defaults are those of the flags of `device-apiserver`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeOptions {
    /// How long requests in flight may take to end after the shutdown began: 10 s.
    pub grace_period: Duration,
    /// How many connections are served at once: 256. Further ones wait, and those that were idle longest
    /// are closed for them.
    pub max_connections: usize,
    /// How many requests and watches one connection may have open at once: 100.
    pub max_concurrent_streams: u32,
    /// How long a request may take until its answer begins, and how long a peer has to take a mebibyte
    /// of an answer, or what there is of it: 60 s.
    pub request_timeout: Duration,
    /// How large one request message to the GPU service may be, in bytes: 1 MiB, as much as an object may have.
    pub max_request_bytes: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            grace_period: Duration::from_secs(10),
            max_connections: 256,
            max_concurrent_streams: 100,
            request_timeout: Duration::from_secs(60),
            max_request_bytes: 1 << 20,
        }
    }
}

/// The services on one ledger, ready to run on a socket.
///
/// Health (`grpc.health.v1`) and reflection (`v1` and `v1alpha`) come along.
pub struct Server {
    ledger: Ledger,
    options: ServeOptions,
    draining: CancellationToken,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
    keepers: Vec<Task>,
    sources: Vec<Task>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("ledger", &self.ledger)
            .field("options", &self.options)
            .field("services", &self.names)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server on a ledger, which it closes when it ends. It serves nothing yet.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            options: ServeOptions::default(),
            draining: CancellationToken::new(),
            routes: RoutesBuilder::default(),
            names: Vec::new(),
            descriptors: Vec::new(),
            keepers: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// With these bounds. Call it before services are added: they take their limits from it.
    #[must_use]
    pub fn with_options(mut self, options: ServeOptions) -> Self {
        self.options = options;
        self
    }

    /// Serves GPUs and the leases of their providers, and keeps the GPUs' conditions true to those.
    ///
    /// # Errors
    /// When the ledger's GPUs have a registry or its leases were opened already: then use [`Self::with_gpu_registry`], [`Self::with_leases`] and [`Self::with_keeper`].
    pub async fn with_gpus(self) -> Result<Self, ServerError> {
        let gpus = self.ledger.registry(GpuStrategy).await.map_err(ServerError::Registry)?;
        let leases = Leases::open(&self.ledger).await.map_err(ServerError::Registry)?;
        Ok(self.with_gpu_registry(gpus.clone()).with_keeper(&leases, gpus).with_leases(leases))
    }

    /// Serves the GPUs of this registry.
    #[must_use]
    pub fn with_gpu_registry(self, gpus: Registry<Gpu>) -> Self {
        let limit = self.options.max_request_bytes;
        let service = GpuApi::new(gpus).into_service().max_decoding_message_size(limit);
        self.add_service(service, FILE_DESCRIPTOR_SET)
    }

    /// Serves these leases.
    #[must_use]
    pub fn with_leases(self, leases: Leases) -> Self {
        let limit = self.options.max_request_bytes.min(MAX_LEASE);
        let service = LeaseApi::new(leases).into_service().max_decoding_message_size(limit);
        self.add_service(service, FILE_DESCRIPTOR_SET)
    }

    /// Sets the conditions of these objects to Unknown when the lease of their provider has expired, for as long as the
    /// server runs: [`Leases::keep`].
    #[must_use]
    pub fn with_keeper<R: Resource>(mut self, leases: &Leases, objects: Registry<R>) -> Self {
        let leases = leases.clone();
        self.keepers.push(Box::pin(async move { leases.keep(objects).await }));
        self
    }

    /// Serves GPUs as [`Self::with_gpus`] does, and finds them with this driver.
    ///
    /// # Errors
    /// As [`Self::with_gpus`].
    pub async fn with_gpus_of(self, driver: Arc<dyn Driver>, options: SourceOptions) -> Result<Self, ServerError> {
        let gpus = self.ledger.registry(GpuStrategy).await.map_err(ServerError::Registry)?;
        let leases = Leases::open(&self.ledger).await.map_err(ServerError::Registry)?;
        let (of_gpus, of_leases) = (gpus.as_actor(nvml::NAME), leases.as_actor(nvml::NAME));
        let server = self.with_gpu_registry(gpus.clone()).with_keeper(&leases, gpus).with_leases(leases);
        Ok(server.with_source(|stop| nvml::run(driver, options, of_gpus, of_leases, stop)))
    }

    /// Runs a source of objects beside the services. It is told when the server begins to shut down, has two
    /// seconds to end, in which it can still write, and is dropped then.
    #[must_use]
    pub fn with_source<F>(mut self, source: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.sources.push(Box::pin(source(self.draining.clone())));
        self
    }

    /// Serves another service, whose file descriptor set reflection shows.
    ///
    /// The bounds of [`ServeOptions`] hold for it, but for `max_request_bytes`: that is set on the
    /// service, with the `max_decoding_message_size` that tonic generates, and is 4 MiB unless it is. It
    /// matters most where clients stream: what they send after the answer has begun counts against no
    /// other bound. A stream that the service leaves open when the server shuts down is cut at the end of
    /// the grace period, or a second after its client ceased to take what it sends.
    #[must_use]
    pub fn add_service<S, B>(mut self, service: S, descriptors: &'static [u8]) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        self.names.push(S::NAME);
        self.descriptors.push(descriptors);
        self.routes.add_service(service);
        self
    }

    /// Serves on a socket until `shutdown` is done, and ends in order: health says NOT_SERVING, no
    /// connection is accepted, what is queued is committed, watches end after what was committed was
    /// sent, requests in flight are answered, the socket is removed and the store is closed.
    ///
    /// While the ledger loads its store again after a failure, health says NOT_SERVING. When the ledger
    /// closes unasked, so does the server.
    ///
    /// # Errors
    /// When the ledger closed before `shutdown` was done, when requests were not answered before the grace
    /// period was over, or when the store could not be closed. The server is down in any case.
    pub async fn run(mut self, listener: Listener, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Listener { listener, mut claim, options: socket } = listener;
        let (health, health_service) = Health::of(&self.names).await;
        // Their streams know nothing of our shutdown.
        let drain = Drain(self.draining.clone());
        let undescribed = |error| ServerError::Reflection(Box::new(error));
        let v1 = self.reflection().build_v1().map_err(undescribed)?;
        let v1alpha = self.reflection().build_v1alpha().map_err(undescribed)?;
        self.routes.add_service(drain.named_layer(health_service.max_decoding_message_size(MAX_QUESTION)));
        self.routes.add_service(drain.named_layer(v1.max_decoding_message_size(MAX_QUESTION)));
        self.routes.add_service(drain.named_layer(v1alpha.max_decoding_message_size(MAX_QUESTION)));

        let in_flight = InFlight::new();
        let guard = Guard {
            routes: std::mem::take(&mut self.routes).routes().prepare(),
            request_timeout: self.options.request_timeout,
            in_flight: in_flight.clone(),
            replies: Budget::replies(),
            uploads: Budget::uploads(),
            refusals: Refusals::new(),
        };
        let ServeOptions { max_connections, max_concurrent_streams, grace_period, .. } = self.options;
        let mut connections = Connections::new(max_connections, max_concurrent_streams, guard, self.draining.clone());
        let (again, listeners) = mpsc::channel(1);
        let serving = connections.serve(Incoming::new(listener, listeners, self.draining.clone()));
        let mut serving = Box::pin(serving);
        let keepers: JoinSet<()> = std::mem::take(&mut self.keepers).into_iter().collect();
        let sources: JoinSet<()> = std::mem::take(&mut self.sources).into_iter().collect();
        let reachable = watch::Sender::new(true);
        notify("READY=1");
        let asked = tokio::select! {
            () = shutdown => true,
            () = health.follow(&self.ledger, reachable.subscribe()) => false,
            never = reach::keep(&mut claim, &socket, again, |is| _ = reachable.send_replace(is)) => match never {},
            // It ends no sooner than it is told to.
            () = &mut serving => false,
        };

        notify("STOPPING=1");
        health.say(ServingStatus::NotServing).await;
        self.draining.cancel();
        if tokio::time::timeout(SOURCE_PATIENCE, end(sources)).await.is_err() {
            tracing::warn!("a source did not end in time");
        }
        // In a task, so that it goes on when we lose patience.
        let ledger = self.ledger.clone();
        let closing = tokio::spawn(async move { ledger.close().await });
        let in_time = tokio::time::timeout(grace_period, &mut serving).await.is_ok();
        let cut = !in_time && in_flight.any_unanswered();
        drop(serving);
        drop(keepers);
        drop(connections);
        drop(claim);
        let closed = tokio::time::timeout(CLOSE_PATIENCE, closing).await;
        let outcome = close_outcome(closed);
        if !asked {
            let source = match outcome {
                Err(ServerError::Close(failure)) => Some(failure),
                _ => None,
            };
            return Err(ServerError::LedgerClosed { source });
        }
        outcome?;
        if cut { Err(ServerError::Cut { grace: grace_period }) } else { Ok(()) }
    }

    fn reflection(&self) -> tonic_reflection::server::Builder<'static> {
        let known = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let known = details::register(known);
        self.descriptors.iter().fold(known, |known, set| known.register_encoded_file_descriptor_set(set))
    }
}

/// What runs beside the services.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for tasks to end. One that panicked must not keep the store from being closed.
async fn end(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a source ended before its time");
        }
    }
}

type Closed = Result<Result<Result<(), StorageError>, tokio::task::JoinError>, tokio::time::error::Elapsed>;

fn close_outcome(closed: Closed) -> Result<(), ServerError> {
    match closed {
        Ok(Ok(closed)) => closed.map_err(ServerError::Close),
        // The task does nothing but wait for the ledger; it fails only when the runtime is going down.
        Ok(Err(_)) | Err(_) => Err(ServerError::CloseTimeout { patience: CLOSE_PATIENCE }),
    }
}
