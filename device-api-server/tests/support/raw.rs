// SPDX-License-Identifier: Apache-2.0
//! Calls whose messages are bytes, whatever they mean.

use std::future::poll_fn;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use device_api_client::Client;
use http::uri::PathAndQuery;
use http_body::Frame;
use prost::bytes::{Buf, BufMut};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};
use tower_service::Service as _;

/// Sends these bytes as the one message of a call, such as `/grpc.health.v1.Health/Check`.
pub async fn call(client: &Client, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(client.transport());
    grpc.ready().await.map_err(Status::from_error)?;
    let answer = grpc.unary(Request::new(message), PathAndQuery::from_str(method).unwrap(), Bytes).await;
    answer.map(tonic::Response::into_inner)
}

/// Begins such a call and reads nothing of its answer.
pub async fn begin(client: &Client, method: &str, message: Vec<u8>) -> Result<Streaming<Vec<u8>>, Status> {
    let mut grpc = Grpc::new(client.transport()).max_decoding_message_size(64 << 20);
    grpc.ready().await.map_err(Status::from_error)?;
    let path = PathAndQuery::from_str(method).unwrap();
    grpc.server_streaming(Request::new(message), path, Bytes).await.map(tonic::Response::into_inner)
}

/// Begins a call whose request is never sent to its end: a message of four mebibytes is announced, and this much of it
/// follows. Ends when the server has answered nevertheless.
pub async fn half(client: &Client, method: &str, bytes: usize) -> http::Response<Body> {
    let mut transport = client.transport();
    poll_fn(|context| transport.poll_ready(context)).await.unwrap();
    let request = http::Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Half { begun: false, left: bytes }));
    transport.call(request.unwrap()).await.unwrap()
}

/// Sends a call whose body is these bytes, which gRPC would have begin with a flag and a length, with this
/// `grpc-encoding`, and returns the status with which it is refused.
pub async fn framed(client: &Client, method: &str, encoding: Option<&str>, body: &'static [u8]) -> Status {
    let mut transport = client.transport();
    poll_fn(|context| transport.poll_ready(context)).await.unwrap();
    let mut request = http::Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let body = http_body_util::Full::new(prost::bytes::Bytes::from_static(body));
    let answer = transport.call(request.body(Body::new(body)).unwrap()).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap()
}

/// A body that does not end.
#[derive(Debug)]
struct Half {
    begun: bool,
    left: usize,
}

impl http_body::Body for Half {
    type Data = prost::bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if !self.begun {
            self.begun = true;
            let length = (1 << 20) - 1_u32;
            let head = [&[0][..], &length.to_be_bytes()].concat();
            return Poll::Ready(Some(Ok(Frame::data(head.into()))));
        }
        let part = self.left.min(64 << 10);
        if part == 0 {
            return Poll::Pending;
        }
        self.left -= part;
        Poll::Ready(Some(Ok(Frame::data(vec![0; part].into()))))
    }
}

/// Messages as they are.
#[derive(Debug)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).into()))
    }
}
