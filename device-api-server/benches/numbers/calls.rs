// SPDX-License-Identifier: Apache-2.0
//! Calls of bytes, so that the caller's own work is as small as it gets, and the same on both sides.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use device_api_client::{Client, Target};
use device_api_core::proto::v1alpha1 as wire;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use crate::callers::Callers;
use crate::gpus;

pub const GET: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/GetGpu";
pub const UPDATE: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/UpdateGpuStatus";
pub const WATCH: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/WatchGpus";

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

pub fn get_request(index: usize) -> Bytes {
    wire::GetGpuRequest { name: gpus::name(index), ..Default::default() }.encode_to_vec().into()
}

pub fn update_request(index: usize, turn: usize) -> Bytes {
    let gpu = Some((&gpus::gpu(index, turn)).into());
    wire::UpdateGpuStatusRequest { gpu, opts: None }.encode_to_vec().into()
}

/// The connections to one server.
#[derive(Clone, Debug)]
pub struct Server {
    clients: Arc<Vec<Client>>,
}

impl Server {
    pub async fn connect(socket: &Path, connections: usize) -> Self {
        let target = Target::from_str(&format!("unix://{}", socket.display())).unwrap();
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Client::connect(target.clone()).await.unwrap());
        }
        Self { clients: Arc::new(clients) }
    }

    /// A client on one of the connections.
    pub fn client(&self, caller: usize) -> Client {
        self.clients[caller % self.clients.len()].clone()
    }

    /// One call.
    pub async fn call(&self, caller: usize, path: &'static str, message: Bytes) -> Bytes {
        let mut grpc = Grpc::new(self.client(caller).transport());
        grpc.ready().await.unwrap();
        grpc.unary(Request::new(message), PathAndQuery::from_static(path), Raw).await.unwrap().into_inner()
    }

    /// How many calls per second the callers get done.
    pub async fn rate(&self, calls: &Calls, slice: Duration) -> f64 {
        let (server, path, messages) = (self.clone(), calls.path, Arc::clone(&calls.messages));
        calls
            .callers
            .rate(slice, move |caller, turn| {
                let (server, message) = (server.clone(), messages[caller][turn % 2].clone());
                async move {
                    server.call(caller, path, message).await;
                }
            })
            .await
    }
}

/// What the callers call: each has two messages and sends them in turn.
#[derive(Debug)]
pub struct Calls {
    callers: Callers,
    path: &'static str,
    messages: Arc<Vec<[Bytes; 2]>>,
}

impl Calls {
    fn new(count: usize, path: &'static str, messages: impl Fn(usize) -> [Bytes; 2]) -> Self {
        Self { callers: Callers::new(count), path, messages: Arc::new((0..count).map(messages).collect()) }
    }

    pub fn get(callers: usize) -> Self {
        Self::new(callers, GET, |index| [get_request(index), get_request(index)])
    }

    pub fn update(callers: usize) -> Self {
        Self::new(callers, UPDATE, |index| [update_request(index, 0), update_request(index, 1)])
    }
}
