// SPDX-License-Identifier: Apache-2.0
//! The example of a second provider, beside the NVML source on simulated GPUs.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod programs;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_api_client::{Api, Client, ConnectOptions};
use device_api_core::registry::{Ledger, LedgerOptions};
use device_api_core::resource::{Gpu, RecommendedAction, condition};
use device_api_server::source::nvml::SourceOptions;
use device_api_server::source::simulated::{Scenario, Simulated};
use device_api_server::{Listener, Server, SocketOptions};
use device_api_store_memory::Memory;
use programs::Running;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Two GPUs, the second of which is the warmer one and reports XID 79.
const SCENARIO: &str = r#"
[node]
gpus = 2

[[at]]
time = "2s"
event = "xid"
gpu = 1
xid = 79

[[at]]
time = "2s"
event = "recovery_action"
gpu = 1
action = "node_reboot"
"#;

/// Serves simulated GPUs, with a source that looks every second, for as long as the runtime lives.
fn serve(runtime: &Runtime, folder: &TempDir) -> Api<Gpu> {
    let path = folder.path().join("device-api.sock").display().to_string();
    let mut options = SourceOptions::default();
    (options.resync, options.telemetry) = (Duration::from_secs(1), Some(Duration::from_secs(1)));
    let driver = Arc::new(Simulated::new(Scenario::parse("two GPUs", SCENARIO).unwrap()));
    let (server, listener) = runtime.block_on(async {
        let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), LedgerOptions::default()).await.unwrap();
        let server = Server::new(ledger).with_gpus_of(driver, options).await.unwrap();
        (server, Listener::bind(&SocketOptions::new(path.parse().unwrap())).unwrap())
    });
    runtime.spawn(server.run(listener, std::future::pending()));
    let _context = runtime.enter();
    Api::all(Client::lazy(&path.parse().unwrap(), ConnectOptions::default()))
}

/// Status and reason of a condition.
fn said(gpu: &Gpu, type_: &str) -> String {
    let found = condition::find(&gpu.status.conditions, type_).unwrap();
    format!("{} {}", found.status, found.reason)
}

#[test]
fn the_second_provider_keeps_its_own_condition_and_leaves_the_sources_alone() {
    let (runtime, folder) = (Runtime::new().unwrap(), TempDir::new().unwrap());
    let gpus = serve(&runtime, &folder);
    let [cool, warm] = [0, 1].map(|gpu| format!("gpu-51500000-0000-4000-8000-{gpu:012x}"));
    let mut provider = Running::start("second_provider", &folder.path().join("device-api.sock"), &["33"]);
    // The load rises from 31 degrees on; the second GPU is a little ahead.
    let hot = |name: &String| format!("{name}: GpuThermalWatch is True (TooHot)");
    let mut awaited = BTreeSet::from([hot(&warm), hot(&cool)]);
    while !awaited.is_empty() {
        awaited.remove(&provider.line());
    }

    runtime.block_on(async {
        // What it says it writes a moment later.
        let until = async |name: &str, type_: &str, words: &str| {
            let end = Instant::now() + Duration::from_secs(60);
            loop {
                let gpu = gpus.get(name).await.unwrap();
                if condition::find(&gpu.status.conditions, type_).is_some() && said(&gpu, type_) == words {
                    return gpu;
                }
                assert!(Instant::now() < end, "{type_} does not become {words}: {gpu:#?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        until(&warm, "XidHealthy", "False Xid79").await;
        let sick = until(&warm, "GpuThermalWatch", "True TooHot").await;
        assert_eq!(said(&sick, "NVMLReady"), "False XidError");
        assert_eq!(sick.status.recommended_action, Some(RecommendedAction::RestartBm));
        let hot = until(&cool, "GpuThermalWatch", "True TooHot").await;
        assert_eq!((said(&hot, "NVMLReady"), said(&hot, "XidHealthy")), ("True Healthy".into(), "True NoXid".into()));
        assert!(hot.status.telemetry.is_some());
    });
}
