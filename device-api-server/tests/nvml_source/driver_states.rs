// SPDX-License-Identifier: Apache-2.0
//! A driver that is missing, not loaded or of another version, and one that is loaded again.

use device_api_core::health::Verdict;
use device_api_core::lease::LeaseVerbs as _;

use crate::bench::{Bench, name, node, on, seconds, step, uuid, xids};

#[tokio::test(start_paused = true)]
async fn gpus_that_were_known_are_unknown_while_the_driver_is_missing_and_recover_when_it_comes() {
    for error in ["library_not_found", "driver_not_loaded", "version_mismatch", "no_such_function"] {
        let mut bench = Bench::plays(&node(2)).await;
        bench.at(10).await;
        let missing = step("0s", "fail", &format!("call = \"init\", error = \"{error}\", for = \"200s\""));
        bench.restart_with(&(node(2) + &missing)).await;
        for slot in [0, 1] {
            let gpu = bench.until_on(slot, "NVMLReady", "Unknown DriverNotLoaded").await;
            for condition in &gpu.status.conditions {
                assert_eq!(on(&gpu, &condition.type_), "Unknown DriverNotLoaded");
            }
            assert!(gpu.status.device.is_some());
        }
        assert!(bench.now() < seconds(13), "{:?}", bench.now());
        assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unknown; 2]);
        assert_eq!(bench.api.leases.list().await.unwrap().len(), 1, "somebody stands for that");
        bench.until_on(0, "NVMLReady", "True Recovered").await;
        bench.until_on(1, "NVMLReady", "True Recovered").await;
        assert!(bench.now() < seconds(10 + 200 + 61), "{:?}", bench.now());
        assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn gpus_appear_when_the_driver_comes() {
    let late = step("0s", "driver_unload", "") + &step("100s", "driver_load", "");
    let bench = Bench::plays(&(node(2) + &late)).await;
    bench.at(99).await;
    assert_eq!(bench.api.names().await, [""; 0]);
    bench.until_on(0, "NVMLReady", "True Healthy").await;
    bench.until_on(1, "NVMLReady", "True Healthy").await;
}

#[tokio::test(start_paused = true)]
async fn the_driver_is_tried_again_after_a_second_and_up_to_a_minute_with_jitter() {
    let bench = Bench::plays(&(node(1) + &step("0s", "driver_unload", ""))).await;
    bench.at(600).await;
    let times = bench.driver.times("init", "");
    let pauses: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(pauses.len() > 12, "{pauses:?}");
    let longest = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0].into_iter().chain(std::iter::repeat(60.0));
    for (pause, longest) in pauses.iter().zip(longest) {
        assert!((longest * 0.89..=longest * 1.01).contains(pause), "{pauses:?}");
    }
    let minutes = &pauses[6..];
    assert!(minutes.iter().any(|pause| (pause - minutes[0]).abs() > 0.1), "they differ: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn gpus_are_matched_by_their_uuid_when_a_reload_lists_them_in_another_order() {
    let unload = step("30s", "driver_unload", "") + &step("45s", "reorder", "order = [3, 1, 0, 2]");
    let load = step("45s", "driver_load", "") + &step("120s", "xid", "gpu = 3, xid = 119");
    let bench = Bench::plays(&(node(4) + &unload + &load)).await;
    bench.at(25).await;
    let mut before = Vec::new();
    for slot in 0..4 {
        before.push(bench.gpu(slot).await);
    }
    bench.until_on(2, "NVMLReady", "Unknown DriverNotLoaded").await;
    assert!(bench.now() < seconds(32), "{:?}", bench.now());
    for (slot, index) in [(3, 0), (1, 1), (0, 2), (2, 3)] {
        let gpu = bench.until_on(slot, "NVMLReady", "True Recovered").await;
        let device = gpu.status.device.clone().unwrap();
        assert_eq!((gpu.spec.uuid.as_str(), &gpu.metadata.uid), (uuid(slot).as_str(), &before[slot].metadata.uid));
        assert_eq!((device.index, device.serial), (Some(index), before[slot].status.device.clone().unwrap().serial));
    }
    assert_eq!(bench.api.names().await.len(), 4);
    // Events are those of the GPU that has them, wherever it is listed.
    bench.at(122).await;
    for slot in 0..4 {
        let expected = if slot == 3 { vec![(119, 1, true)] } else { vec![] };
        assert_eq!(xids(&*bench.gpu(slot).await), expected, "{}", name(slot));
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_unloaded_while_nobody_asks_is_noticed_by_the_wait_for_events() {
    let reload = step("61s", "driver_unload", "") + &step("70s", "driver_load", "");
    let bench = Bench::with(&(node(2) + &reload), |options| options.resync = seconds(3600)).await;
    bench.until_on(0, "NVMLReady", "Unknown DriverNotLoaded").await;
    assert!(bench.now() < seconds(63), "{:?}", bench.now());
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    bench.until_on(1, "XidHealthy", "True NoXid").await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_told_late_lets_the_drivers_word_end_what_it_speaks_of() {
    let fault = step("60s", "xid", "gpu = 0, xid = 120");
    let mut bench = Bench::before_start(&(node(1) + &fault), |_| {}).await;
    bench.driver.change(|faults| faults.hides_version = true);
    bench.start();
    bench.until_on(0, "XidHealthy", "False Xid120").await;
    bench.until_on(0, "XidHealthy", "True NoXid").await;
}
