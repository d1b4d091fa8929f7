// SPDX-License-Identifier: Apache-2.0
//! The full state is declared at the start and at every resync, and nothing is written when nothing
//! changed.

use device_api_core::health::{Verdict, health};
use device_api_core::lease::LeaseVerbs as _;
use device_api_core::registry::{DeleteParams, PostParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use device_api_server::source::nvml::SIMULATED;
use device_api_server::source::{ACKNOWLEDGE_XIDS, MANAGED_BY};
use serde_json::json;

use crate::bench::{Bench, name, node, on, seconds, step, uuid};
use crate::diary::Kind;

#[tokio::test(start_paused = true)]
async fn the_full_state_of_each_gpu_is_declared_at_the_start_in_one_write() {
    let bench = Bench::plays(&node(8)).await;
    bench.at(20).await;
    assert_eq!(bench.api.names().await, (0..8).map(name).collect::<Vec<_>>());
    for slot in 0..8 {
        let gpu = bench.gpu(slot).await;
        let history = bench.api.diary.of_name(&name(slot));
        assert_eq!(history.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [Kind::Added], "{history:#?}");
        assert_eq!(gpu.spec.uuid, uuid(slot));
        assert_eq!(health(&gpu).verdict, Verdict::Healthy);
        assert_eq!((on(&gpu, "NVMLReady"), on(&gpu, "XidHealthy")), ("True Healthy".into(), "True NoXid".into()));
        for type_ in ["ResetRequired", "RebootRequired", "DrainRequired"] {
            assert_eq!(on(&gpu, type_), "False RecoveryActionNone");
        }
        assert_eq!((on(&gpu, "RowRemapHealthy"), on(&gpu, "EccHealthy")), ("True Ok".into(), "True Ok".into()));
        let device = gpu.status.device.as_ref().unwrap();
        assert_eq!(device.index, Some(slot as u32));
        assert_eq!(device.product_name.as_deref(), Some("NVIDIA H100 80GB HBM3"));
        assert_eq!(device.memory_bytes, Some(81_559 << 20));
        assert_eq!(device.numa_node, Some(slot as u32 / 4));
        assert!(device.pci_bus_id.is_some() && device.driver_version.is_some() && device.serial.is_some());
        assert!(gpu.status.conditions.iter().all(|condition| condition.last_transition_time.is_some()));
        assert_eq!((gpu.status.recommended_action.as_ref(), gpu.status.telemetry.as_ref()), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn the_objects_are_labelled_for_selectors_and_as_simulated() {
    let bench = Bench::plays(&node(1)).await;
    let gpu = bench.until(0, |_| true).await;
    let labels = &gpu.metadata.labels;
    let expected = [
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),
        ("nvidia.com/gpu.family", "hopper"),
        ("nvidia.com/gpu.memory", "81559"),
        ("nvidia.com/gpu.compute.major", "9"),
        ("nvidia.com/gpu.compute.minor", "0"),
        (SIMULATED, "true"),
        (MANAGED_BY, "nvml"),
    ];
    assert_eq!(labels.len(), expected.len(), "{labels:?}");
    for (key, value) in expected {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_when_nothing_happens() {
    let bench = Bench::plays(&node(8)).await;
    bench.at(20).await;
    let (before, seen) = (bench.api.ledger.revision().await.unwrap(), bench.api.diary.all().len());
    bench.at(1200).await;
    let lists = bench.driver.calls().iter().filter(|call| call.name == "list").count();
    assert!(lists >= 40, "it looked at everything only {lists} times");
    assert_eq!(bench.api.ledger.revision().await.unwrap(), before, "renewals of the lease are no writes either");
    assert_eq!(bench.api.diary.all().len(), seen);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_source_is_no_news_of_the_gpus() {
    let mut bench = Bench::plays(&node(4)).await;
    bench.at(20).await;
    let seen = bench.api.diary.all().len();
    bench.restart().await;
    bench.at(120).await;
    let new = bench.api.diary.all().split_off(seen);
    assert!(new.is_empty(), "{new:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_others_did_to_an_object_is_put_right_at_the_next_resync() {
    let bench = Bench::plays(&node(2)).await;
    bench.at(20).await;
    let before = bench.gpu(0).await;
    let theirs =
        json!({"metadata": {"labels": {"nvidia.com/gpu.product": "toaster", "a": "b"}}, "spec": {"uuid": "x"}});
    bench.api.patch(&name(0), theirs).await;
    let lie = json!([{"type": "NVMLReady", "status": "False"}, {"type": "EccHealthy", "$patch": "delete"}]);
    bench.api.patch_status(&name(0), json!({"status": {"conditions": lie, "xids": [{"xid": 13}]}})).await;
    bench.at(20 + 33).await;
    let after = bench.gpu(0).await;
    assert_eq!(after.spec, before.spec);
    let mut labels = before.metadata.labels.clone();
    labels.insert("a".to_owned(), "b".to_owned());
    assert_eq!(after.metadata.labels, labels, "and what is theirs is left to them");
    for condition in &before.status.conditions {
        assert_eq!(on(&after, &condition.type_), format!("{} {}", condition.status, condition.reason));
    }
    assert_eq!(after.status.xids, before.status.xids);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_somebody_deleted_is_made_again_if_the_gpu_is_there() {
    let bench = Bench::plays(&node(2)).await;
    bench.at(20).await;
    let first = bench.gpu(1).await;
    bench.api.gpus.delete(&name(1), &DeleteParams::default()).await.unwrap();
    let second = bench.until(1, |_| true).await;
    assert_ne!(first.metadata.uid, second.metadata.uid);
    assert_eq!(first.status.device, second.status.device);
    assert!(bench.now() < seconds(20 + 31), "at the next resync: {:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_somebody_else_made_is_joined_whatever_the_case_of_its_names() {
    let mut bench = Bench::before_start(&node(1), |_| {}).await;
    let mut theirs = Gpu { metadata: ObjectMeta::named(uuid(0)), ..Gpu::default() };
    theirs.spec.uuid = name(0);
    theirs.metadata.labels.insert(MANAGED_BY.to_owned(), "somebody".to_owned());
    bench.api.gpus.create(&PostParams::default(), &theirs).await.unwrap();
    bench.start();
    let gpu = bench.until_on(0, "NVMLReady", "True Healthy").await;
    assert_eq!(gpu.metadata.labels[MANAGED_BY], "somebody");
    bench.until(0, |gpu| gpu.spec.uuid == uuid(0)).await;

    // It is one GPU for a source that starts, too, and however often its identity is written otherwise.
    let seen = bench.api.diary.all().len();
    for _ in 0..3 {
        bench.api.patch(&name(0), json!({"spec": {"uuid": name(0)}})).await;
        bench.restart().await;
        bench.until(0, |gpu| gpu.spec.uuid == uuid(0)).await;
    }
    tokio::time::sleep(seconds(65)).await;
    for entry in bench.api.diary.all().split_off(seen) {
        assert_eq!(health(&entry.gpu).verdict, Verdict::Healthy, "{entry:#?}");
    }
    assert_eq!(bench.api.names().await, [name(0)]);
}

#[tokio::test(start_paused = true)]
async fn an_object_of_the_same_name_in_another_namespace_is_another_object() {
    let mut bench = Bench::before_start(&node(1), |_| {}).await;
    let mut theirs = Gpu { metadata: ObjectMeta::named(name(0)), ..Gpu::default() };
    theirs.metadata.namespace = "theirs".to_owned();
    let theirs = bench.api.gpus.create(&PostParams::default(), &theirs).await.unwrap();
    bench.start();
    bench.until_on(0, "NVMLReady", "True Healthy").await;
    bench.at(100).await;
    assert_eq!(bench.api.gpus.namespaced("theirs").get(&name(0)).await.unwrap(), theirs);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_gpus_has_neither_objects_nor_a_lease() {
    let missing = step("0s", "fail", "call = \"init\", error = \"library_not_found\"");
    let bench = Bench::plays(&(node(1) + &missing)).await;
    bench.at(300).await;
    assert_eq!(bench.api.names().await, [""; 0]);
    assert_eq!(bench.api.leases.list().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_is_none_changes_nothing() {
    let bench = Bench::plays(&(node(1) + &step("5s", "xid", "gpu = 0, xid = 142"))).await;
    bench.until_on(0, "XidHealthy", "False Xid142").await;
    bench.api.patch(&name(0), json!({"metadata": {"annotations": {ACKNOWLEDGE_XIDS: "the red one"}}})).await;
    bench.at(120).await;
    let gpu = bench.gpu(0).await;
    assert_eq!(on(&gpu, "XidHealthy"), "False Xid142");
    assert_eq!(
        gpu.metadata.annotations[ACKNOWLEDGE_XIDS], "the red one",
        "or its author would believe that it was heeded"
    );
}
