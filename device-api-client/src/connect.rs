// SPDX-License-Identifier: Apache-2.0
//! The connection to a server.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::Result;
use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Bytes};
use tonic::transport::Endpoint;
use tower::Service;

use crate::bounded::bounded;
use crate::transport::Transport;
use crate::unopened::CannotOpen;
use crate::{ConnectError, Target};

/// How a client connects and waits.
///
/// ```
/// use std::time::Duration;
///
/// use device_api_client::ConnectOptions;
///
/// let options = ConnectOptions::default().with_request_timeout(Duration::from_secs(5));
/// assert_eq!(options.connect_timeout, Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long connecting may take: 5 s. It holds for every reconnect, too.
    pub connect_timeout: Duration,
    /// How long a reply may take, save a watch's: 40 s. The server gives a write 30 s and then says more than this can; a request that
    /// only waits, such as one that is queued, it gives 60 s, so here this ends it.
    pub request_timeout: Duration,
    /// How often the server is asked for a sign of life while it sends nothing, calls or not: every 30 s.
    pub keepalive_interval: Duration,
    /// How long that sign of life may take before the connection counts as lost: 10 s.
    pub keepalive_timeout: Duration,
    /// The largest message that is read, in bytes: 64 MiB. It holds a list of some 50,000 GPUs; ask for
    /// longer ones in pages.
    pub max_message_bytes: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(40),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_message_bytes: 64 << 20,
        }
    }
}

impl ConnectOptions {
    /// How long connecting may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a reply may take, save a watch's.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How often the server is asked for a sign of life, and how long that may take.
    #[must_use]
    pub fn with_keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keepalive_interval = interval;
        self.keepalive_timeout = timeout;
        self
    }

    /// The largest message that is read, in bytes.
    #[must_use]
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    fn endpoint(&self) -> Endpoint {
        // The socket has no host name, and gRPC servers refuse a path as the authority.
        Endpoint::from_static("http://localhost")
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true)
    }
}

/// A client of one server: cheap to clone, all clones share the connection.
///
/// A connection that is lost is made anew by the next call. A server takes 100 streams on it at a time, unless it is told
/// otherwise: a watch is one for as long as it lasts, and what comes on top waits. Beside so many, make another client.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    options: Arc<ConnectOptions>,
}

impl Client {
    /// Connects to the target that the environment names, or else to the default one.
    ///
    /// # Errors
    /// As [`Target::from_env`] and [`Self::connect`].
    pub async fn try_default() -> Result<Self, ConnectError> {
        Self::connect(Target::from_env()?).await
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError::Connect`] when the server cannot be reached now; [`Self::lazy`] waits until it is
    /// needed.
    pub async fn connect(target: Target) -> Result<Self, ConnectError> {
        Self::connect_with(target, ConnectOptions::default()).await
    }

    /// Connects, with these options.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_with(target: Target, options: ConnectOptions) -> Result<Self, ConnectError> {
        let connector = tower::service_fn(connector(&target));
        match options.endpoint().connect_with_connector(connector).await {
            Ok(channel) => Ok(Self { transport: Transport::new(channel), options: options.into() }),
            Err(error) => Err(ConnectError::of(target, &error)),
        }
    }

    /// A client that connects with its first call. It never fails here: a server that cannot be reached
    /// shows as [`Error::Unavailable`](device_api_core::Error::Unavailable) in each call.
    ///
    /// It must be made within a Tokio runtime.
    #[must_use]
    pub fn lazy(target: &Target, options: ConnectOptions) -> Self {
        let channel = options.endpoint().connect_with_connector_lazy(tower::service_fn(connector(target)));
        Self { transport: Transport::new(channel), options: options.into() }
    }

    /// A client on any service that speaks gRPC over HTTP, such as a server of this process with no
    /// socket in between, or a channel with layers of your own.
    ///
    /// Of the options, those of the connection mean nothing here.
    #[must_use]
    pub fn from_service<S, B>(service: S, options: ConnectOptions) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self { transport: Transport::new(service), options: options.into() }
    }

    /// The service to put a generated gRPC client on.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// The options that the client was made with.
    #[must_use]
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Waits for a reply, but no longer than the request timeout.
    pub(crate) async fn bounded<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        bounded(self.options.request_timeout, call).await
    }
}

/// Connects to the target's socket, whatever the URI.
fn connector(target: &Target) -> impl Fn(Uri) -> SocketFuture + Clone + Send + 'static {
    let path: Arc<PathBuf> = Arc::new(target.path().to_owned());
    move |_| {
        let path = Arc::clone(&path);
        Box::pin(async move {
            let stream = open(&path).await;
            stream.map(TokioIo::new).map_err(|error| io::Error::new(error.kind(), CannotOpen::new(&path, error)))
        })
    }
}

type SocketFuture = std::pin::Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

/// Opens a socket. The caller's connect timeout bounds it.
async fn open(path: &std::path::Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            // A live server whose backlog is full at the moment, see connect(2).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::debug!(socket = %path.display(), "the server's backlog is full; connecting again");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}
