// SPDX-License-Identifier: Apache-2.0
//! Calls whose messages are bytes, whatever they mean.

use std::str::FromStr;

use device_api_client::Client;
use http::uri::PathAndQuery;
use prost::bytes::{Buf, BufMut};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};

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
