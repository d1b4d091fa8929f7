// SPDX-License-Identifier: Apache-2.0
//! A storm of XIDs costs one write a second for each GPU, and delays nobody.

use std::time::Duration;

use crate::bench::{Bench, name, node, on, seconds, step, xids};
use crate::diary::Kind;

/// 10,000 XIDs of a GPU in the second from 5 s on.
fn storm(slot: usize) -> String {
    step("5s", "xid", &format!("gpu = {slot}, xid = 31, count = 10000, over = \"1s\""))
}

fn check_writes(bench: &Bench, slot: usize, most: usize) {
    let history = bench.api.diary.of_name(&name(slot));
    assert_eq!(history[0].kind, Kind::Added);
    for pair in history.windows(2) {
        assert!(pair[1].at - pair[0].at >= seconds(1), "two writes in a second: {pair:#?}");
    }
    assert!((2..=most).contains(&(history.len() - 1)), "{} writes", history.len() - 1);
}

#[tokio::test(start_paused = true)]
async fn a_storm_on_one_gpu_is_counted_exactly_in_one_write_a_second_and_delays_no_other_gpu() {
    let other = step("5500ms", "xid", "gpu = 1, xid = 119");
    let bench = Bench::plays(&(node(2) + &storm(0) + &other)).await;
    bench.until_on(1, "XidHealthy", "False Xid119").await;
    assert!(bench.now() < Duration::from_millis(5550), "at once: {:?}", bench.now());
    let gpu = bench.until(0, |gpu| xids(gpu) == [(31, 10_000, false)]).await;
    assert!(bench.now() < seconds(8), "{:?}", bench.now());
    let record = &gpu.status.xids[0];
    let lasted = record.last_seen.unwrap().since(record.first_seen.unwrap());
    assert!((Duration::from_millis(990)..=Duration::from_millis(1010)).contains(&lasted), "{lasted:?}");
    bench.at(60).await;
    check_writes(&bench, 0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_storm_on_sixteen_gpus_is_counted_exactly_in_one_write_a_second_for_each() {
    let storms: String = (0..16).map(storm).collect();
    let last = step("6s", "xid", "gpu = 15, xid = 119");
    let bench = Bench::plays(&(node(16) + &storms + &last)).await;
    bench.until_on(15, "XidHealthy", "False Xid119").await;
    assert!(bench.now() < Duration::from_millis(7_050), "a second after the write before it: {:?}", bench.now());
    for slot in 0..15 {
        bench.until(slot, |gpu| xids(gpu) == [(31, 10_000, false)]).await;
    }
    bench.until(15, |gpu| xids(gpu).contains(&(31, 10_000, false))).await;
    assert!(bench.now() < seconds(8), "{:?}", bench.now());
    bench.at(60).await;
    for slot in 0..15 {
        check_writes(&bench, slot, 3);
        assert_eq!(on(&*bench.gpu(slot).await, "XidHealthy"), "True NoXid");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_a_fault_asks_the_driver_no_more_than_once_a_second() {
    let storm = step("10s", "xid", "gpu = 0, xid = 119, count = 10000, over = \"10s\"");
    let bench = Bench::with(&(node(1) + &storm), |options| options.resync = seconds(3600)).await;
    bench.at(20).await;
    let asked = bench.driver.times("vitals", &crate::bench::uuid(0));
    assert!((5..=13).contains(&asked.len()), "{} times", asked.len());
    let gpu = bench.until(0, |gpu| xids(gpu) == [(119, 10_000, true)]).await;
    assert_eq!(on(&gpu, "XidHealthy"), "False Xid119");
}

#[tokio::test(start_paused = true)]
async fn many_different_xids_leave_the_last_32_and_never_push_out_one_that_stands() {
    let fatal = step("5s", "xid", "gpu = 0, xid = 79");
    let many: String = (0..200).map(|number| step("6s", "xid", &format!("gpu = 0, xid = {}", 1000 + number))).collect();
    let bench = Bench::plays(&(node(1) + &fatal + &many)).await;
    bench.at(10).await;
    let kept = xids(&*bench.gpu(0).await);
    assert_eq!(kept.len(), 32);
    assert!(kept.contains(&(79, 1, true)) && kept.last().unwrap().0 == 1199, "{kept:?}");
}
