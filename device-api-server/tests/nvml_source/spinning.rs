// SPDX-License-Identifier: Apache-2.0
//! Whatever NVML returns, and for however long, the source does not spin.

use device_api_server::source::nvml::driver::DriverError;
use tokio::time::Instant;

use crate::bench::{Bench, node, seconds, step};

const CALLS: [&str; 7] = ["init", "list", "describe", "vitals", "telemetry", "subscribe", "event"];

const ERRORS: [&str; 12] = [
    "library_not_found",
    "no_such_function",
    "driver_not_loaded",
    "version_mismatch",
    "uninitialized",
    "gpu_lost",
    "reset_required",
    "not_found",
    "not_supported",
    "no_permission",
    "hung",
    "other",
];

/// How many calls the source makes in a minute, when it has been running for one, and for ten. Jitter makes them up to half as
/// many again as usual; a source that spins makes thousands.
async fn calls_in_a_minute(bench: &Bench) -> [usize; 2] {
    let mut calls = [0; 2];
    for (calls, then) in calls.iter_mut().zip([60, 600]) {
        bench.at(then).await;
        let began = Instant::now();
        bench.at(then + 60).await;
        *calls = bench.driver.count_since(began);
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn a_quiet_node_is_asked_little() {
    let bench = Bench::plays(&node(4)).await;
    for calls in calls_in_a_minute(&bench).await {
        // Twelve waits for events, and two or three looks at four GPUs.
        assert!((15..=60).contains(&calls), "{calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_for_ever_are_made_a_bounded_number_of_times() {
    // From the start, and once all is set up.
    for time in ["0s", "1s"] {
        for call in CALLS {
            for error in ERRORS {
                let failing = step(time, "fail", &format!("call = \"{call}\", error = \"{error}\""));
                let bench = Bench::with(&(node(4) + &failing), |options| options.telemetry = Some(seconds(30))).await;
                let calls = calls_in_a_minute(&bench).await;
                assert!(calls[0] <= 165 && calls[1] <= 120, "{call} fails with {error}: {calls:?} calls a minute");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn gpus_that_are_lost_for_ever_cost_little() {
    for listed in [true, false] {
        let lost: String = (0..4).map(|slot| step("5s", "lost", &format!("gpu = {slot}, listed = {listed}"))).collect();
        let bench = Bench::plays(&(node(4) + &lost)).await;
        let calls = calls_in_a_minute(&bench).await;
        assert!(calls[0] <= 90 && calls[1] <= 60, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_events_that_returns_at_once_does_not_make_the_source_spin() {
    let bench = Bench::plays(&node(4)).await;
    bench.at(10).await;
    for why in [None, Some(DriverError::GpuLost), Some(DriverError::NotSupported)] {
        bench.driver.change(|faults| (faults.waits_return_at_once, faults.waits_fail) = (true, why.clone()));
        // A lost GPU costs a few initialisations at first.
        for (lasts, most) in [(120, 525), (600, 1_050), (60, 150)] {
            let (began, until) = (Instant::now(), bench.now().as_secs() + lasts);
            bench.at(until).await;
            let calls = bench.driver.count_since(began);
            assert!(calls <= most, "{why:?}: {calls} calls in {lasts} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_for_ever_are_made_a_bounded_number_of_times() {
    for call in CALLS {
        let hang = step("1s", "hang", &format!("call = \"{call}\""));
        let bench = Bench::with(&(node(4) + &hang), |options| options.telemetry = Some(seconds(30))).await;
        let calls = calls_in_a_minute(&bench).await;
        assert!(calls.iter().all(|calls| *calls <= 135), "{call} hangs: {calls:?} calls a minute");
    }
}
