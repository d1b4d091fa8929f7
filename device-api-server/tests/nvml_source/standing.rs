// SPDX-License-Identifier: Apache-2.0
//! A fatal XID stands until what cures it was seen, or a person says that it is dealt with.

use device_api_server::source::ACKNOWLEDGE_XIDS;
use serde_json::json;

use crate::bench::{Bench, action, name, node, on, seconds, step, xids};

/// A driver of before R565, which has no recovery action, whose GPU 0 reports an XID at 5 s.
fn old_driver(xid: u32) -> String {
    node(2) + "recovery_action = false\n" + &step("5s", "xid", &format!("gpu = 0, xid = {xid}"))
}

async fn acknowledge(bench: &Bench, slot: usize, text: &str) {
    bench.api.patch(&name(slot), json!({"metadata": {"annotations": {ACKNOWLEDGE_XIDS: text}}})).await;
}

#[tokio::test(start_paused = true)]
async fn a_fatal_xid_stands_over_a_restart_of_the_source() {
    for xid in [79, 119, 142] {
        let mut bench = Bench::plays(&old_driver(xid)).await;
        bench.until_on(0, "NVMLReady", "False XidError").await;
        bench.at(20).await;
        let seen = bench.api.diary.all().len();
        bench.restart().await;
        bench.at(300).await;
        let gpu = bench.gpu(0).await;
        assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu)), (format!("False Xid{xid}"), vec![(xid, 1, true)]));
        assert_ne!(action(&gpu), "-");
        let new = bench.api.diary.all().split_off(seen);
        assert!(new.is_empty(), "and it stood all the while: {new:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_xid_goes_with_a_new_boot_of_the_node() {
    let mut bench = Bench::plays(&old_driver(79)).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    let rebooted = node(2) + "recovery_action = false\nboot_id = \"another\"\n";
    bench.restart_with(&rebooted).await;
    let gpu = bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert_eq!((on(&gpu, "XidHealthy"), action(&gpu)), ("True NoXid".into(), "-"));
    assert_eq!(xids(&gpu), [(79, 1, false)]);
    assert!(bench.now() < seconds(10), "at once: {:?}", bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_the_driver_cures_what_a_reset_cures_and_no_more() {
    let reload = step("60s", "driver_unload", "") + &step("90s", "driver_load", "");
    let bench = Bench::plays(&(old_driver(119) + &step("5s", "xid", "gpu = 1, xid = 79") + &reload)).await;
    bench.at(59).await;
    for slot in [0, 1] {
        assert_eq!(on(&*bench.gpu(slot).await, "NVMLReady"), "False XidError");
    }
    bench.at(65).await;
    for slot in [0, 1] {
        let gpu = bench.gpu(slot).await;
        assert_eq!(on(&gpu, "NVMLReady"), "Unknown DriverNotLoaded");
        assert!(on(&gpu, "XidHealthy").starts_with("False Xid"), "what stands goes on standing");
    }
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    let gpu = bench.until_on(1, "NVMLReady", "False XidError").await;
    assert_eq!(on(&gpu, "XidHealthy"), "False Xid79");
}

#[tokio::test(start_paused = true)]
async fn a_library_that_was_not_found_for_a_while_is_no_reset() {
    let mut bench = Bench::plays(&old_driver(119)).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    // As a container whose mount comes late.
    let late = step("0s", "fail", "call = \"init\", error = \"library_not_found\", for = \"20s\"");
    bench.restart_with(&(node(2) + "recovery_action = false\n" + &late)).await;
    bench.until_on(0, "NVMLReady", "Unknown DriverNotLoaded").await;
    bench.until_on(1, "NVMLReady", "True Recovered").await;
    bench.at(200).await;
    let gpu = bench.gpu(0).await;
    assert_eq!((on(&gpu, "NVMLReady"), on(&gpu, "XidHealthy")), ("False XidError".into(), "False Xid119".into()));
}

#[tokio::test(start_paused = true)]
async fn a_person_says_that_it_is_dealt_with_and_the_annotation_goes_once_it_was_heeded() {
    let bench = Bench::plays(&(old_driver(79) + &step("5s", "xid", "gpu = 1, xid = 79"))).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    bench.until_on(1, "NVMLReady", "False XidError").await;
    acknowledge(&bench, 0, "48, 79").await;
    let gpu = bench.until_on(0, "NVMLReady", "True Recovered").await;
    assert!(bench.now() < seconds(5 + 31), "at the next resync: {:?}", bench.now());
    assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu)), ("True NoXid".into(), vec![(79, 1, false)]));
    let gpu = bench.until(0, |gpu| gpu.metadata.annotations.is_empty()).await;
    assert_eq!(on(&gpu, "NVMLReady"), "True Recovered");
    bench.at(120).await;
    assert_eq!(on(&*bench.gpu(1).await, "XidHealthy"), "False Xid79", "the others are not what was meant");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_of_the_xids_that_it_names_and_of_those_before_it() {
    let later = step("200s", "xid", "gpu = 0, xid = 79");
    let bench = Bench::plays(&(old_driver(79) + &step("6s", "xid", "gpu = 0, xid = 142") + &later)).await;
    bench.until(0, |gpu| xids(gpu) == [(79, 1, true), (142, 1, true)]).await;
    acknowledge(&bench, 0, "142").await;
    bench.until_on(0, "XidHealthy", "False Xid79").await;
    bench.until(0, |gpu| gpu.metadata.annotations.is_empty()).await;
    acknowledge(&bench, 0, "all").await;
    bench.until_on(0, "XidHealthy", "True NoXid").await;
    bench.at(205).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid79", "one that comes later stands");
}

#[tokio::test(start_paused = true)]
async fn a_fatal_xid_stands_even_if_somebody_writes_the_uuid_in_another_case_before_a_restart() {
    let mut bench = Bench::plays(&old_driver(79)).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    bench.at(20).await;
    bench.source.take().unwrap().end().await;
    bench.api.patch(&name(0), json!({"spec": {"uuid": name(0)}})).await;
    bench.start();
    let gpu = bench.until(0, |gpu| gpu.spec.uuid != name(0)).await;
    assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu)), ("False Xid79".into(), vec![(79, 1, true)]));
    bench.at(100).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid79");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_not_lost_when_the_object_is_written_before_it_was_seen() {
    let steps = step("60s", "xid", "gpu = 0, xid = 13") + &step("65s", "xid", "gpu = 0, xid = 13");
    let bench = Bench::plays(&(old_driver(79) + &steps)).await;
    bench.until(0, |gpu| xids(gpu) == [(79, 1, true), (13, 1, false)]).await;
    acknowledge(&bench, 0, "all").await;
    bench.until(0, |gpu| xids(gpu).contains(&(13, 2, false))).await;
    let gpu = bench.until(0, |gpu| gpu.metadata.annotations.is_empty()).await;
    assert_eq!(on(&gpu, "XidHealthy"), "True NoXid");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_heeded_while_the_driver_is_away() {
    let away = step("20s", "driver_unload", "");
    let bench = Bench::plays(&(old_driver(79) + &away)).await;
    bench.until_on(0, "NVMLReady", "Unknown DriverNotLoaded").await;
    // By now it is tried once a minute only.
    bench.at(400).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid79");
    acknowledge(&bench, 0, "all").await;
    let gpu = bench.until_on(0, "XidHealthy", "Unknown DriverNotLoaded").await;
    assert!(bench.now() < seconds(400 + 31), "at the next resync: {:?}", bench.now());
    assert_eq!(xids(&gpu), [(79, 1, false)]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_heeded_once_however_much_the_gpu_reports() {
    // So much that its status is to be written at any time.
    let storm = step("6s", "xid", "gpu = 0, xid = 31, count = 3000, over = \"300s\"");
    let later = step("100s", "xid", "gpu = 0, xid = 79");
    let bench = Bench::plays(&(old_driver(142) + &storm + &later)).await;
    bench.until_on(0, "XidHealthy", "False Xid142").await;
    acknowledge(&bench, 0, "all").await;
    let gpu = bench.until(0, |gpu| gpu.metadata.annotations.is_empty()).await;
    assert!(bench.now() < seconds(60), "{:?}: {gpu:?}", bench.now());
    bench.at(250).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "False Xid79", "what came later was not meant");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_heeded_where_somebody_writes_the_uuid_in_another_case() {
    let bench = Bench::plays(&old_driver(142)).await;
    bench.until_on(0, "XidHealthy", "False Xid142").await;
    let lower = json!({"spec": {"uuid": name(0)}, "metadata": {"annotations": {ACKNOWLEDGE_XIDS: "142"}}});
    bench.api.patch(&name(0), lower).await;
    bench.until(0, |gpu| gpu.metadata.annotations.is_empty()).await;
    assert_eq!(on(&*bench.gpu(0).await, "XidHealthy"), "True NoXid");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_late_when_the_source_starts_again_was_not_reloaded() {
    let mut bench = Bench::plays(&old_driver(119)).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    let late = step("0s", "driver_unload", "") + &step("20s", "driver_load", "");
    bench.restart_with(&(node(2) + "recovery_action = false\n" + &late)).await;
    bench.until_on(0, "NVMLReady", "Unknown DriverNotLoaded").await;
    let gpu = bench.until(0, |gpu| !on(gpu, "NVMLReady").starts_with("Unknown")).await;
    assert_eq!((on(&gpu, "NVMLReady"), on(&gpu, "XidHealthy")), ("False XidError".into(), "False Xid119".into()));
    assert_eq!(xids(&gpu), [(119, 1, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_library_of_another_version_is_no_reload() {
    let mismatch = step("60s", "fail", "call = \"vitals\", error = \"version_mismatch\", for = \"5s\"")
        + &step("60s", "fail", "call = \"init\", error = \"version_mismatch\", for = \"20s\"");
    let bench = Bench::plays(&(old_driver(119) + &mismatch)).await;
    bench.until_on(0, "NVMLReady", "False XidError").await;
    bench.at(200).await;
    let gpu = bench.gpu(0).await;
    assert_eq!((on(&gpu, "NVMLReady"), xids(&gpu)), ("False XidError".into(), vec![(119, 1, true)]));
}
