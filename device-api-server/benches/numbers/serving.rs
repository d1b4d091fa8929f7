// SPDX-License-Identifier: Apache-2.0
//! The rate of calls over the socket, beside a bare echo of the same bytes.

use std::time::Instant;

use device_api_client::Api;
use device_api_core::registry::PostParams;
use device_api_core::resource::Gpu;
use prost::bytes::Bytes;

use crate::callers;
use crate::calls::{Calls, GET, Server, UPDATE, get_request, update_request};
use crate::echo::Echo;
use crate::gpus;
use crate::plan::{Pair, Plan};
use crate::support::Daemon;
use crate::table::{Row, Target, rate};

/// How many callers there are, and how many connections they share.
const CALLERS: [(usize, usize); 3] = [(1, 1), (16, 1), (64, 4)];

/// More events of a kilobyte than history keeps (64 MiB).
const HISTORY: f64 = 70_000.0;

/// Puts the GPUs there.
pub async fn create_gpus(server: &Server) {
    let gpus: Api<Gpu> = Api::all(server.client(0));
    for index in 0..gpus::COUNT {
        gpus.create(&PostParams::default(), &gpus::gpu(index, 0)).await.unwrap();
    }
}

/// What the server answers, for the echo to answer the same.
pub async fn answers(server: &Server) -> (Bytes, Bytes) {
    // The turn that is not stored, so that it is written.
    let update = server.call(0, UPDATE, update_request(0, 1)).await;
    (server.call(0, GET, get_request(0)).await, update)
}

/// Writes until history is at its bound, as it is in a server that was written to for long: each
/// write then also forgets another. Before that, what takes the most is fresh memory.
async fn fill_history(plan: &Plan, server: &Server) {
    let calls = Calls::update(gpus::COUNT);
    let start = Instant::now();
    let mut written = 0.0;
    while !plan.is_smoke() && written < HISTORY {
        written += server.rate(&calls, plan.slice).await * plan.slice.as_secs_f64();
    }
    eprintln!("  filled history in {:.1} s", start.elapsed().as_secs_f64());
}

pub fn get_gpu(plan: &Plan) -> Vec<Row> {
    compare(plan, "GetGpu", 0.85, Calls::get)
}

pub fn update_gpu_status(plan: &Plan) -> Vec<Row> {
    compare(plan, "UpdateGpuStatus, memory", 0.7, Calls::update)
}

fn compare(plan: &Plan, what: &str, target: f64, calls: impl Fn(usize) -> Calls) -> Vec<Row> {
    let daemon = Daemon::start(&["--datastore-endpoint=memory://"]);
    callers::runtime().block_on(async {
        let ours = Server::connect(daemon.socket(), 1).await;
        create_gpus(&ours).await;
        let (get, update) = answers(&ours).await;
        let echo = Echo::start(&get, &update, None);
        let echoed = Server::connect(&echo.socket(), 1).await;
        assert_eq!(echoed.call(0, GET, get_request(0)).await, get, "both sides answer with the same bytes");
        fill_history(plan, &ours).await;
        let mut rows = Vec::new();
        for (count, connections) in CALLERS {
            let ours = Server::connect(daemon.socket(), connections).await;
            let echoed = Server::connect(&echo.socket(), connections).await;
            let calls = calls(count);
            let pair = plan
                .alternate(async |slice| ours.rate(&calls, slice).await, async |slice| echoed.rate(&calls, slice).await)
                .await;
            let Pair { ours, other, ratio } = pair;
            rows.push(Row {
                what: format!("{what}, {count} caller{}", if count == 1 { "" } else { "s" }),
                ours: rate(ours),
                other: format!("echo: {}", rate(other)),
                value: ratio,
                unit: "",
                target: Target::AtLeast(target),
            });
        }
        rows
    })
}
