// SPDX-License-Identifier: Apache-2.0
//! MIG devices are GPUs of their own: they come and go with their GPU's division, and events that name an instance
//! mark that one alone.

use std::time::Duration;

use device_api_core::resource::Gpu;

use crate::bench::{Bench, action, name, node, on, seconds, step, uuid, xids};

/// The name of the MIG device of GPU 0 that is this GPU instance.
fn part(instance: u32) -> String {
    format!("mig-51500000-{instance:04x}-0000-8000-000000000000")
}

const SEVEN: &str =
    "gpu = 0, profiles = [\"1g.10gb\", \"1g.10gb\", \"1g.10gb\", \"1g.10gb\", \"1g.10gb\", \"1g.10gb\", \"1g.10gb\"]";

fn mig(gpu: &Gpu) -> (String, Option<u32>, Option<u32>, Option<String>) {
    let mig = gpu.status.device.clone().unwrap().mig.unwrap();
    (mig.parent_uuid, mig.gpu_instance_id, mig.compute_instance_id, mig.profile)
}

#[tokio::test(start_paused = true)]
async fn mig_devices_come_and_go_with_the_division_of_their_gpu() {
    let anew = step("60s", "mig_on", "gpu = 0, profiles = [\"3g.40gb\", \"1g.10gb\"]");
    let steps = step("20s", "mig_on", SEVEN) + &anew + &step("100s", "mig_off", "gpu = 0");
    let bench = Bench::plays(&(node(2) + &steps)).await;
    for instance in 7..14 {
        let gpu = bench.api.until(&part(instance), |gpu| on(gpu, "NVMLReady") == "True Healthy").await;
        assert_eq!(mig(&gpu), (uuid(0), Some(instance), Some(0), Some("1g.10gb".to_owned())));
        assert!(gpu.spec.uuid.starts_with("MIG-") && gpu.metadata.name == gpu.spec.uuid.to_ascii_lowercase());
        assert_eq!(on(&gpu, "XidHealthy"), "True NoXid");
    }
    assert!(bench.now() < seconds(22), "the event says so: {:?}", bench.now());
    let whole = bench.until(0, |gpu| gpu.status.device.as_ref().unwrap().mig_enabled == Some(true)).await;
    assert_eq!((on(&whole, "NVMLReady"), bench.api.names().await.len()), ("True Healthy".into(), 9));

    bench.api.until(&part(1), |gpu| mig(gpu).3.as_deref() == Some("3g.40gb")).await;
    for instance in 8..14 {
        bench.api.until_gone(&part(instance)).await;
    }
    assert!(bench.now() < seconds(63), "{:?}", bench.now());
    assert_eq!(bench.api.names().await, [name(0), name(1), part(1), part(7)]);

    for instance in [1, 7] {
        bench.api.until_gone(&part(instance)).await;
    }
    assert!(bench.now() < seconds(103), "{:?}", bench.now());
    bench.at(200).await;
    assert_eq!(bench.api.names().await, [name(0), name(1)]);
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_division_that_come_while_the_gpu_is_described_are_not_missed() {
    let first = step("20s", "mig_on", "gpu = 0, profiles = [\"1g.10gb\"]");
    let second = step("20050ms", "mig_on", SEVEN);
    let bench = Bench::plays(&(node(1) + &first + &second)).await;
    bench.at(10).await;
    bench.driver.change(|faults| faults.describe_takes = Duration::from_millis(200));
    for instance in 7..14 {
        bench.api.until(&part(instance), |gpu| on(gpu, "NVMLReady") == "True Healthy").await;
    }
    assert!(bench.now() < seconds(22), "not only at the next resync: {:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn an_xid_that_names_an_instance_marks_that_instance_alone() {
    let one = step("20s", "xid", "gpu = 0, xid = 95, gpu_instance = 9, compute_instance = 0");
    let bench = Bench::plays(&(node(1) + &step("5s", "mig_on", SEVEN) + &one)).await;
    bench.at(15).await;
    let gpu = bench.api.until(&part(9), |gpu| on(gpu, "XidHealthy") == "False Xid95").await;
    assert_eq!((on(&gpu, "NVMLReady"), action(&gpu)), ("False XidError".into(), "COMPONENT_RESET"));
    bench.at(25).await;
    for other in [7, 8, 10, 11, 12, 13] {
        let gpu = bench.api.gpus.get(&part(other)).await.unwrap();
        assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu), action(&gpu)), ("True NoXid".into(), vec![], "-"));
    }
    let whole = bench.gpu(0).await;
    assert_eq!((on(&whole, "XidHealthy"), on(&whole, "NVMLReady")), ("True NoXid".into(), "True Healthy".into()));
    assert_eq!(xids(&whole), [(95, 1, true)], "its history shows it");
    assert_eq!(whole.status.xids[0].gpu_instance_id, Some(9));
}

#[tokio::test(start_paused = true)]
async fn an_xid_that_names_no_instance_marks_the_gpu_and_all_its_parts() {
    let all = step("20s", "xid", "gpu = 0, xid = 79");
    let bench = Bench::plays(&(node(2) + &step("5s", "mig_on", SEVEN) + &all)).await;
    bench.until_on(0, "XidHealthy", "False Xid79").await;
    for instance in 7..14 {
        let gpu = bench.api.until(&part(instance), |gpu| on(gpu, "XidHealthy") == "False Xid79").await;
        assert_eq!(action(&gpu), "RESTART_BM");
    }
    assert_eq!(on(&*bench.gpu(1).await, "XidHealthy"), "True NoXid");
}

#[tokio::test(start_paused = true)]
async fn the_faults_of_instances_stand_over_a_restart_of_the_source() {
    let one = step("20s", "xid", "gpu = 0, xid = 95, gpu_instance = 9, compute_instance = 0");
    let old = "recovery_action = false\n".to_owned() + &step("5s", "mig_on", SEVEN) + &one;
    let mut bench = Bench::plays(&(node(1) + &old)).await;
    bench.api.until(&part(9), |gpu| on(gpu, "XidHealthy") == "False Xid95").await;
    bench.at(30).await;
    let seen = bench.api.diary.all().len();
    bench.restart().await;
    bench.at(200).await;
    let new = bench.api.diary.all().split_off(seen);
    assert!(new.is_empty(), "{new:#?}");
    assert_eq!(on(&bench.api.gpus.get(&part(9)).await.unwrap(), "XidHealthy"), "False Xid95");
}

#[tokio::test(start_paused = true)]
async fn mig_devices_whose_gpu_has_no_object_any_more_go_when_their_gpu_is_not_there() {
    let divided = node(2) + "mig = [\"3g.40gb\"]\n";
    let mut bench = Bench::plays(&divided).await;
    bench.at(10).await;
    assert_eq!(bench.api.names().await.len(), 4);
    bench.source.take().unwrap().kill().await;
    bench.api.gpus.delete(&name(0), &Default::default()).await.unwrap();
    let other = "[[gpu]]\nindex = 0\nuuid = \"GPU-12345678-0000-4000-8000-000000000000\"\n";
    bench.restart_with(&(divided + other)).await;
    bench.api.until_gone(&part(1)).await;
    bench.at(100).await;
    assert_eq!(bench.api.names().await.len(), 4);
}

/// The fault of an instance, and what becomes of the division after it, with a driver that tells nothing.
fn fault_then(after: &str) -> String {
    let one = step("20s", "xid", "gpu = 0, xid = 95, gpu_instance = 9, compute_instance = 0")
        + &step("20s", "xid", "gpu = 0, xid = 13, gpu_instance = 9, compute_instance = 0");
    node(1) + "recovery_action = false\n" + &step("5s", "mig_on", SEVEN) + &one + after
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_is_due_is_due_however_the_gpu_is_divided_meanwhile() {
    let three = step("40s", "mig_on", "gpu = 0, profiles = [\"3g.40gb\"]");
    for (after, parts) in [(step("40s", "mig_off", "gpu = 0"), vec![]), (three, vec![part(1)])] {
        let mut bench = Bench::plays(&fault_then(&after)).await;
        bench.at(39).await;
        assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "True NoXid");
        let whole = bench.until_on(0, "XidHealthy", "False Xid95").await;
        assert!(bench.now() < seconds(43), "{:?}", bench.now());
        assert_eq!((on(&whole, "ResetRequired"), action(&whole)), ("True GpuReset".into(), "COMPONENT_RESET"));
        bench.at(60).await;
        for name in &parts {
            let gpu = bench.api.gpus.get(name).await.unwrap();
            assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu)), ("False Xid95".into(), vec![(95, 1, true)]));
        }
        bench.restart().await;
        bench.at(200).await;
        assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid95", "over a restart, too");
        assert_eq!(bench.api.names().await.len(), 1 + parts.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_has_nothing_of_an_old_one_with_its_ids() {
    // Whole for a while, then divided as before: the UUIDs are the same.
    let anew = step("60s", "mig_off", "gpu = 0") + &step("120s", "mig_on", SEVEN);
    let bench = Bench::plays(&fault_then(&anew).replace("recovery_action = false\n", "")).await;
    bench.api.until(&part(9), |gpu| on(gpu, "NVMLReady") == "True Recovered").await;
    assert!(bench.now() < seconds(60), "the driver wants nothing done: {:?}", bench.now());
    bench.api.until_gone(&part(9)).await;
    bench.at(150).await;
    for instance in 7..14 {
        let gpu = bench.api.gpus.get(&part(instance)).await.unwrap();
        assert_eq!((on(&gpu, "NVMLReady"), xids(&gpu)), ("True Healthy".into(), vec![]), "{instance}");
    }
    assert_eq!(xids(&*bench.gpu(0).await), [(95, 1, false), (13, 1, false)], "the GPU's history has it");
}

#[tokio::test(start_paused = true)]
async fn an_xid_of_an_instance_that_nobody_knows_marks_the_gpu_and_all_its_parts() {
    for (division, named, objects) in [
        ("mig = [\"3g.40gb\", \"3g.40gb\"]\n", "gpu_instance = 9, compute_instance = 0", 3),
        ("mig = [\"3g.40gb\", \"3g.40gb\"]\n", "gpu_instance = 1, compute_instance = 5", 3),
        ("", "gpu_instance = 1, compute_instance = 0", 1),
    ] {
        let fault = step("20s", "xid", &format!("gpu = 0, xid = 95, {named}"));
        let bench = Bench::plays(&(node(1) + "recovery_action = false\n" + division + &fault)).await;
        bench.at(100).await;
        let names = bench.api.names().await;
        assert_eq!(names.len(), objects);
        for name in &names {
            let gpu = bench.api.gpus.get(name).await.unwrap();
            assert_eq!((on(&gpu, "XidHealthy"), action(&gpu)), ("False Xid95".into(), "COMPONENT_RESET"), "{named}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_xid_of_an_instance_that_can_have_no_object_marks_the_gpu() {
    let scenario =
        node(1) + "mig = [\"1g.10gb\", \"1g.10gb\"]\n" + &step("60s", "xid", "gpu = 0, xid = 95, gpu_instance = 7");
    let mut bench = Bench::before_start(&scenario, |_| {}).await;
    bench.driver.change(|faults| faults.old_parts = true);
    bench.start();
    bench.until_on(0, "XidHealthy", "True NoXid").await;
    assert_eq!(bench.api.names().await.len(), 1);
    bench.until_on(0, "XidHealthy", "False Xid95").await;
}
