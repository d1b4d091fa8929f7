// SPDX-License-Identifier: Apache-2.0
//! A call that hangs is noticed within 15 seconds, and the other GPUs stay right.

use std::time::Duration;

use device_api_core::health::Verdict;
use tokio::time::Instant;

use crate::bench::{Bench, name, node, on, seconds, step, uuid, xids};

/// How soon after it was made a call that hangs is noticed.
const NOTICED: Duration = Duration::from_secs(15);

/// The first call of this name about this GPU from `then` on.
fn first_call(bench: &Bench, name: &str, uuid: &str, then: Instant) -> Instant {
    bench.driver.times(name, uuid).into_iter().find(|at| *at >= then).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_gpu_whose_calls_hang_is_unknown_in_time_while_the_others_are_right_and_heard_at_once() {
    for call in ["vitals", "describe"] {
        let hang = step("60s", "hang", &format!("call = \"{call}\", gpu = 1, for = \"300s\""));
        let heard = step("110s", "xid", "gpu = 2, xid = 119") + &step("110s", "xid", "gpu = 1, xid = 13");
        let bench = Bench::plays(&(node(3) + &hang + &heard)).await;
        bench.at(60).await;
        let then = Instant::now();
        let gpu = bench.until_on(1, "NVMLReady", "Unknown NVMLHung").await;
        assert!(first_call(&bench, call, &uuid(1), then).elapsed() <= NOTICED, "{call}: {:?}", bench.now());
        assert_eq!(on(&gpu, "XidHealthy"), "Unknown NVMLHung");

        bench.at(109).await;
        assert_eq!(bench.verdicts(0..3).await, [Verdict::Healthy, Verdict::Unknown, Verdict::Healthy]);
        bench.until_on(2, "XidHealthy", "False Xid119").await;
        bench.until(1, |gpu| xids(gpu) == [(13, 1, false)]).await;
        assert!(bench.now() < seconds(110) + Duration::from_millis(50), "{:?}", bench.now());
        assert_eq!(on(&*bench.gpu(1).await, "NVMLReady"), "Unknown NVMLHung");

        bench.until_on(1, "NVMLReady", "True Recovered").await;
        assert!(bench.now() < seconds(360 + 75), "{:?}", bench.now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_hangs_is_noticed_in_time_and_the_other_gpus_are_found() {
    let hang = step("0s", "hang", "call = \"subscribe\", gpu = 1, for = \"100s\"");
    let bench = Bench::plays(&(node(3) + &hang)).await;
    bench.until_on(0, "NVMLReady", "True Healthy").await;
    bench.until_on(2, "NVMLReady", "True Healthy").await;
    assert!(bench.now() < seconds(2), "{:?}", bench.now());
    bench.until_on(1, "NVMLReady", "Unknown NVMLHung").await;
    assert!(bench.now() < NOTICED, "{:?}", bench.now());
    bench.until_on(1, "NVMLReady", "True Recovered").await;
    bench.until_on(1, "XidHealthy", "True NoXid").await;
}

#[tokio::test(start_paused = true)]
async fn measurements_that_hang_take_no_health_away() {
    let hang = step("60s", "hang", "call = \"telemetry\", gpu = 1");
    let bench = Bench::with(&(node(2) + &hang), |options| options.telemetry = Some(seconds(5))).await;
    bench.at(200).await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_init_that_hangs_is_noticed_in_time_and_what_was_known_is_unknown_until_it_returns() {
    let mut bench = Bench::plays(&node(2)).await;
    bench.at(10).await;
    bench.restart_with(&(node(2) + &step("0s", "hang", "call = \"init\", for = \"120s\""))).await;
    for slot in [0, 1] {
        bench.until_on(slot, "NVMLReady", "Unknown NVMLHung").await;
        assert!(bench.now() < seconds(10) + NOTICED, "{:?}", bench.now());
    }
    for slot in [0, 1] {
        bench.until_on(slot, "NVMLReady", "True Recovered").await;
        bench.until_on(slot, "XidHealthy", "True NoXid").await;
    }
    assert!(bench.now() < seconds(130 + 75), "{:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_events_that_hangs_is_noticed_in_time_and_over_when_it_returns() {
    let bench = Bench::plays(&(node(2) + &step("60s", "hang", "call = \"event\", for = \"120s\""))).await;
    bench.at(60).await;
    for slot in [0, 1] {
        let gpu = bench.until_on(slot, "NVMLReady", "Unknown NVMLHung").await;
        assert!(bench.now() <= seconds(60) + NOTICED, "{:?}", bench.now());
        assert!(on(&gpu, "XidHealthy").starts_with("Unknown"));
    }
    bench.at(179).await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unknown; 2], "for as long as it hangs");
    for slot in [0, 1] {
        bench.until_on(slot, "NVMLReady", "True Recovered").await;
        bench.until_on(slot, "XidHealthy", "True NoXid").await;
    }
    assert!(bench.now() < seconds(180 + 30), "{:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_events_that_hangs_after_many_that_failed_is_noticed_in_time_too() {
    let failing = step("30s", "fail", "call = \"event\", error = \"other\", for = \"90s\"");
    let bench = Bench::plays(&(node(1) + &failing + &step("120s", "hang", "call = \"event\""))).await;
    bench.until_on(0, "XidHealthy", "Unknown NotSubscribed").await;
    bench.at(120).await;
    let then = Instant::now();
    bench.until_on(0, "NVMLReady", "Unknown NVMLHung").await;
    assert!(first_call(&bench, "event", "", then).elapsed() <= NOTICED, "{:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_at_the_start_is_noticed_in_time() {
    let mut bench = Bench::plays(&node(2)).await;
    bench.at(10).await;
    bench.restart_with(&(node(2) + &step("0s", "hang", "call = \"list\", for = \"120s\""))).await;
    bench.until_on(0, "NVMLReady", "Unknown NVMLHung").await;
    assert!(bench.now() < seconds(10) + NOTICED, "{:?}", bench.now());
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    bench.until_on(1, "NVMLReady", "True Recovered").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_on_one_gpu_says_nothing_of_those_that_answer() {
    let hang = step("60s", "hang", "call = \"list\", for = \"300s\"")
        + &step("60s", "hang", "call = \"vitals\", gpu = 1, for = \"300s\"");
    let bench = Bench::plays(&(node(3) + &hang + &step("200s", "xid", "gpu = 2, xid = 119"))).await;
    bench.at(60).await;
    let then = Instant::now();
    bench.until_on(1, "NVMLReady", "Unknown NVMLHung").await;
    assert!(first_call(&bench, "vitals", &uuid(1), then).elapsed() <= NOTICED, "{:?}", bench.now());
    bench.at(199).await;
    assert_eq!(bench.verdicts(0..3).await, [Verdict::Healthy, Verdict::Unknown, Verdict::Healthy]);
    bench.until_on(2, "XidHealthy", "False Xid119").await;
    assert!(bench.now() < seconds(201), "{:?}", bench.now());
    bench.until_on(1, "NVMLReady", "True Recovered").await;
    let of_the_first = bench.api.diary.since(&name(0), seconds(60));
    assert!(of_the_first.is_empty(), "nothing happened to it: {of_the_first:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_while_a_lost_gpu_spoils_the_waits_leaves_the_others_known() {
    let steps = step("60s", "lost", "gpu = 1")
        + &step("60s", "hang", "call = \"list\", for = \"300s\"")
        + &step("60s", "hang", "call = \"init\", for = \"300s\"");
    let bench = Bench::plays(&(node(3) + &steps)).await;
    bench.at(61).await;
    let then = bench.api.diary.now();
    bench.at(359).await;
    let history = bench.api.diary.since(&name(0), then);
    assert!(history.iter().all(|entry| on(&entry.gpu, "NVMLReady") == "True Healthy"), "{history:#?}");
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "Unknown NotSubscribed");
    bench.until_on(0, "XidHealthy", "True NoXid").await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_source_is_not_delayed_by_a_call_that_hangs() {
    for call in ["init", "list", "describe", "vitals", "subscribe", "event"] {
        let hang = step("0s", "hang", &format!("call = \"{call}\""));
        let mut bench = Bench::plays(&(node(2) + &hang)).await;
        for then in [5, 60] {
            bench.at(then).await;
            bench.source.take().unwrap().end().await;
            assert!(bench.now() < seconds(then + 2), "{call}: {:?}", bench.now());
            bench.start();
        }
    }
}
