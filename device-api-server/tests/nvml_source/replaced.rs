// SPDX-License-Identifier: Apache-2.0
//! The object of a GPU that was replaced goes, and with it those of its MIG devices.

use device_api_core::registry::ListParams;
use device_api_core::resource::Gpu;
use serde_json::json;

use crate::bench::{Bench, name, node, on, step, uuid};

/// Divides every GPU in two.
const DIVIDED: &str = "mig = [\"3g.40gb\", \"3g.40gb\"]\n";

/// The UUID of the second GPU in a slot.
fn successor(slot: usize) -> String {
    format!("GPU-51500000-0000-4000-8000-0001{slot:08x}")
}

/// The names of the MIG devices of a GPU.
async fn parts(bench: &Bench, parent: &str) -> Vec<String> {
    let list = bench.api.gpus.list(&Default::default()).await.unwrap();
    let is_part = |gpu: &Gpu| {
        let mig = gpu.status.device.as_ref().and_then(|device| device.mig.as_ref());
        mig.is_some_and(|mig| mig.parent_uuid == parent)
    };
    list.items.iter().filter(|gpu| is_part(gpu)).map(|gpu| gpu.metadata.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_object_of_a_replaced_gpu_goes_with_those_of_its_mig_devices() {
    let swap = step("60s", "lost", "gpu = 1, listed = false") + &step("120s", "replace", "gpu = 1");
    let bench = Bench::plays(&(node(2) + DIVIDED + &swap)).await;
    bench.until_on(1, "NVMLReady", "False GPULost").await;
    let old = parts(&bench, &uuid(1)).await;
    assert_eq!(old.len(), 2);
    assert!(on(&bench.api.gpus.get(&old[0]).await.unwrap(), "NVMLReady").starts_with("False"), "and so are its parts");

    let new = successor(1).to_ascii_lowercase();
    bench.api.until(&new, |gpu| on(gpu, "NVMLReady") == "True Healthy").await;
    for name in old.iter().chain([&name(1)]) {
        bench.api.until_gone(name).await;
    }
    assert_eq!(parts(&bench, &successor(1)).await.len(), 2);
    assert_eq!(bench.api.names().await.len(), 6);
    bench.at(300).await;
    assert_eq!(bench.api.names().await.len(), 6, "and none of them comes back");
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_was_replaced_while_the_source_was_down_goes_too() {
    let mut bench = Bench::plays(&(node(2) + DIVIDED)).await;
    bench.at(20).await;
    let old = parts(&bench, &uuid(1)).await;
    assert_eq!(old.len(), 2);
    bench.restart_with(&(node(2) + DIVIDED + &step("0s", "replace", "gpu = 1"))).await;
    let new = successor(1).to_ascii_lowercase();
    bench.api.until(&new, |gpu| on(gpu, "NVMLReady") == "True Healthy").await;
    for name in old.iter().chain([&name(1)]) {
        bench.api.until_gone(name).await;
    }
    assert_eq!(bench.api.names().await.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_somebody_else_made_stays_when_its_gpu_was_replaced() {
    let bench = Bench::plays(&(node(2) + &step("60s", "replace", "gpu = 1"))).await;
    bench.at(20).await;
    let theirs = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
    bench.api.patch(&name(1), theirs).await;
    let said = json!({"status": {"conditions": [{"type": "GpuThermalWatch", "status": "False"}]}});
    bench.api.patch_status(&name(1), said).await;
    bench.api.until(&successor(1).to_ascii_lowercase(), |gpu| on(gpu, "NVMLReady") == "True Healthy").await;
    bench.at(200).await;
    let status = &bench.gpu(1).await.status;
    let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["GpuThermalWatch"], "nobody says any more that a GPU is well which is not there");
    assert_eq!((&status.device, &status.recommended_action), (&None, &None));
    let seen = bench.api.diary.all().len();
    bench.at(400).await;
    assert_eq!(bench.api.diary.all().len(), seen, "and that is all");
}

#[tokio::test(start_paused = true)]
async fn two_gpus_that_change_places_are_the_same_gpus() {
    let places = |first: &str, second: &str| {
        let gpu = |index: usize, place: &str| format!("[[gpu]]\nindex = {index}\npci_bus_id = \"{place}\"\n");
        node(2) + &gpu(0, first) + &gpu(1, second)
    };
    let (here, there) = ("00000000:1B:00.0", "00000000:43:00.0");
    let mut bench = Bench::plays(&places(here, there)).await;
    bench.at(20).await;
    let before = [bench.gpu(0).await, bench.gpu(1).await];
    bench.restart_with(&places(there, here)).await;
    for (slot, place) in [(0, there), (1, here)] {
        let is_there = |gpu: &Gpu| gpu.status.device.as_ref().unwrap().pci_bus_id.as_deref() == Some(place);
        let gpu = bench.until(slot, is_there).await;
        assert_eq!((&gpu.metadata.uid, on(&gpu, "NVMLReady")), (&before[slot].metadata.uid, "True Healthy".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_is_missing_after_a_boot_is_lost_whoever_has_its_address_now() {
    let places = |first: &str, second: &str| {
        let gpu = |index: usize, place: &str| format!("[[gpu]]\nindex = {index}\npci_bus_id = \"{place}\"\n");
        node(2) + &gpu(0, first) + &gpu(1, second)
    };
    let [first, second, elsewhere] = ["00000000:1B:00.0", "00000000:43:00.0", "00000000:86:00.0"];
    let mut bench = Bench::plays(&places(first, second)).await;
    bench.at(20).await;
    bench.restart_with(&(places(elsewhere, first) + &step("0s", "lost", "gpu = 0, listed = false"))).await;
    bench.until_on(0, "NVMLReady", "False GPULost").await;
    bench.at(200).await;
    assert_eq!(on(&*bench.gpu(0).await, "NVMLReady"), "False GPULost");
    assert_eq!(on(&*bench.gpu(1).await, "NVMLReady"), "True Healthy");
    // Also after a restart that finds both in the store with one address.
    bench.restart().await;
    bench.at(400).await;
    assert_eq!(on(&*bench.gpu(0).await, "NVMLReady"), "False GPULost");
}

#[tokio::test(start_paused = true)]
async fn a_uuid_that_somebody_writes_into_an_object_makes_no_gpu_and_loses_none() {
    let mut bench = Bench::plays(&(node(2) + &step("10s", "xid", "gpu = 0, xid = 119"))).await;
    bench.until_on(0, "XidHealthy", "False Xid119").await;
    for (round, text) in ["x", ""].into_iter().enumerate() {
        // While the source runs, and while it does not.
        bench.api.patch(&name(0), json!({"spec": {"uuid": text}})).await;
        bench.at(100 + 200 * round as u64).await;
        bench.source.take().unwrap().end().await;
        bench.api.patch(&name(0), json!({"spec": {"uuid": text}})).await;
        bench.start();
        bench.at(200 + 200 * round as u64).await;
        let gpus = bench.api.gpus.list(&ListParams::default()).await.unwrap().items;
        let names: Vec<_> = gpus.iter().map(|gpu| gpu.metadata.name.clone()).collect();
        assert_eq!(names, [name(0), name(1)]);
        assert_eq!((on(&gpus[0], "XidHealthy"), &gpus[0].spec.uuid), ("False Xid119".to_owned(), &uuid(0)));
    }
}
