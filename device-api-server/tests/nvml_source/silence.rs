// SPDX-License-Identifier: Apache-2.0
//! Silence is not health, and missing data is no fault. Three values everywhere.

use std::time::Duration;

use device_api_core::health::{Verdict, health};
use device_api_server::source::nvml::driver::DriverError;

use crate::bench::{Bench, action, name, node, on, seconds, step};

#[tokio::test(start_paused = true)]
async fn a_gpu_whose_events_cannot_be_had_is_not_healthy() {
    for error in ["no_permission", "other"] {
        let deaf = step("0s", "fail", &format!("call = \"subscribe\", gpu = 0, error = \"{error}\", for = \"60s\""));
        let bench = Bench::plays(&(node(2) + &deaf)).await;
        bench.at(20).await;
        let gpu = bench.gpu(0).await;
        assert_eq!(
            (on(&gpu, "NVMLReady"), on(&gpu, "XidHealthy")),
            ("True Healthy".into(), "Unknown NotSubscribed".into())
        );
        assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unknown, Verdict::Healthy]);
        bench.until_on(0, "XidHealthy", "True NoXid").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_never_reports_xids_is_judged_by_what_it_says_when_it_is_asked_and_says_so() {
    let mute = step("0s", "fail", "call = \"subscribe\", gpu = 0, error = \"not_supported\"");
    let steps = mute + &step("100s", "recovery_action", "gpu = 0, action = \"gpu_reset\"");
    let mut bench = Bench::plays(&(node(2) + &steps)).await;
    bench.at(20).await;
    let gpu = bench.gpu(0).await;
    assert_eq!((on(&gpu, "NVMLReady"), on(&gpu, "XidHealthy")), ("True NoXidReports".into(), "-".into()));
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy; 2]);
    let version = gpu.metadata.resource_version.clone();
    bench.restart().await;
    bench.at(90).await;
    assert_eq!(bench.gpu(0).await.metadata.resource_version, version, "a restart of the source is no news");
    bench.until_on(0, "ResetRequired", "True GpuReset").await;
    assert!(bench.now() < seconds(100 + 32), "at the next resync at the latest: {:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_was_heard_before_is_not_healthy_when_its_driver_says_that_it_cannot_be_heard() {
    let mute = step("22s", "fail", "call = \"subscribe\", gpu = 0, error = \"not_supported\", for = \"60s\"");
    let steps = step("20s", "driver_unload", "") + &mute + &step("25s", "driver_load", "");
    let bench = Bench::plays(&(node(2) + &steps)).await;
    bench.until_on(0, "XidHealthy", "Unknown NotReported").await;
    bench.at(70).await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unknown, Verdict::Healthy]);
    bench.until_on(0, "XidHealthy", "True NoXid").await;
}

#[tokio::test(start_paused = true)]
async fn no_gpu_is_healthy_while_no_wait_for_events_succeeds() {
    let broken = step("30s", "fail", "call = \"event\", error = \"other\", for = \"60s\"");
    let bench = Bench::plays(&(node(2) + &broken)).await;
    bench.at(33).await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unknown; 2]);
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "Unknown NotSubscribed");
    bench.until_on(0, "XidHealthy", "True NoXid").await;
    bench.until_on(1, "XidHealthy", "True NoXid").await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy; 2]);
}

#[tokio::test(start_paused = true)]
async fn no_gpu_is_healthy_for_a_moment_while_every_wait_for_events_says_that_one_is_lost() {
    let bench = Bench::plays(&node(2)).await;
    bench.at(20).await;
    bench.driver.change(|faults| faults.waits_fail = Some(DriverError::GpuLost));
    bench.until_on(0, "XidHealthy", "Unknown NotSubscribed").await;
    let then = bench.api.diary.now();
    bench.at(900).await;
    let history = bench.api.diary.since(&name(0), then);
    assert!(history.is_empty(), "it was initialised anew again and again, and no wait succeeded: {history:#?}");
    assert!(bench.driver.times("init", "").len() > 5);
    bench.driver.change(|faults| faults.waits_fail = None);
    bench.until_on(0, "XidHealthy", "True NoXid").await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_before_anything_was_subscribed_to_proves_nothing() {
    let bench = Bench::plays(&node(2)).await;
    bench.at(20).await;
    bench.driver.change(|faults| {
        faults.subscribed_waits_fail = Some(DriverError::GpuLost);
        faults.list_takes = Duration::from_millis(800);
    });
    bench.until_on(0, "XidHealthy", "Unknown NotSubscribed").await;
    let then = bench.api.diary.now();
    bench.at(600).await;
    let history = bench.api.diary.since(&name(0), then);
    assert!(history.is_empty(), "{history:#?}");
    assert!(bench.driver.times("init", "").len() > 5);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_a_gpu_that_was_not_looked_at_and_nothing_good_when_that_fails() {
    let failing = step("0s", "fail", "call = \"vitals\", gpu = 0, error = \"other\", for = \"60s\"");
    let bench = Bench::plays(&(node(2) + &failing)).await;
    bench.at(20).await;
    let gpu = bench.gpu(0).await;
    assert_eq!(on(&gpu, "NVMLReady"), "Unknown NVMLError");
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unknown, Verdict::Healthy]);
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    let history = bench.api.diary.of_name(&name(0));
    let claims = history.iter().filter(|entry| health(&entry.gpu).verdict == Verdict::Healthy).count();
    assert_eq!(claims, 1, "only the last one: {history:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_gpu_cannot_tell_is_neither_a_fault_nor_made_up() {
    let bench = Bench::plays("[node]\ngpus = 1\nproduct = \"rtx-4090\"\nrecovery_action = false\n").await;
    bench.at(100).await;
    let gpu = bench.gpu(0).await;
    let types: Vec<_> = gpu.status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["NVMLReady", "XidHealthy"]);
    assert_eq!((health(&gpu).verdict, action(&gpu)), (Verdict::Healthy, "-"));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_fails_is_unknown_and_not_false() {
    let failing = step("20s", "fail", "call = \"vitals\", gpu = 0, error = \"no_permission\", for = \"60s\"");
    let bench = Bench::plays(&(node(1) + &failing)).await;
    let gpu = bench.until_on(0, "NVMLReady", "Unknown NVMLError").await;
    for condition in &gpu.status.conditions {
        assert_eq!(condition.status.as_str(), "Unknown", "{condition:?}");
    }
    assert_eq!((health(&gpu).verdict, action(&gpu)), (Verdict::Unknown, "-"));
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert_eq!(bench.verdicts([0]).await, [Verdict::Healthy]);
}
