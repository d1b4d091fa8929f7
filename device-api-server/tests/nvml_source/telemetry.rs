// SPDX-License-Identifier: Apache-2.0
//! Telemetry comes at its own slow period, and the health path never writes because of it.

use device_api_core::resource::GpuTelemetry;

use crate::bench::{Bench, name, node, on, seconds, step};

#[tokio::test(start_paused = true)]
async fn there_is_no_telemetry_unless_it_was_asked_for() {
    let bench = Bench::plays(&node(2)).await;
    bench.at(300).await;
    assert_eq!(bench.gpu(0).await.status.telemetry, None);
    assert!(bench.driver.calls().iter().all(|call| call.name != "telemetry"));
}

#[tokio::test(start_paused = true)]
async fn telemetry_is_written_once_a_period_and_says_when_it_was_sampled() {
    let bench = Bench::with(&node(2), |options| options.telemetry = Some(seconds(60))).await;
    bench.at(10).await;
    let then = bench.api.diary.now();
    bench.at(10 + 600).await;
    let history = bench.api.diary.since(&name(0), then);
    assert!((9..=12).contains(&history.len()), "{} writes in ten minutes", history.len());
    for pair in history.windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!((seconds(53)..=seconds(61)).contains(&pause), "{pause:?}");
        let sampled = |index: usize| pair[index].gpu.status.telemetry.as_ref().unwrap().sampled_at.unwrap();
        assert!(sampled(1).since(sampled(0)) >= seconds(53));
        assert_eq!(pair[0].gpu.status.conditions, pair[1].gpu.status.conditions);
    }
    let telemetry = bench.gpu(0).await.status.telemetry.clone().unwrap();
    assert_ne!(GpuTelemetry { sampled_at: None, ..telemetry }, GpuTelemetry::default());
}

#[tokio::test(start_paused = true)]
async fn health_does_not_wait_for_telemetry_nor_take_fresh_samples_along() {
    let fault = step("100s", "xid", "gpu = 0, xid = 119");
    let bench = Bench::with(&(node(1) + &fault), |options| options.telemetry = Some(seconds(3600))).await;
    bench.at(99).await;
    let before = bench.gpu(0).await;
    assert!(before.status.telemetry.is_some());
    let after = bench.until_on(0, "XidHealthy", "False Xid119").await;
    assert!(bench.now() < seconds(101), "{:?}", bench.now());
    assert_eq!(before.status.telemetry, after.status.telemetry);
    assert_eq!(on(&after, "NVMLReady"), "False XidError");
}

#[tokio::test(start_paused = true)]
async fn mig_devices_have_no_telemetry_of_their_own() {
    let divided = "[node]\ngpus = 1\nmig = [\"3g.40gb\"]\n";
    let bench = Bench::with(divided, |options| options.telemetry = Some(seconds(5))).await;
    bench.at(60).await;
    assert!(bench.gpu(0).await.status.telemetry.is_some());
    let names = bench.api.names().await;
    let part = names.iter().find(|name| name.starts_with("mig-")).unwrap();
    assert_eq!(bench.api.gpus.get(part).await.unwrap().status.telemetry, None);
    assert_eq!(bench.api.diary.of_name(part).len(), 1, "and no writes because of their GPU's");
}
