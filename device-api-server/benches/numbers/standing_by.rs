// SPDX-License-Identifier: Apache-2.0
//! What a server with a source takes while nothing happens: a core's time, and memory.

use std::fs;
use std::time::{Duration, Instant};

use device_api_client::ApiWatch;
use device_api_core::registry::{ListParams, WatchParams};
use device_api_core::resource::{ConditionStatus, Gpu, condition};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::callers;
use crate::memory::mebibytes;
use crate::node::Node;
use crate::plan::Plan;
use crate::support::standin::Standin;
use crate::support::{Daemon, PATIENCE};
use crate::table::{Row, Target};

/// How the names of the threads begin on which NVML is called. What the stand-in does there, which reads its
/// script two hundred times a second, is not the server's; in the real one a thread sleeps.
const LANES: &str = "nvml ";

pub fn idle(plan: &Plan) -> Vec<Row> {
    let folder = TempDir::new().unwrap();
    let nodes = [Node::Whole, Node::Divided];
    // They outlive the servers, which have them loaded.
    let standins = nodes.map(|node| Standin::new(&node.script()));
    let mut servers = Vec::new();
    for (node, standin) in nodes.into_iter().zip(&standins) {
        let file = folder.path().join(format!("{}.toml", node.objects()));
        fs::write(&file, node.scenario()).unwrap();
        let simulated = Daemon::start(&[&format!("--nvml=simulated:{}", file.display())]);
        servers.push((format!("{}, simulated", node.name()), node, simulated));
        let root = format!("--nvml-driver-root={}", standin.root().display());
        let through_nvml = Daemon::start(&["--nvml=on", &root]);
        servers.push((format!("{}, stand-in for NVML", node.name()), node, through_nvml));
    }
    // All of them side by side: they wait.
    let taken =
        callers::runtime().block_on(join_all(servers.iter().map(|(_, node, daemon)| taken(plan, *node, daemon))));
    let rows = servers.iter().zip(taken).flat_map(|((what, _, _), taken)| {
        let row = |what, ours, value, unit, most| Row {
            what,
            ours,
            other: String::new(),
            value,
            unit,
            target: Target::Below(most),
        };
        let [percent, mebibytes] = taken;
        [
            row(format!("source, idle, {what}: time of a core"), format!("{percent:.3} %"), percent, " %", 0.2),
            row(
                format!("source, idle, {what}: resident memory"),
                format!("{mebibytes:.1} MiB"),
                mebibytes,
                " MiB",
                16.0,
            ),
        ]
    });
    rows.collect()
}

/// How much of a core, in percent, and how many mebibytes a server takes that has declared everything, with a
/// client that watches.
async fn taken(plan: &Plan, node: Node, daemon: &Daemon) -> [f64; 2] {
    let _watch = watch_when_ready(node, daemon).await;
    tokio::time::sleep(plan.warm_up * 10).await;
    let (start, before) = (Instant::now(), on_cores(daemon.pid()));
    tokio::time::sleep(plan.idle).await;
    let spent = on_cores(daemon.pid()) - before;
    [spent.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0, mebibytes(daemon.pid())]
}

/// A watch of all objects, which are there and healthy.
async fn watch_when_ready(node: Node, daemon: &Daemon) -> ApiWatch<Gpu> {
    let gpus = daemon.api();
    let is_ready = |gpu: &Gpu| {
        let ready = condition::find(&gpu.status.conditions, "NVMLReady");
        ready.is_some_and(|ready| ready.status == ConditionStatus::True)
    };
    let end = Instant::now() + PATIENCE;
    loop {
        let list = gpus.list_all(&ListParams::default()).await.unwrap();
        if list.items.iter().filter(|gpu| is_ready(gpu)).count() == node.objects() {
            return gpus.watch(&WatchParams::default().at(&list.metadata.resource_version)).await.unwrap();
        }
        assert!(Instant::now() < end, "not ready after {PATIENCE:?}:\n{}", daemon.stderr());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// For how long the threads of a process, the lanes not among them, were on a core: proc(5), `schedstat`.
fn on_cores(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let spent = tasks.filter_map(|task| {
        // A thread may end meanwhile.
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let figures = fs::read_to_string(task.join("schedstat")).ok()?;
        let nanoseconds: u64 = figures.split_whitespace().next().unwrap().parse().unwrap();
        (!name.starts_with(LANES)).then_some(nanoseconds)
    });
    Duration::from_nanos(spent.sum())
}
