// SPDX-License-Identifier: Apache-2.0
//! What the idle server keeps resident.

use crate::callers;
use crate::calls::Server;
use crate::plan::Plan;
use crate::support::Daemon;
use crate::table::{Row, Target};
use device_api_client::Api;
use device_api_core::resource::Gpu;

pub fn idle(plan: &Plan) -> Vec<Row> {
    let sqlite = Daemon::start(&[]);
    let memory = Daemon::start(&["--datastore-endpoint=memory://"]);
    [("SQLite", &sqlite), ("memory", &memory)].map(|(store, daemon)| resident(plan, store, daemon)).into()
}

fn resident(plan: &Plan, store: &str, daemon: &Daemon) -> Row {
    let value = callers::runtime().block_on(async {
        let server = Server::connect(daemon.socket(), 1).await;
        let gpus: Api<Gpu> = Api::all(server.client(0));
        assert!(gpus.list(&Default::default()).await.unwrap().items.is_empty());
        tokio::time::sleep(plan.warm_up).await;
        mebibytes(daemon.pid())
    });
    Row {
        what: format!("resident memory, idle, {store}, one client connected"),
        ours: format!("{value:.1} MiB"),
        other: String::new(),
        value,
        unit: " MiB",
        target: Target::Below(12.0),
    }
}

/// `VmRSS` of a process, proc(5).
pub fn mebibytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kibibytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes / 1024.0
}
