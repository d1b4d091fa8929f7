// SPDX-License-Identifier: Apache-2.0
//! The examples do what they say: each runs as the program that `cargo test` built beside this one.
#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exception for tests does not reach their functions

mod programs;

use std::path::PathBuf;

use device_api_client::{Api, Client, ConnectOptions};
use device_api_core::registry::{Ledger, LedgerOptions, PostParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuDevice, ObjectMeta};
use device_api_server::{Listener, Server, SocketOptions};
use device_api_store_memory::Memory;
use programs::{Running, says};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server in this process: the library, over memory that survives its restarts.
struct Node {
    runtime: Runtime,
    memory: Memory,
    folder: TempDir,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Node {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let mut node = Self { runtime, memory: Memory::new(), folder: TempDir::new().unwrap(), server: None };
        node.start();
        node
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("device-api.sock")
    }

    fn start(&mut self) {
        let (stop, stopped) = oneshot::channel::<()>();
        let options = SocketOptions::new(self.socket().to_str().unwrap().parse().unwrap());
        let storage = self.memory.open().unwrap();
        let (server, listener) = self.runtime.block_on(async {
            let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await.unwrap();
            let server = Server::new(ledger).with_gpus().await.unwrap();
            (server, Listener::bind(&options).unwrap())
        });
        let serving = self.runtime.spawn(async move {
            server.run(listener, async { stopped.await.unwrap() }).await.unwrap();
        });
        self.server = Some((stop, serving));
    }

    fn create(&self, gpu: &Gpu) {
        let target = self.socket().to_str().unwrap().parse().unwrap();
        self.runtime.block_on(async {
            let gpus: Api<Gpu> = Api::all(Client::lazy(&target, ConnectOptions::default()));
            gpus.create(&PostParams::default(), gpu).await.unwrap();
        });
    }

    fn stop(&mut self) {
        let (stop, serving) = self.server.take().unwrap();
        stop.send(()).unwrap();
        self.runtime.block_on(serving).unwrap();
    }
}

/// What heads a list in which only the name is known.
const HEADER: &str = "NAME   PRODUCT  MEMORY  PCI ADDRESS  DRIVER  NUMA  HEALTH";

fn lines(said: &str) -> Vec<&str> {
    said.lines().map(|line| line.split(" at version ").next().unwrap()).collect()
}

#[test]
fn the_provider_registers_then_updates_and_changes_nothing_the_second_time() {
    let node = Node::new();
    let socket = node.socket();
    assert_eq!(lines(&says("provider", &socket, &[])), ["created gpu-0"]);
    let first = says("provider", &socket, &["gpu-0", "False"]);
    assert_eq!(lines(&first), ["updated gpu-0"]);
    assert_eq!(says("provider", &socket, &["gpu-0", "False"]), first, "the version is the same");
    let sick = "gpu-0  -        -       -            -       -     Unhealthy: ExampleHealthy is False (SelfTestFailed)";
    assert_eq!(lines(&says("list", &socket, &[])), [HEADER, sick, "1 GPUs"]);
}

#[test]
fn the_list_takes_a_field_selector() {
    let node = Node::new();
    let socket = node.socket();
    for (name, health) in [("gpu-0", "True"), ("gpu-1", "False")] {
        says("provider", &socket, &[name, health]);
    }
    let said = says("list", &socket, &["status.conditions[ExampleHealthy]!=True"]);
    let [_, sick, count] = lines(&said)[..] else { panic!("{said}") };
    assert!(sick.starts_with("gpu-1 ") && sick.contains(" Unhealthy: "), "{sick}");
    assert_eq!(count, "1 GPUs");
}

#[test]
fn the_list_says_what_a_device_is_and_which_health_its_conditions_add_up_to() {
    let node = Node::new();
    let mut gpu = Gpu { metadata: ObjectMeta::named("gpu-4b1f2a90"), ..Gpu::default() };
    gpu.status.conditions.push(Condition::new("GpuThermalWatch", ConditionStatus::False));
    gpu.status.device = Some(GpuDevice {
        product_name: Some("NVIDIA H100 80GB HBM3".to_owned()),
        memory_bytes: Some(81_559 << 20),
        pci_bus_id: Some("00000000:3B:00.0".to_owned()),
        driver_version: Some("580.95.05".to_owned()),
        numa_node: Some(0),
        ..GpuDevice::default()
    });
    node.create(&gpu);
    node.create(&Gpu { metadata: ObjectMeta::named("gpu-5"), ..Gpu::default() });
    let table = "\
NAME          PRODUCT                MEMORY     PCI ADDRESS       DRIVER     NUMA  HEALTH
gpu-4b1f2a90  NVIDIA H100 80GB HBM3  81559 MiB  00000000:3B:00.0  580.95.05  0     Healthy
gpu-5         -                      -          -                 -          -     Unknown: no condition says how it is
2 GPUs";
    assert_eq!(lines(&says("list", &node.socket(), &[])).join("\n"), table);
}

#[test]
fn the_scheduler_takes_only_what_is_known_to_be_healthy() {
    let mut node = Node::new();
    let socket = node.socket();
    says("provider", &socket, &["gpu-0"]);
    let mut scheduler = Running::start("may_i_schedule", &socket, &[]);
    assert_eq!(scheduler.line(), "yes gpu-0: Healthy");
    says("provider", &socket, &["gpu-0", "False"]);
    assert_eq!(scheduler.line(), "no gpu-0: Unhealthy: ExampleHealthy is False (SelfTestFailed)");
    says("provider", &socket, &["gpu-0", "Unknown"]);
    assert_eq!(scheduler.line(), "no gpu-0: Unknown: ExampleHealthy is Unknown (SelfTestFailed)");
    node.create(&Gpu { metadata: ObjectMeta::named("gpu-1"), ..Gpu::default() });
    assert_eq!(scheduler.line(), "no gpu-1: Unknown: no condition says how it is");

    // While nobody answers, nothing is healthy; what is not there afterwards is gone.
    node.stop();
    assert_eq!(scheduler.line(), "no gpu-0: Unknown: the server is out of reach");
    assert_eq!(scheduler.line(), "no gpu-1: Unknown: the server is out of reach");
    node.memory = Memory::new();
    node.start();
    assert_eq!(scheduler.line(), "no gpu-0: it is gone");
    assert_eq!(scheduler.line(), "no gpu-1: it is gone");
    says("provider", &socket, &["gpu-0"]);
    assert_eq!(scheduler.line(), "yes gpu-0: Healthy");
}

#[test]
fn the_watch_goes_on_after_a_restart_without_a_gap() {
    let mut node = Node::new();
    let socket = node.socket();
    says("provider", &socket, &["gpu-0"]);
    let mut watch = Running::start("watch", &socket, &[]);
    assert_eq!(watch.line(), "LISTED gpu-0 ExampleHealthy=True");
    says("provider", &socket, &["gpu-0", "False"]);
    assert_eq!(watch.line(), "MODIFIED gpu-0 ExampleHealthy=False");

    node.stop();
    assert!(watch.line().starts_with("WAITING "));
    node.start();
    says("provider", &socket, &["gpu-1"]);
    let next = std::iter::repeat_with(|| watch.line()).find(|line| !line.starts_with("WAITING "));
    assert_eq!(next.unwrap(), "ADDED gpu-1 ExampleHealthy=True");
}

#[test]
fn the_watch_lists_again_after_a_reset_and_tells_what_vanished() {
    let mut node = Node::new();
    let socket = node.socket();
    says("provider", &socket, &["gpu-0"]);
    let mut watch = Running::start("watch", &socket, &[]);
    assert_eq!(watch.line(), "LISTED gpu-0 ExampleHealthy=True");

    node.stop();
    assert!(watch.line().starts_with("WAITING "));
    node.memory = Memory::new();
    node.start();
    let next = std::iter::repeat_with(|| watch.line()).find(|line| !line.starts_with("WAITING "));
    assert_eq!(next.unwrap(), "DELETED gpu-0");
}

#[test]
fn the_watch_ends_after_as_many_lines_as_it_was_asked_for() {
    let node = Node::new();
    let socket = node.socket();
    for name in ["gpu-0", "gpu-1", "gpu-2"] {
        says("provider", &socket, &[name]);
    }
    assert_eq!(lines(&says("watch", &socket, &["2"])).len(), 2);
}

#[test]
fn the_controller_cordons_what_stays_sick_and_is_stopped() {
    let node = Node::new();
    let socket = node.socket();
    says("provider", &socket, &["gpu-0", "False"]);
    let mut controller = Running::start("controller", &socket, &[]);
    assert_eq!(controller.line(), "cordoned gpu-0");
    says("provider", &socket, &["gpu-0", "True"]);
    assert_eq!(controller.line(), "uncordoned gpu-0");
    controller.stop();
    assert_eq!(controller.line(), "stopped");

    let nobody = node.folder.path().join("nobody.sock");
    let mut embedded = Running::start("controller", &nobody, &["--embedded"]);
    assert_eq!(embedded.line(), "cordoned gpu-0");
    embedded.stop();
}

#[test]
fn the_embedded_registry_is_reached_on_its_socket_and_remembers() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("device-api.sock");
    let arguments = [folder.path().to_str().unwrap()];
    for first in ["registered gpu-embedded", "gpu-embedded was registered by an earlier run"] {
        let mut daemon = Running::start("embedded_registry", &socket, &arguments);
        assert_eq!(daemon.line(), first);
        assert_eq!(daemon.line(), format!("serving on {}", socket.display()));
        assert_eq!(lines(&says("list", &socket, &[]))[2..], ["1 GPUs"]);
        daemon.stop();
    }
}

#[test]
fn a_resource_of_ones_own_has_every_verb_and_a_keeper_on_the_socket_beside_the_gpus() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("device-api.sock");
    let mut daemon = Running::start("own_resource", &socket, &[folder.path().to_str().unwrap()]);
    let said = [
        "created eth0 02:00:00:0a:1b:2c".to_owned(),
        "MODIFIED eth0".to_owned(),
        "1 adapter has no link".to_owned(),
        "refused: NIC \"eth0\" is invalid: spec.address: field is immutable".to_owned(),
        "LinkUp Unknown: ProviderLost".to_owned(),
        format!("serving on {}", socket.display()),
    ];
    assert_eq!(std::iter::repeat_with(|| daemon.line()).take(said.len()).collect::<Vec<_>>(), said);
    assert_eq!(lines(&says("list", &socket, &[])), ["0 GPUs"]);
    daemon.stop();
}

#[test]
fn the_own_backend_remembers_across_runs() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gpus.jsonl");
    for count in 0..3 {
        let said = says("own_backend", folder.path(), &[file.to_str().unwrap()]);
        assert_eq!(said, format!("{count} GPUs from earlier runs; created gpu-{count}\n"));
    }
}

#[test]
fn what_is_tested_with_memory_works_against_a_server_too() {
    let node = Node::new();
    let socket = node.socket();
    says("provider", &socket, &["gpu-0", "False"]);
    assert_eq!(says("test_with_memory", &socket, &[]), "cordoned 1\n");
    assert_eq!(says("test_with_memory", &socket, &[]), "cordoned 0\n");
}

#[test]
fn an_example_that_fails_says_why_in_words() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("device-api.sock");
    let output = programs::example("list", &socket).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    let start =
        format!("Error: cannot connect to unix://{0}: cannot open {0}: No such file or directory", socket.display());
    assert!(said.starts_with(&start) && said.lines().count() == 1, "{said}");
    // A folder that is none: the cause of this one is in words, too.
    let output = programs::example("embedded_registry", &socket).arg("/dev/null").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("Error: sqlite store: ") && said.contains("(os error "), "{said}");
}
