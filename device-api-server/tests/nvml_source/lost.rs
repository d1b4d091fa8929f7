// SPDX-License-Identifier: Apache-2.0
//! A GPU that is lost is shown as lost, and costs the others nothing.

use device_api_core::health::Verdict;
use device_api_core::registry::DeleteParams;
use device_api_server::source::nvml::driver::DriverError;

use crate::bench::{Bench, action, name, node, on, seconds, step, xids};

fn lost_at(time: &str, slot: usize) -> String {
    step(time, "lost", &format!("gpu = {slot}"))
}

#[tokio::test(start_paused = true)]
async fn a_gpu_off_the_bus_stays_and_says_so_and_comes_back() {
    for listed in [true, false] {
        let lost = step("100s", "lost", &format!("gpu = 1, listed = {listed}"));
        let bench = Bench::plays(&(node(4) + &lost + &step("300s", "back", "gpu = 1"))).await;
        bench.at(90).await;
        let before = bench.gpu(1).await;
        let gpu = bench.until_on(1, "NVMLReady", "False GPULost").await;
        assert!(bench.now() < seconds(100 + 32), "at the next resync at the latest: {:?}", bench.now());
        assert_eq!(gpu.metadata.uid, before.metadata.uid);
        assert_eq!(gpu.status.device, before.status.device, "it is what it was");
        assert_eq!((on(&gpu, "XidHealthy"), action(&gpu)), ("Unknown GPULost".into(), "RESTART_BM"));
        bench.at(299).await;
        assert_eq!(on(&*bench.gpu(1).await, "NVMLReady"), "False GPULost", "for as long as it is");
        let gpu = bench.until_on(1, "NVMLReady", "True Recovered").await;
        assert!(bench.now() < seconds(300 + 32), "{:?}", bench.now());
        assert_eq!((gpu.metadata.uid.as_str(), action(&gpu)), (before.metadata.uid.as_str(), "-"));
        bench.at(340).await;
        assert_eq!(bench.verdicts(0..4).await, [Verdict::Healthy; 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_was_lost_while_the_source_was_down_is_shown_as_lost() {
    let mut bench = Bench::plays(&node(2)).await;
    bench.at(10).await;
    bench.restart_with(&(node(2) + &step("0s", "lost", "gpu = 1, listed = false"))).await;
    let gpu = bench.until_on(1, "NVMLReady", "False GPULost").await;
    assert!(gpu.status.device.as_ref().unwrap().serial.is_some());
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy, Verdict::Unhealthy]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_gpu_leaves_the_others_healthy_and_heard() {
    // One soon after the start, and two more soon after the first: each spoils the wait for the events of all.
    let steps = lost_at("5s", 1) + &lost_at("9s", 2) + &lost_at("200s", 3);
    let bench = Bench::plays(&(node(5) + &steps + &step("260s", "xid", "gpu = 4, xid = 119"))).await;
    for then in [20, 215] {
        bench.at(then).await;
        assert_eq!(bench.verdicts([0, 4]).await, [Verdict::Healthy; 2], "at {then} s");
    }
    bench.at(258).await;
    for slot in [0, 4] {
        let history = bench.api.diary.of_name(&name(slot));
        assert_eq!(history.len(), 1, "that others are off the bus is no news of it: {history:#?}");
    }
    assert_eq!(bench.verdicts(0..5).await[1..4], [Verdict::Unhealthy; 3]);
    bench.until_on(4, "XidHealthy", "False Xid119").await;
    assert!(bench.now() < seconds(261), "an event arrives at once: {:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_loss_makes_no_neighbour_well_before_its_driver_has_a_verdict() {
    // The driver is initialised anew because of the loss, and every GPU read again at once.
    let verdict = step("24s", "recovery_action", "gpu = 0, action = \"gpu_reset\"");
    let steps = step("20s", "xid", "gpu = 0, xid = 120") + &lost_at("20500ms", 1) + &verdict;
    let bench = Bench::plays(&(node(2) + &steps)).await;
    bench.at(60).await;
    let history = bench.api.diary.since(&name(0), seconds(21));
    let said: Vec<_> = history.iter().map(|entry| on(&entry.gpu, "XidHealthy")).collect();
    assert!(said.iter().all(|said| said == "False Xid120"), "{said:?}");
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid120");
}

#[tokio::test(start_paused = true)]
async fn where_a_lost_gpu_cannot_be_left_out_the_others_are_in_doubt_soon() {
    let bench = Bench::plays(&node(3)).await;
    bench.at(20).await;
    bench.driver.change(|faults| faults.waits_fail = Some(DriverError::GpuLost));
    bench.until_on(0, "XidHealthy", "Unknown NotSubscribed").await;
    assert!(bench.now() < seconds(20 + 16), "as soon as a wait that hangs: {:?}", bench.now());
    assert_eq!(bench.verdicts(0..3).await, [Verdict::Unknown; 3]);
    bench.driver.change(|faults| faults.waits_fail = None);
    bench.until_on(0, "XidHealthy", "True NoXid").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_because_of_one_gpu_says_nothing_of_the_others() {
    let failing = step("20s", "fail", "call = \"list\", error = \"gpu_lost\", for = \"100s\"");
    let bench = Bench::plays(&(node(3) + &failing + &step("60s", "xid", "gpu = 2, xid = 119"))).await;
    bench.until_on(2, "XidHealthy", "False Xid119").await;
    assert!(bench.now() < seconds(62), "{:?}", bench.now());
    bench.at(150).await;
    for slot in [0, 1] {
        assert_eq!(bench.api.diary.of_name(&name(slot)).len(), 1, "{slot}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_report_just_after_a_loss_is_heard() {
    let times = [0, 10, 30, 60, 100, 150, 200, 250, 500, 800];
    let reports: String = (0..)
        .zip(times)
        .map(|(slot, after)| step(&format!("{}ms", 20_000 + after), "xid", &format!("gpu = {slot}, xid = 119")))
        .collect();
    let bench = Bench::plays(&(node(11) + &step("20s", "lost", "gpu = 10") + &reports)).await;
    bench.at(60).await;
    for (slot, after) in times.into_iter().enumerate() {
        assert_eq!(xids(&*bench.gpu(slot).await).len(), 1, "{after} ms after the loss");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_is_long_lost_keeps_its_reason_when_another_one_cannot_be_named() {
    let bench = Bench::plays(&(node(3) + &step("20s", "lost", "gpu = 2, listed = false"))).await;
    bench.until_on(2, "NVMLReady", "False GPULost").await;
    bench.at(60).await;
    bench.driver.change(|faults| faults.nameless = Some((1, DriverError::ResetRequired)));
    bench.until_on(1, "NVMLReady", "False GPUResetRequired").await;
    bench.at(120).await;
    let gpu = bench.gpu(2).await;
    assert_eq!((on(&gpu, "NVMLReady"), action(&gpu)), ("False GPULost".into(), "RESTART_BM"));
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_nobody_can_name_is_not_claimed_to_be_lost() {
    let bench = Bench::plays(&node(2)).await;
    bench.at(20).await;
    let why = DriverError::Other { call: "nvmlDeviceGetUUID", why: "unknown error".to_owned() };
    bench.driver.change(|faults| faults.nameless = Some((1, why)));
    bench.until_on(1, "NVMLReady", "Unknown NVMLError").await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy, Verdict::Unknown]);
    bench.driver.change(|faults| faults.nameless = None);
    bench.until_on(1, "NVMLReady", "True Recovered").await;
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_lost_gpu_that_a_person_deletes_is_not_made_again() {
    let bench = Bench::plays(&(node(2) + &lost_at("100s", 1) + &step("400s", "back", "gpu = 1"))).await;
    bench.until_on(1, "NVMLReady", "False GPULost").await;
    bench.at(150).await;
    let then = bench.api.diary.now();
    bench.api.gpus.delete(&name(1), &DeleteParams::default()).await.unwrap();
    bench.at(399).await;
    let history = bench.api.diary.since(&name(1), then);
    assert_eq!(history.len(), 1, "it was deleted, and that is all: {history:#?}");
    bench.until_on(1, "NVMLReady", "True Healthy").await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_heeded_while_the_driver_is_away_and_after_a_restart() {
    let steps = lost_at("100s", 1) + &step("150s", "driver_unload", "");
    let mut bench = Bench::plays(&(node(2) + &steps)).await;
    bench.at(400).await;
    let then = bench.api.diary.now();
    bench.api.gpus.delete(&name(1), &DeleteParams::default()).await.unwrap();
    bench.at(500).await;
    bench.restart().await;
    bench.at(600).await;
    let history = bench.api.diary.since(&name(1), then);
    assert_eq!(history.len(), 1, "{history:#?}");
}
