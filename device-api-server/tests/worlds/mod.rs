// SPDX-License-Identifier: Apache-2.0
//! One server for a test, and the three ways to it, which must behave the same.

// Each test binary uses its own part of this file, and clippy.toml's exceptions for tests do not reach it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use device_api_client::{Api, Client, ConnectOptions};
use device_api_core::Error;
use device_api_core::registry::{WatchEvent, WatchStream};
use device_api_core::resource::{Gpu, ObjectMeta};
use device_api_server::testing::TestServer;

/// How long what must happen may take: no verdict depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome of the same thing through each of the three handles to a server, which must be the same.
/// `$what` takes the server and a handle.
#[macro_export]
macro_rules! everywhere {
    ($server:expr, $what:path) => {{
        let server: &TestServer = &$server;
        let in_process = worlds::within($what(server, server.gpus())).await;
        let through_grpc = worlds::within($what(server, worlds::through_grpc(server))).await;
        assert_eq!(through_grpc, in_process, "through gRPC, and in process");
        let over_socket = worlds::within($what(server, worlds::over_socket(server))).await;
        assert_eq!(over_socket, in_process, "over the socket, and in process");
        in_process
    }};
}

/// A handle through gRPC, with no socket in between.
pub fn through_grpc(server: &TestServer) -> Api<Gpu> {
    Api::all(Client::from_service(server.service(), ConnectOptions::default()))
}

/// A handle over the socket, with a connection of its own.
pub fn over_socket(server: &TestServer) -> Api<Gpu> {
    Api::all(Client::lazy(&server.address().parse().unwrap(), ConnectOptions::default()))
}

/// Waits for what must happen.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("what must happen has happened")
}

/// A GPU of this name.
pub fn gpu(name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() }
}

/// The events of a watch up to its end, each in a word or two, and the error that it ended with.
pub async fn until_end(mut watch: impl WatchStream<Gpu>) -> (Vec<String>, Option<Error>) {
    let mut events = Vec::new();
    let failure = loop {
        match within(watch.next_event()).await {
            Some(Ok(event)) => events.push(told(&event)),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(within(watch.next_event()).await.is_none(), "nothing comes after the end");
    (events, failure)
}

/// The next event of a watch, in a word or two.
pub async fn next(watch: &mut impl WatchStream<Gpu>) -> String {
    told(&within(watch.next_event()).await.unwrap().unwrap())
}

/// Why a watch fails, which it does next, if it does; over the wire even its start may show only here.
pub async fn failure(watch: &mut impl WatchStream<Gpu>) -> Option<Error> {
    within(watch.next_event()).await.and_then(Result::err)
}

fn told(event: &WatchEvent<Gpu>) -> String {
    match event {
        WatchEvent::Added(gpu) => format!("added {}", gpu.metadata.name),
        WatchEvent::Modified(gpu) => format!("modified {}", gpu.metadata.name),
        WatchEvent::Deleted(gpu) => format!("deleted {}", gpu.metadata.name),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
    }
}
