// SPDX-License-Identifier: Apache-2.0
//! How long an event of the driver takes to a watcher.

use std::time::{Duration, Instant};

use device_api_client::{Api, ApiWatch};
use device_api_core::patch::Patch;
use device_api_core::registry::{ListParams, PatchParams, WatchEvent, WatchParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use device_api_server::source::nvml::driver::{Event, EventKind};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::callers;
use crate::calls::Server;
use crate::node::Node;
use crate::plan::{Plan, quantile};
use crate::support::PATIENCE;
use crate::table::{Row, Target, micros};
use crate::told::{Store, Told};

/// The pause between two events. The source writes an object once a second at most: each GPU has its turn
/// a little less often, so that no event waits for that.
const PACE: Duration = Duration::from_millis(70);

/// The object that nobody's device is, which is written beside them.
const BESIDE: &str = "beside";

pub fn delay(plan: &Plan) -> Vec<Row> {
    let nodes = [Node::Whole, Node::Divided].into_iter();
    nodes.flat_map(|node| [Store::Sqlite, Store::Memory].map(|store| of_node(plan, node, store))).collect()
}

fn of_node(plan: &Plan, node: Node, store: Store) -> Row {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let told = Told::start(node, store, folder.path());
    let (delays, writes): (Vec<f64>, Vec<f64>) =
        callers::runtime().block_on(delays(plan, node, &told)).into_iter().unzip();
    let [p50, p99] = [0.5, 0.99].map(|part| quantile(delays.iter().copied(), part));
    let [write_p50, write_p99] = [0.5, 0.99].map(|part| quantile(writes.iter().copied(), part));
    let (nodes, stored) = (node.name(), store.name());
    Row {
        what: format!("source, {nodes}, {stored}, from the driver's event to the watcher's receipt, p99"),
        ours: format!("{} (p50 {})", micros(p99), micros(p50)),
        other: format!("a client's patch, p99: {} (p50 {})", micros(write_p99), micros(write_p50)),
        value: p99 * 1e3,
        unit: " ms",
        target: Target::Below(10.0),
    }
}

/// Has one device after the other report an XID of an application, and waits until a watcher has the object
/// whose history shows it. Beside each, how long it takes until the same watcher has what a client wrote.
async fn delays(plan: &Plan, node: Node, told: &Told) -> Vec<(f64, f64)> {
    let gpus: Api<Gpu> = Api::all(Server::connect(&told.socket, 1).await.client(0));
    let devices = devices(node, &gpus).await;
    // What is declared at the start is written.
    tokio::time::sleep(plan.warm_up * 4).await;
    gpus.create(&Default::default(), &Gpu { metadata: ObjectMeta::named(BESIDE), ..Gpu::default() }).await.unwrap();
    let version = gpus.list(&ListParams::default()).await.unwrap().metadata.resource_version;
    let mut events = gpus.watch(&WatchParams::default().at(&version)).await.unwrap();
    let mut delays = Vec::new();
    for sample in 0..plan.samples / 5 {
        tokio::time::sleep(PACE / 2).await;
        let conditions = json!([{"type": "Beside", "status": "True", "reason": format!("Write{sample}")}]);
        let patch = Patch::strategic(&json!({"status": {"conditions": conditions}})).unwrap();
        let start = Instant::now();
        gpus.patch_status(BESIDE, &PatchParams::default(), &patch).await.unwrap();
        until(&mut events, |gpu| gpu.metadata.name == BESIDE).await;
        let write = start.elapsed().as_secs_f64();

        tokio::time::sleep(PACE / 2).await;
        let Device { name, event } = &devices[sample % devices.len()];
        let count = (sample / devices.len()) as u64 + 1;
        let start = Instant::now();
        told.events.try_send(event.clone()).unwrap();
        until(&mut events, |gpu| gpu.metadata.name == *name && xids(gpu) == count).await;
        delays.push((start.elapsed().as_secs_f64(), write));
    }
    delays
}

/// Waits until the watcher has an object that was written like this.
async fn until(events: &mut ApiWatch<Gpu>, is_so: impl Fn(&Gpu) -> bool) {
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        if matches!(event, WatchEvent::Modified(gpu) if is_so(&gpu)) {
            return;
        }
    }
}

/// How many XIDs an object shows.
fn xids(gpu: &Gpu) -> u64 {
    gpu.status.xids.iter().map(|record| record.count).sum()
}

/// A device that reports.
#[derive(Debug)]
struct Device {
    /// Of its object.
    name: String,
    event: Event,
}

/// The GPUs, or their MIG devices, once the source has declared them all. Two in a row are of different GPUs.
async fn devices(node: Node, gpus: &Api<Gpu>) -> Vec<Device> {
    let end = Instant::now() + PATIENCE;
    let mut objects = loop {
        let objects = gpus.list_all(&ListParams::default()).await.unwrap().items;
        if objects.len() == node.objects() {
            break objects;
        }
        assert!(Instant::now() < end, "only {} objects", objects.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mig = |gpu: &Gpu| gpu.status.device.as_ref()?.mig.clone();
    objects.sort_by_key(|gpu| mig(gpu).and_then(|mig| mig.gpu_instance_id));
    let device = |gpu: &Gpu| {
        let (uuid, gpu_instance_id, compute_instance_id) = match (node, mig(gpu)) {
            (Node::Whole, _) => (gpu.spec.uuid.clone(), None, None),
            (Node::Divided, mig) => mig.map(|mig| (mig.parent_uuid, mig.gpu_instance_id, mig.compute_instance_id))?,
        };
        let event = Event { uuid, kind: EventKind::Xid { xid: 31, gpu_instance_id, compute_instance_id } };
        Some(Device { name: gpu.metadata.name.clone(), event })
    };
    objects.iter().filter_map(|gpu| device(gpu)).collect()
}
