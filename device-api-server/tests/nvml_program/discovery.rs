// SPDX-License-Identifier: Apache-2.0
//! What a person sees of a node with eight GPUs, simulated or through NVML's binding.

use std::collections::BTreeSet;
use std::fs;

use device_api_core::health::health;
use device_api_core::resource::{Gpu, GpuDevice, RecommendedAction};
use nvml_standin::Script;
use tempfile::TempDir;

use crate::node::{NVML_READY, Watcher, XID_HEALTHY, all_healthy, flags, is_healthy, name, real, said, says, server};
use crate::support::standin::Standin;

/// A GPU asks for a reboot of the node, and some time later for nothing any more; then again.
const UP_AND_DOWN: &str = r#"
repeat = "6s"

[node]
gpus = 8

[[at]]
time = "1s"
event = "xid"
gpu = 3
xid = 79

[[at]]
time = "1s"
event = "recovery_action"
gpu = 3
action = "node_reboot"

[[at]]
time = "3s"
event = "recovery_action"
gpu = 3
action = "none"
"#;

/// What everybody may rely on of each of eight H100, whichever driver tells it.
async fn assert_are_eight_h100(flags: &[String], is_simulated: bool) {
    let server = server(flags);
    let gpus = all_healthy(&server.api(), 8).await;
    let mut places = BTreeSet::new();
    for gpu in &gpus {
        let device = gpu.status.device.as_ref().unwrap();
        let GpuDevice { index, product_name, memory_bytes, pci_bus_id, driver_version, numa_node, .. } = device;
        let index = index.unwrap();
        assert_eq!(product_name.as_deref(), Some("NVIDIA H100 80GB HBM3"));
        assert_eq!(memory_bytes.unwrap() >> 20, 81_559);
        assert_eq!(driver_version.as_deref(), Some("580.95.05"));
        assert_eq!(*numa_node, Some(index / 4));
        let pci = pci_bus_id.clone().unwrap();
        assert!(pci.starts_with("00000000:") && pci.ends_with(":00.0"), "{pci}");
        places.insert((index, pci));

        assert_eq!(gpu.metadata.name, gpu.spec.uuid.to_lowercase());
        assert_eq!(health(gpu).to_string(), "Healthy");
        assert_eq!(said(gpu, NVML_READY), "True Healthy");
        assert_eq!((&gpu.status.recommended_action, &gpu.status.telemetry), (&None, &None));
        let label = |key: &str| gpu.metadata.labels.get(key).map(String::as_str);
        assert_eq!(label("nvidia.com/gpu.product"), Some("NVIDIA-H100-80GB-HBM3"));
        assert_eq!(label("nvidia.com/gpu.memory"), Some("81559"));
        assert_eq!(label("app.kubernetes.io/managed-by"), Some("nvml"));
        assert_eq!(label("device.nvidia.com/simulated"), is_simulated.then_some("true"));
    }
    assert_eq!(places.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(places.iter().map(|(_, pci)| pci).collect::<BTreeSet<_>>().len(), 8, "{places:?}");
}

/// How a GPU was, each time that it came, without repetitions.
fn turns(seen: impl IntoIterator<Item = bool>) -> Vec<bool> {
    let mut turns: Vec<bool> = seen.into_iter().collect();
    turns.dedup();
    turns
}

#[tokio::test]
async fn eight_simulated_gpus_are_there_with_product_memory_place_driver_and_health() {
    assert_are_eight_h100(&flags(&["--nvml=simulated:8"]), true).await;
}

#[tokio::test]
async fn eight_gpus_of_the_library_are_there_with_product_memory_place_driver_and_health() {
    let standin = Standin::new(&Script::with_gpus(8));
    assert_are_eight_h100(&real(&standin), false).await;
}

#[tokio::test]
async fn a_watcher_sees_a_simulated_gpu_turn_unhealthy_and_back() {
    let folder = TempDir::new().unwrap();
    let scenario = folder.path().join("up-and-down.toml");
    fs::write(&scenario, UP_AND_DOWN).unwrap();
    let server = server(&flags(&[&format!("--nvml=simulated:{}", scenario.display())]));
    let is_sick = |gpu: &Gpu| gpu.status.device.as_ref().and_then(|device| device.index) == Some(3);

    let mut watcher = Watcher::new(&server.api()).await;
    let (mut seen, mut actions) = (Vec::new(), BTreeSet::new());
    while !turns(seen.iter().copied()).ends_with(&[true, false, true]) {
        let gpu = watcher.next().await;
        if is_sick(&gpu) {
            seen.push(is_healthy(&gpu));
            actions.extend(gpu.status.recommended_action.clone().map(|action| action.to_string()));
        } else {
            assert!(is_healthy(&gpu), "{gpu:#?}");
        }
    }
    assert_eq!(actions.into_iter().collect::<Vec<_>>(), [RecommendedAction::RestartBm.to_string()]);
}

#[tokio::test]
async fn a_watcher_sees_a_gpu_of_the_library_turn_unhealthy_and_back() {
    let standin = Standin::new(&Script::with_gpus(2));
    let server = server(&real(&standin));
    all_healthy(&server.api(), 2).await;
    let mut watcher = Watcher::new(&server.api()).await;
    watcher.until(|gpu| gpu.metadata.name == name(1)).await;

    standin.changes(|script| script.gpus[1].recovery_action = Some(2));
    standin.xid(1, 79, None);
    let is = |gpu: &Gpu, words: &str| said(gpu, XID_HEALTHY) == words;
    let sick = watcher.until(|gpu| is(gpu, "False Xid79") && said(gpu, "RebootRequired") == "True NodeReboot").await;
    let sick = sick.last().unwrap();
    assert_eq!((&sick.metadata.name, said(sick, NVML_READY)), (&name(1), "False XidError".to_owned()));
    assert_eq!(sick.status.recommended_action, Some(RecommendedAction::RestartBm));
    assert_eq!(sick.status.xids.iter().map(|record| (record.xid, record.count)).collect::<Vec<_>>(), [(79, 1)]);

    standin.changes(|script| script.gpus[1].recovery_action = Some(0));
    let well = watcher.until(is_healthy).await;
    let well = well.last().unwrap();
    assert_eq!(
        (said(well, NVML_READY), said(well, XID_HEALTHY)),
        ("True Recovered".to_owned(), "True NoXid".to_owned())
    );
    assert_eq!((&well.status.recommended_action, well.status.xids[0].standing), (&None, false));
    says(&server.api(), &name(0), &[(NVML_READY, "True Healthy")]).await;
}

#[tokio::test]
async fn telemetry_is_sampled_where_it_is_asked_for() {
    let standin = Standin::new(&Script::with_gpus(1));
    let server = server(&[real(&standin), vec!["--nvml-telemetry-interval=1s".to_owned()]].concat());
    let mut watcher = Watcher::new(&server.api()).await;
    let is_at = |celsius: u32| {
        move |gpu: &Gpu| gpu.status.telemetry.as_ref().is_some_and(|sample| sample.temperature_celsius == Some(celsius))
    };
    watcher.until(is_at(54)).await;
    standin.changes(|script| script.gpus[0].temperature = 71);
    let seen = watcher.until(is_at(71)).await;
    let sample = seen.last().unwrap().status.telemetry.clone().unwrap();
    assert_eq!((sample.power_milliwatts, sample.processes), (Some(412_500), Some(2)));
    assert!(sample.sampled_at.is_some());
    assert!(is_healthy(seen.last().unwrap()));
}
