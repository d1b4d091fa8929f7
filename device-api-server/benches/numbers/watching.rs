// SPDX-License-Identifier: Apache-2.0
//! How long a change takes to a watcher, beside the round trip of an echo.

use std::time::{Duration, Instant};

use device_api_core::proto::v1alpha1 as wire;
use prost::Message as _;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;

use crate::callers;
use crate::calls::{GET, Raw, Server, UPDATE, WATCH, get_request, update_request};
use crate::echo::Echo;
use crate::plan::{Plan, quantile};
use crate::serving::{answers, create_gpus};
use crate::support::Daemon;
use crate::table::{Row, Target, micros};

/// The pause between two writes: none of them waits for another.
const PACE: Duration = Duration::from_millis(1);

pub fn delay(plan: &Plan) -> Vec<Row> {
    let daemon = Daemon::start(&["--datastore-endpoint=memory://"]);
    callers::runtime().block_on(async {
        let ours = Server::connect(daemon.socket(), 1).await;
        create_gpus(&ours).await;
        let (get, update) = answers(&ours).await;
        let echo = Echo::start(&get, &update, None);
        let echoed = Server::connect(&echo.socket(), 1).await;
        // On a connection of its own, as a watcher has.
        let watcher = Server::connect(daemon.socket(), 1).await;
        let mut received = watch(&watcher).await;
        let (mut delays, mut round_trips) = (Vec::new(), Vec::new());
        for sample in 0..plan.samples {
            tokio::time::sleep(PACE).await;
            let start = Instant::now();
            echoed.call(0, GET, get_request(0)).await;
            round_trips.push(start.elapsed().as_secs_f64());

            tokio::time::sleep(PACE).await;
            let start = Instant::now();
            ours.call(0, UPDATE, update_request(0, sample)).await;
            let receipt: Instant = received.recv().await.unwrap();
            delays.push((receipt - start).as_secs_f64());
        }
        let at = |values: &[f64], part| quantile(values.iter().copied(), part);
        let (p50, p99) = (at(&delays, 0.5), at(&delays, 0.99));
        let (echo50, echo99) = (at(&round_trips, 0.5), at(&round_trips, 0.99));
        vec![Row {
            what: "WatchGpus, from the call that writes to the watcher's receipt, p99".to_owned(),
            ours: format!("{} (p50 {})", micros(p99), micros(p50)),
            other: format!("echo, p50: {} (p99 {})", micros(echo50), micros(echo99)),
            value: p99 / echo50,
            unit: "",
            target: Target::AtMost(4.0),
        }]
    })
}

/// Watches, and says when each change came. The initial state is not told.
async fn watch(server: &Server) -> mpsc::Receiver<Instant> {
    let opts = wire::ListOptions {
        send_initial_events: Some(false),
        resource_version_match: "NotOlderThan".to_owned(),
        ..Default::default()
    };
    let request: Bytes = wire::WatchGpusRequest { opts: Some(opts), ..Default::default() }.encode_to_vec().into();
    let mut grpc = Grpc::new(server.client(0).transport());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(WATCH);
    let mut events = grpc.server_streaming(Request::new(request), path, Raw).await.unwrap().into_inner();
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(_)) = events.message().await {
            if sender.send(Instant::now()).await.is_err() {
                break;
            }
        }
    });
    receiver
}
