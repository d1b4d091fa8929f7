// SPDX-License-Identifier: Apache-2.0
//! What is served, and how it ends.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::lease::Leases;
use device_api_core::proto::FILE_DESCRIPTOR_SET;
use device_api_core::proto::v1alpha1::gpu_service_server::GpuServiceServer;
use device_api_core::registry::{Ledger, Registry};
use device_api_core::resource::{Gpu, GpuStrategy, Resource};
use device_api_core::storage::StorageError;
use futures_util::FutureExt as _;
use prost::bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{LayerExt as _, RoutesBuilder};
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
use crate::parts::Part;
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
    keepers: Vec<Part>,
    sources: Vec<Part>,
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
    ///
    /// While there is no keeper, since a bug or the store ended it, health says NOT_SERVING of all, and it is begun anew. One
    /// that a bug has kept away for a minute ends the server: without it a lost provider is believed for ever.
    #[must_use]
    pub fn with_keeper<R: Resource>(mut self, leases: &Leases, objects: Registry<R>) -> Self {
        self.keepers.push(Part::keeper(leases, objects));
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
        let begin =
            move |stop| nvml::run(Arc::clone(&driver), options.clone(), of_gpus.clone(), of_leases.clone(), stop);
        Ok(server.with_source(nvml::NAME, GpuServiceServer::<GpuApi>::NAME, begin))
    }

    /// Runs a source of a service's objects beside the services: `begin` begins it. It is told when the server begins to shut
    /// down, has two seconds to end, in which it can still write, and is dropped then.
    ///
    /// One that panics or returns before is begun anew, after a pause that grows to a minute; meanwhile health says
    /// NOT_SERVING of that service. A source that says how devices are has a lease of its own, renewed in the same
    /// future: then what it said is Unknown in time when it does not come back.
    #[must_use]
    pub fn with_source<F>(
        mut self,
        name: &str,
        service: &'static str,
        begin: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.sources.push(Part::source(name, service, begin));
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
    /// closes unasked, so does the server, and so it does when a part of it ends that it cannot be without.
    ///
    /// # Errors
    /// When the ledger closed or the server lost a part before `shutdown` was done, when requests were not answered before the grace
    /// period was over, or when the store could not be closed. The server is down in any case.
    pub async fn run(mut self, listener: Listener, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Listener { listener, mut claim, options: socket } = listener;
        let (mut health, health_service) = Health::of(&self.names).await;
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
        let mut serving = Box::pin(AssertUnwindSafe(serving).catch_unwind());
        let (reachable, absent) = (watch::Sender::new(true), watch::Sender::default());
        let mut parts = (0..).map(|number| (number, self.draining.clone(), absent.clone()));
        let mut run = |given: &mut Vec<Part>| -> JoinSet<_> {
            let given = std::mem::take(given).into_iter().zip(&mut parts);
            given.map(|(part, (number, stop, absent))| part.run(number, stop, absent)).collect()
        };
        let (mut keepers, mut sources) = (run(&mut self.keepers), run(&mut self.sources));
        notify("READY=1");
        let waiting = async {
            tokio::select! {
                () = shutdown => End::Asked,
                () = health.follow(&self.ledger, reachable.subscribe(), absent.subscribe()) => End::LedgerClosed,
                never = reach::keep(&mut claim, &socket, again, |is| _ = reachable.send_replace(is)) => match never {},
                // It ends no sooner than it is told to, and nor do the others.
                _ = &mut serving => End::Deaf,
                Some(ended) = keepers.join_next() => End::of(ended),
                Some(ended) = sources.join_next() => End::of(ended),
            }
        };
        let end = AssertUnwindSafe(waiting).catch_unwind().await.unwrap_or_else(|_| End::lost("wait for its end"));

        notify("STOPPING=1");
        health.end().await;
        self.draining.cancel();
        let ending = async { while sources.join_next().await.is_some() {} };
        if tokio::time::timeout(SOURCE_PATIENCE, ending).await.is_err() {
            tracing::warn!("a source did not end in time");
        }
        // In a task, so that it goes on when we lose patience.
        let ledger = self.ledger.clone();
        let closing = tokio::spawn(async move { ledger.close().await });
        let is_deaf = matches!(end, End::Deaf);
        let in_time = is_deaf || tokio::time::timeout(grace_period, &mut serving).await.is_ok();
        let cut = !in_time && in_flight.any_unanswered();
        drop(serving);
        drop(keepers);
        drop(connections);
        drop(claim);
        let closed = tokio::time::timeout(CLOSE_PATIENCE, closing).await;
        let outcome = close_outcome(closed);
        match (end, outcome) {
            (End::Asked, Err(error)) => Err(error),
            (End::Asked, Ok(())) if cut => Err(ServerError::Cut { grace: grace_period }),
            (End::Asked, Ok(())) => Ok(()),
            (End::LedgerClosed, Err(ServerError::Close(failure))) => {
                Err(ServerError::LedgerClosed { source: Some(failure) })
            }
            (End::LedgerClosed, _) => Err(ServerError::LedgerClosed { source: None }),
            (End::Deaf, _) => Err(ServerError::PartLost { part: "accept loop".to_owned() }),
            (End::Lost(error), _) => Err(error),
        }
    }

    fn reflection(&self) -> tonic_reflection::server::Builder<'static> {
        let known = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let known = details::register(known);
        self.descriptors.iter().fold(known, |known, set| known.register_encoded_file_descriptor_set(set))
    }
}

/// Why the server ends.
#[derive(Debug)]
enum End {
    /// It was asked to.
    Asked,
    /// Nothing can be written any more.
    LedgerClosed,
    /// No connection is accepted any more.
    Deaf,
    /// Something else ended that it is not to be without.
    Lost(ServerError),
}

impl End {
    fn lost(part: &str) -> Self {
        Self::Lost(ServerError::PartLost { part: part.to_owned() })
    }

    /// Whoever watches over a part ends before the server for want of that part only, or for a bug of its own.
    fn of(ended: Result<Result<(), ServerError>, JoinError>) -> Self {
        match ended {
            Ok(Err(error)) => Self::Lost(error),
            Ok(Ok(())) | Err(_) => Self::lost("watch over a part"),
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
