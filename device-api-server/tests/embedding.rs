// SPDX-License-Identifier: Apache-2.0
//! What a program relies on that mounts a service of its own.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Ready, pending, ready};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use device_api_client::{Client, ConnectOptions};
use device_api_core::registry::{Ledger, LedgerOptions};
use device_api_server::{Listener, Server, ServerError, SocketOptions};
use device_api_store_memory::Memory;
use http_body::Frame;
use prost::bytes::Bytes;
use support::raw;
use tempfile::TempDir;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// A service that answers every call with one and the same message, in a body of its own.
#[derive(Clone, Debug)]
struct Parrot;

impl NamedService for Parrot {
    const NAME: &'static str = "test.Parrot";
}

impl Service<http::Request<Body>> for Parrot {
    type Response = http::Response<Word>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let word = Word([&b"\0\0\0\0\x05hello"[..], b""].map(Bytes::from_static).into_iter().collect());
        ready(Ok(http::Response::builder().header("content-type", "application/grpc").body(word).unwrap()))
    }
}

/// The frames that are left; an empty one stands for the trailers.
#[derive(Debug)]
struct Word(std::collections::VecDeque<Bytes>);

impl http_body::Body for Word {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| {
            Ok(if bytes.is_empty() {
                Frame::trailers([("grpc-status".parse().unwrap(), 0.into())].into_iter().collect())
            } else {
                Frame::data(bytes)
            })
        }))
    }
}

async fn server() -> Server {
    let storage = Box::new(Memory::new().open().unwrap());
    Server::new(Ledger::open(storage, LedgerOptions::default()).await.unwrap())
}

fn listener(folder: &TempDir) -> Listener {
    let path = folder.path().join("s.sock").display().to_string();
    Listener::bind(&SocketOptions::new(path.parse().unwrap())).unwrap()
}

#[tokio::test]
async fn a_service_needs_no_more_than_http_types() {
    let folder = TempDir::new().unwrap();
    let listener = listener(&folder);
    let target = listener.path().display().to_string().parse().unwrap();
    let client = Client::lazy(&target, ConnectOptions::default());
    let run = server().await.add_service(Parrot, &[]).run(listener, pending());
    let answer = raw::call(&client, "/test.Parrot/Say", Vec::new());
    tokio::select! {
        ended = run => panic!("{ended:?}"),
        answer = answer => assert_eq!(answer.unwrap(), b"hello"),
    }
}

#[tokio::test]
async fn descriptors_that_are_none_are_an_error_with_a_source() {
    let folder = TempDir::new().unwrap();
    let run = server().await.add_service(Parrot, b"\xff").run(listener(&folder), pending());
    let error = run.await.unwrap_err();
    assert!(matches!(error, ServerError::Reflection(_)), "{error:?}");
    let source: Option<&(dyn std::error::Error + 'static)> = error.source();
    assert!(!source.unwrap().to_string().is_empty());
}

#[tokio::test]
async fn a_source_that_panics_keeps_no_server_from_ending_well() {
    let folder = TempDir::new().unwrap();
    let memory = Memory::new();
    let ledger = Ledger::open(Box::new(memory.open().unwrap()), LedgerOptions::default()).await.unwrap();
    let (died, dead) = tokio::sync::oneshot::channel::<()>();
    let died = Mutex::new(Some(died));
    let source = move |_| {
        let died = died.lock().unwrap().take();
        async move {
            let _died = died;
            panic!("a source that has a bug");
        }
    };
    let server = Server::new(ledger).with_source("buggy", "", source);
    server.run(listener(&folder), async { drop(dead.await) }).await.unwrap();
    assert!(memory.open().is_ok(), "the store was not closed");
}
