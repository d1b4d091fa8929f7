// SPDX-License-Identifier: Apache-2.0
//! What the driver's word is worth: it ends the XIDs that it speaks of, it is waited for where only the driver can say what an
//! XID means, and of others it says nothing.

use device_api_core::health::Verdict;
use device_api_core::resource::Gpu;

use crate::bench::{Bench, action, name, node, on, seconds, step, xids};

fn xid_healthy(bench: &Bench, slot: usize, since: u64) -> Vec<String> {
    let history = bench.api.diary.since(&name(slot), seconds(since));
    history.iter().map(|entry| on(&entry.gpu, "XidHealthy")).collect()
}

#[tokio::test(start_paused = true)]
async fn an_xid_of_which_the_driver_does_not_speak_stands_until_a_reset_was_seen() {
    let faults: String = [46, 119, 140]
        .iter()
        .enumerate()
        .map(|(slot, xid)| step("5s", "xid", &format!("gpu = {slot}, xid = {xid}")))
        .collect();
    // GPU 0 is reset, and nothing shows it; the driver asked for that of GPU 1.
    let resets = step("1800s", "reset", "gpu = 0")
        + &step("1800s", "recovery_action", "gpu = 1, action = \"gpu_reset\"")
        + &step("1900s", "reset", "gpu = 1");
    let bench = Bench::plays(&(node(3) + &faults + &resets)).await;
    bench.at(1799).await;
    for (slot, xid) in [46, 119, 140].into_iter().enumerate() {
        let gpu = bench.gpu(slot).await;
        assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu)), (format!("False Xid{xid}"), vec![(xid, 1, true)]));
        assert_eq!((on(&gpu, "ResetRequired"), action(&gpu)), ("True GpuReset".into(), "COMPONENT_RESET"));
        assert_eq!(xid_healthy(&bench, slot, 5).len(), 1, "and it stood all the while");
    }
    bench.until_on(1, "NVMLReady", "True Recovered").await;
    assert!(bench.now() > seconds(1900), "{:?}", bench.now());
    bench.at(3600).await;
    use Verdict::{Healthy, Unhealthy};
    assert_eq!(bench.verdicts(0..3).await, [Unhealthy, Healthy, Unhealthy]);
}

#[tokio::test(start_paused = true)]
async fn an_older_driver_speaks_of_fewer_xids() {
    for (version, expected) in [("580.95.05", "True NoXid"), ("565.57.01", "False Xid109")] {
        let fault = step("5s", "xid", "gpu = 0, xid = 109");
        let bench = Bench::plays(&(node(1) + &format!("driver_version = \"{version}\"\n") + &fault)).await;
        bench.at(300).await;
        assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), expected, "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_driver_that_is_loaded_meanwhile_is_known_by_its_version() {
    let fault = step("5s", "xid", "gpu = 0, xid = 109");
    let scenario = |version: &str| node(1) + &format!("driver_version = \"{version}\"\n");
    let mut bench = Bench::plays(&(scenario("565.57.01") + &fault)).await;
    bench.at(300).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid109");
    // The source did not see that it was loaded again: what it says is all that there is.
    bench.restart_with(&scenario("575.51.03")).await;
    bench.until_on(0, "NVMLReady", "True Recovered").await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_an_nvlink_that_needs_nothing_takes_no_gpu_away() {
    let product = "product = \"gb200\"\n";
    let faults: String = (0..7).map(|slot| step("5s", "xid", &format!("gpu = {slot}, xid = {}", 144 + slot))).collect();
    let bench = Bench::plays(&(node(7) + product + &faults)).await;
    bench.at(60).await;
    for slot in 0..7 {
        let xid = 144 + u32::try_from(slot).unwrap();
        let history = bench.api.diary.since(&name(slot), seconds(5));
        let said: Vec<_> = history.iter().map(|entry| on(&entry.gpu, "XidHealthy")).collect();
        assert_eq!(said.last().map(String::as_str), Some("True NoXid"));
        assert!(said.iter().all(|said| *said == format!("Unknown Xid{xid}") || said == "True NoXid"), "{said:?}");
        let well = |gpu: &Gpu| on(gpu, "NVMLReady").starts_with("True") && action(gpu) == "-";
        assert!(history.iter().all(|entry| well(&entry.gpu)), "{history:#?}");
        assert!(history.iter().all(|entry| entry.at < seconds(8)), "the next reading says so: {history:#?}");
        assert_eq!(xids(&*bench.gpu(slot).await), [(xid, 1, false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_an_nvlink_for_which_the_driver_wants_a_reset_stands_until_it_got_one() {
    let fault = step("5s", "xid", "gpu = 0, xid = 149")
        + &step("5s", "recovery_action", "gpu = 0, action = \"gpu_reset\"")
        + &step("90s", "reset", "gpu = 0");
    let bench = Bench::plays(&(node(1) + "product = \"gb200\"\n" + &fault)).await;
    let gpu = bench.until_on(0, "XidHealthy", "False Xid149").await;
    assert_eq!((on(&gpu, "ResetRequired"), action(&gpu)), ("True GpuReset".into(), "COMPONENT_RESET"));
    bench.at(89).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid149");
    let gpu = bench.until_on(0, "XidHealthy", "True NoXid").await;
    assert_eq!((on(&gpu, "NVMLReady"), action(&gpu)), ("True Recovered".into(), "-"));
}
