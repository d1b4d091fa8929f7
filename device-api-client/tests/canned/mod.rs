// SPDX-License-Identifier: Apache-2.0
//! A server with canned replies, on a socket and without one.
#![allow(clippy::unwrap_used, dead_code)] // clippy.toml's exception for tests does not reach their modules; not each test uses all

use std::path::Path;
use std::sync::{Arc, Mutex};

use device_api_client::{Client, ConnectOptions, Target};
use device_api_core::Error;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_server::{GpuService, GpuServiceServer};
use device_api_core::resource::Gpu;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Answers with what was asked for, and remembers the requests.
#[derive(Clone, Default)]
pub(crate) struct Canned {
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    /// Lets a watch of `hold` go on.
    pub(crate) go_on: Arc<Notify>,
}

impl Canned {
    fn saw(&self, request: &impl std::fmt::Debug) {
        self.seen.lock().unwrap().push(format!("{request:?}"));
    }

    /// The last request.
    pub(crate) fn last(&self) -> String {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    /// A client with no socket in between.
    pub(crate) fn in_process(&self, options: ConnectOptions) -> Client {
        Client::from_service(GpuServiceServer::new(self.clone()), options)
    }

    /// A server on a socket, in a runtime of its own: it dies with that, connections and all.
    pub(crate) fn listen(&self, path: &Path) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(path).unwrap()
        };
        runtime.spawn(self.clone().serve(listener));
        Server { runtime: Some(runtime) }
    }

    /// The same in the runtime of the caller.
    pub(crate) async fn serve(self, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(GpuServiceServer::new(self.clone()));
            tokio::spawn(async move {
                let server = Builder::new(TokioExecutor::new()).http2_only();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

pub(crate) struct Server {
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The same server through a socket and with none.
pub(crate) struct Both {
    pub(crate) canned: Canned,
    pub(crate) clients: Vec<(&'static str, Client)>,
    _server: Server,
    _folder: tempfile::TempDir,
}

pub(crate) async fn both(options: ConnectOptions) -> Both {
    let canned = Canned::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let server = canned.listen(&path);
    let clients = vec![
        ("socket", Client::connect_with(target(&path), options.clone()).await.unwrap()),
        ("in process", canned.in_process(options)),
    ];
    Both { canned, clients, _server: server, _folder: folder }
}

pub(crate) fn target(path: &Path) -> Target {
    path.to_str().unwrap().parse().unwrap()
}

pub(crate) fn gpu(namespace: &str, name: &str) -> wire::Gpu {
    let metadata = wire::ObjectMeta { name: name.into(), namespace: namespace.into(), ..Default::default() };
    wire::Gpu { metadata: Some(metadata), spec: None, status: None }
}

#[tonic::async_trait]
impl GpuService for Canned {
    async fn get_gpu(&self, request: Request<wire::GetGpuRequest>) -> Result<Response<wire::GetGpuResponse>, Status> {
        let request = request.into_inner();
        self.saw(&request);
        match request.name.as_str() {
            "missing" => Err(Error::not_found::<Gpu>("missing").into()),
            "silent" => std::future::pending().await,
            "empty" => Ok(Response::new(wire::GetGpuResponse { gpu: None })),
            "broken" => {
                let mut gpu = gpu("", "broken");
                let time = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
                gpu.metadata.as_mut().unwrap().creation_timestamp = Some(time);
                Ok(Response::new(wire::GetGpuResponse { gpu: Some(gpu) }))
            }
            name => Ok(Response::new(wire::GetGpuResponse { gpu: Some(gpu(&request.namespace, name)) })),
        }
    }

    async fn list_gpus(
        &self,
        request: Request<wire::ListGpusRequest>,
    ) -> Result<Response<wire::ListGpusResponse>, Status> {
        let request = request.into_inner();
        self.saw(&request);
        let items = vec![gpu(&request.namespace, "a"), gpu(&request.namespace, "b")];
        let metadata = wire::ListMeta { resource_version: "7".into(), ..Default::default() };
        Ok(Response::new(wire::ListGpusResponse { gpu_list: Some(wire::GpuList { metadata: Some(metadata), items }) }))
    }

    type WatchGpusStream = ReceiverStream<Result<wire::WatchGpusResponse, Status>>;

    /// One ADDED, and then what the label selector says.
    async fn watch_gpus(
        &self,
        request: Request<wire::WatchGpusRequest>,
    ) -> Result<Response<Self::WatchGpusStream>, Status> {
        let request = request.into_inner();
        self.saw(&request);
        let then = request.opts.unwrap_or_default().label_selector;
        if then == "(" {
            return Err(Error::bad_request("labelSelector", "does not parse").into());
        }
        let (sender, receiver) = mpsc::channel(4);
        let go_on = Arc::clone(&self.go_on);
        tokio::spawn(async move {
            let added = wire::WatchGpusResponse { r#type: "ADDED".into(), object: Some(gpu("default", "a")) };
            let _ = sender.send(Ok(added)).await;
            match then.as_str() {
                "fail" => {
                    let _ = sender.send(Err(Error::Expired { requested: 1, oldest: 2 }.into())).await;
                }
                "surprise" => {
                    let event = wire::WatchGpusResponse { r#type: "ERROR".into(), object: Some(gpu("", "")) };
                    let _ = sender.send(Ok(event)).await;
                    sender.closed().await;
                }
                "hold" => {
                    go_on.notified().await;
                    let bookmark = wire::WatchGpusResponse { r#type: "BOOKMARK".into(), object: Some(gpu("", "")) };
                    let _ = sender.send(Ok(bookmark)).await;
                }
                _ => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn create_gpu(&self, request: Request<wire::CreateGpuRequest>) -> Result<Response<wire::Gpu>, Status> {
        self.saw(request.get_ref());
        Ok(Response::new(request.into_inner().gpu.unwrap()))
    }

    async fn update_gpu(&self, request: Request<wire::UpdateGpuRequest>) -> Result<Response<wire::Gpu>, Status> {
        self.saw(request.get_ref());
        Ok(Response::new(request.into_inner().gpu.unwrap()))
    }

    async fn update_gpu_status(
        &self,
        request: Request<wire::UpdateGpuStatusRequest>,
    ) -> Result<Response<wire::Gpu>, Status> {
        self.saw(request.get_ref());
        Ok(Response::new(request.into_inner().gpu.unwrap()))
    }

    async fn delete_gpu(&self, request: Request<wire::DeleteGpuRequest>) -> Result<Response<()>, Status> {
        self.saw(request.get_ref());
        Ok(Response::new(()))
    }

    async fn patch_gpu(&self, request: Request<wire::PatchGpuRequest>) -> Result<Response<wire::Gpu>, Status> {
        self.saw(request.get_ref());
        let request = request.into_inner();
        Ok(Response::new(gpu(&request.namespace, &request.name)))
    }
}
