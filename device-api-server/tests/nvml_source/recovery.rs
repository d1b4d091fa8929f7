// SPDX-License-Identifier: Apache-2.0
//! What is well again is said to be well again: no GPU stays unhealthy for ever, and none is so for a trifle.

use device_api_core::health::Verdict;
use tokio::time::Instant;

use crate::bench::{Bench, action, name, node, on, seconds, step, uuid, xids};

/// A GPU that needs a reset at 5 s, and gets it at `reset`.
fn reset_at(reset: &str) -> String {
    let fault = step("5s", "xid", "gpu = 0, xid = 120");
    let verdict = step("5s", "recovery_action", "gpu = 0, action = \"gpu_reset\"");
    node(2) + &fault + &verdict + &step(reset, "reset", "gpu = 0")
}

#[tokio::test(start_paused = true)]
async fn a_gpu_comes_back_by_itself_once_the_driver_wants_nothing_done() {
    let bench = Bench::plays(&reset_at("90s")).await;
    let gpu = bench.until_on(0, "ResetRequired", "True GpuReset").await;
    assert!(bench.now() < seconds(8), "a fault is looked at soon: {:?}", bench.now());
    assert_eq!((on(&gpu, "XidHealthy"), on(&gpu, "NVMLReady")), ("False Xid120".into(), "False XidError".into()));
    assert_eq!(action(&gpu), "COMPONENT_RESET");

    bench.at(89).await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Unhealthy, Verdict::Healthy]);
    let gpu = bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert!(bench.now() < seconds(90 + 61 + 61), "two readings, a minute apart at most: {:?}", bench.now());
    assert_eq!(
        (on(&gpu, "XidHealthy"), on(&gpu, "ResetRequired")),
        ("True NoXid".into(), "False RecoveryActionNone".into())
    );
    assert_eq!((action(&gpu), xids(&gpu)), ("-", vec![(120, 1, false)]));
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_looked_at_every_ten_seconds_and_less_often_up_to_a_minute_the_longer_it_stands() {
    let bench = Bench::with(&reset_at("20m"), |options| options.resync = seconds(3600)).await;
    bench.at(400).await;
    let times = bench.driver.times("vitals", &uuid(0));
    // The first two are of the start and of the fault itself.
    let pauses: Vec<_> = times[2..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(pauses.len() >= 6, "{pauses:?}");
    for (pause, longest) in pauses.iter().zip([10.0, 20.0, 40.0, 60.0, 60.0, 60.0]) {
        assert!((longest * 0.89..=longest * 1.01).contains(pause), "{pauses:?}");
    }
    assert_eq!(bench.driver.times("vitals", &uuid(1)).len(), 1, "the others are looked at at a resync");
}

#[tokio::test(start_paused = true)]
async fn what_a_gpu_says_again_makes_it_be_looked_at_often_again() {
    let again = step("500s", "xid", "gpu = 0, xid = 120");
    let bench = Bench::with(&(reset_at("250s") + &again), |options| options.resync = seconds(3600)).await;
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert!(bench.now() < seconds(250 + 121), "two readings, a minute apart at most: {:?}", bench.now());
    bench.at(501).await;
    let gpu = bench.gpu(0).await;
    assert_eq!((on(&gpu, "NVMLReady"), xids(&gpu)), ("False XidError".into(), vec![(120, 2, true)]));
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert!(bench.now() < seconds(500 + 12), "the driver wants nothing done: {:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_began_before_an_xid_does_not_count_as_one_after_it() {
    let bench = Bench::plays(&(node(1) + &step("62s", "xid", "gpu = 0, xid = 120"))).await;
    bench.at(20).await;
    bench.driver.change(|faults| faults.vitals_take = seconds(8));
    let gpu = bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert_eq!(xids(&gpu), [(120, 1, false)]);
    let after = bench.driver.times("vitals", &uuid(0)).into_iter().filter(|at| *at > bench.moment(62));
    let before = after.filter(|at| *at + seconds(8) <= Instant::now()).count();
    assert!(before >= 2, "two that began after it: {before}");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_takes_a_moment_for_its_verdict_makes_no_gpu_well_meanwhile() {
    // Around the first resync, which makes two readings come close upon each other.
    let mut faults: Vec<_> = (0..16)
        .flat_map(|slot| {
            let at = 24_000 + 500 * slot;
            let verdict = format!("gpu = {slot}, action = \"gpu_reset\"");
            [(at, "xid", format!("gpu = {slot}, xid = 120")), (at + 4_000, "recovery_action", verdict)]
        })
        .collect();
    faults.sort();
    let faults: String = faults.iter().map(|(at, event, keys)| step(&format!("{at}ms"), event, keys)).collect();
    let bench = Bench::plays(&(node(16) + &faults)).await;
    bench.at(100).await;
    for slot in 0..16 {
        let history = bench.api.diary.since(&name(slot), seconds(24));
        let said: Vec<_> = history.iter().map(|entry| on(&entry.gpu, "XidHealthy")).collect();
        assert!(!said.is_empty() && said.iter().all(|said| said == "False Xid120"), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_keeps_failing_delays_no_recovery() {
    let storm = step("4s", "xid", "gpu = 0, xid = 31, count = 20000, over = \"200s\"");
    let bench = Bench::plays(&reset_at("30s").replacen("[[at]]", &(storm + "[[at]]"), 1)).await;
    bench.driver.change(|faults| faults.vitals_take = std::time::Duration::from_millis(200));
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert!(bench.now() < seconds(30 + 75), "{:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn the_conditions_move_their_times_only_with_their_status() {
    let bench = Bench::plays(&reset_at("60s")).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    let history = bench.api.diary.of_name(&name(0));
    assert!(history.len() >= 3);
    let mut moved = 0;
    for pair in history.windows(2) {
        for new in &pair[1].gpu.status.conditions {
            let old = pair[0].gpu.status.conditions.iter().find(|old| old.type_ == new.type_).unwrap();
            assert_eq!(old.status != new.status, old.last_transition_time != new.last_transition_time, "{new:?}");
            moved += u32::from(old.status != new.status);
        }
    }
    assert!(moved >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_contained_error_leaves_the_gpu_and_a_fatal_one_takes_it_away() {
    let contained = step("5s", "ecc_uncorrected", "gpu = 0") + &step("5s", "xid", "gpu = 0, xid = 94");
    let fatal = step("5s", "xid", "gpu = 1, xid = 79");
    let application = step("5s", "xid", "gpu = 2, xid = 31, count = 50");
    let ignored = step("5s", "xid", "gpu = 3, xid = 63");
    let bench = Bench::plays(&(node(4) + &contained + &fatal + &application + &ignored)).await;
    bench.at(7).await;
    use Verdict::{Healthy, Unhealthy};
    assert_eq!(bench.verdicts(0..4).await, [Healthy, Unhealthy, Healthy, Healthy]);
    assert_eq!(action(&*bench.gpu(1).await), "RESTART_BM");
    for (slot, expected) in [(0, (94, 1, false)), (1, (79, 1, true)), (2, (31, 50, false)), (3, (63, 1, false))] {
        let gpu = bench.gpu(slot).await;
        assert_eq!(xids(&gpu), [expected], "a person sees it without logs");
        assert_eq!(action(&gpu) == "-", slot != 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_recommended_action_is_that_of_the_worst_that_stands() {
    let first = step("5s", "xid", "gpu = 0, xid = 120");
    let second = step("10s", "xid", "gpu = 0, xid = 142");
    let bench = Bench::plays(&(node(1) + &first + &second)).await;
    bench.until(0, |gpu| action(gpu) == "COMPONENT_RESET").await;
    let gpu = bench.until(0, |gpu| action(gpu) == "CONTACT_SUPPORT").await;
    assert_eq!(on(&gpu, "XidHealthy"), "False Xid142");
    assert_eq!(xids(&gpu), [(120, 1, true), (142, 1, true)]);
}
