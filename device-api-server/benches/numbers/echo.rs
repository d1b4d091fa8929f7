// SPDX-License-Identifier: Apache-2.0
//! The other side: a server made of tonic alone, in a process of its own, with the settings of
//! `device-apiserver`. It answers with bytes that it was given at its start, and does nothing else;
//! or, to compare writes on SQLite, one transaction for each call before that.

use std::convert::Infallible;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures_util::stream;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tower_service::Service;

use crate::calls::{GET, Raw, UPDATE};
use crate::one_by_one::OneByOne;
use crate::support::PATIENCE;

/// The first argument of the process that is the echo.
pub const CHILD: &str = "--echo";

/// A running echo.
#[derive(Debug)]
pub struct Echo {
    child: Child,
    folder: TempDir,
}

impl Echo {
    /// Starts an echo that answers GetGpu and UpdateGpuStatus with these bytes. With a database it
    /// first writes each update there.
    pub fn start(get: &Bytes, update: &Bytes, database: Option<&Path>) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("get"), get).unwrap();
        std::fs::write(folder.path().join("update"), update).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CHILD).arg(folder.path()).args(database).stdin(Stdio::null());
        let echo = Self { child: command.spawn().unwrap(), folder };
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(echo.socket()).is_err() {
            assert!(Instant::now() < end, "the echo does not start");
            sleep(Duration::from_millis(5));
        }
        echo
    }

    pub fn socket(&self) -> PathBuf {
        socket_in(self.folder.path())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Nothing is left to do about a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("echo.sock")
}

/// What the child process does: it serves until it is killed.
pub fn child(arguments: &[String]) {
    let folder = PathBuf::from(&arguments[0]);
    // As device-apiserver's main.
    let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = match arguments.get(1) {
            Some(database) => Some(Arc::new(OneByOne::open(Path::new(database)).await)),
            None => None,
        };
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap().into();
        let service = EchoService { get: read("get"), update: read("update"), journal };
        let listener = UnixListener::bind(socket_in(&folder)).unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        // As device_api_server's Server::run.
        tonic::transport::Server::builder()
            .max_concurrent_streams(100)
            .http2_keepalive_interval(Some(Duration::from_secs(60)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .http2_max_header_list_size(16 << 10)
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
}

/// Answers with prepared bytes, as tonic's generated code would.
#[derive(Clone, Debug)]
struct EchoService {
    get: Bytes,
    update: Bytes,
    journal: Option<Arc<OneByOne>>,
}

impl NamedService for EchoService {
    const NAME: &'static str = "nvidia.nvsentinel.v1alpha1.GpuService";
}

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl Service<http::Request<Body>> for EchoService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = match request.uri().path() {
            GET => Answer { bytes: self.get.clone(), journal: None },
            UPDATE => Answer { bytes: self.update.clone(), journal: self.journal.clone() },
            other => panic!("nobody calls {other}"),
        };
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(answer, request).await) })
    }
}

struct Answer {
    bytes: Bytes,
    journal: Option<Arc<OneByOne>>,
}

impl Service<Request<Bytes>> for Answer {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (bytes, journal) = (self.bytes.clone(), self.journal.clone());
        Box::pin(async move {
            if let Some(journal) = journal {
                journal.write(&request.into_inner()).await;
            }
            Ok(Response::new(bytes))
        })
    }
}
