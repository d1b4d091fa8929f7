// SPDX-License-Identifier: Apache-2.0
//! Life beside others: leases, two providers on one GPU, two sources on one API.

use std::sync::Arc;

use device_api_core::health::{Verdict, health};
use device_api_core::lease::{LeaseState, LeaseVerbs as _, PROVIDER_LOST};
use device_api_core::resource::Gpu;
use serde_json::json;

use crate::bench::{Bench, Source, action, name, node, on, seconds, step, xids};

#[tokio::test(start_paused = true)]
async fn the_source_holds_a_lease_on_its_condition_types_and_renews_it_without_a_write() {
    let bench = Bench::plays(&node(1)).await;
    bench.at(300).await;
    let leases = bench.api.leases.list().await.unwrap();
    let [lease] = leases.as_slice() else { panic!("{leases:?}") };
    assert_eq!((lease.name.as_str(), lease.state, lease.duration), ("nvml", LeaseState::Held, seconds(30)));
    assert!(lease.renewed_at.since(lease.acquired_at) >= seconds(280), "{lease:?}");
    let gpu = bench.gpu(0).await;
    for condition in &gpu.status.conditions {
        assert!(lease.condition_types.contains(&condition.type_), "{condition:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_source_said_is_unknown_when_its_lease_expires_and_the_next_source_puts_it_right() {
    let old = "recovery_action = false\n".to_owned() + &step("5s", "xid", "gpu = 1, xid = 79");
    let mut bench = Bench::plays(&(node(2) + &old)).await;
    bench.until_on(1, "XidHealthy", "False Xid79").await;
    bench.at(60).await;
    bench.source.take().unwrap().kill().await;
    for slot in [0, 1] {
        let gpu = bench.until_on(slot, "NVMLReady", &format!("Unknown {PROVIDER_LOST}")).await;
        for condition in &gpu.status.conditions {
            assert_eq!(on(&gpu, &condition.type_), format!("Unknown {PROVIDER_LOST}"));
        }
    }
    assert!((seconds(79)..seconds(92)).contains(&bench.now()), "30 s after the last renewal: {:?}", bench.now());
    let seen = bench.api.diary.all().len();
    bench.at(200).await;
    assert_eq!(bench.api.diary.all().len(), seen, "each is told once");

    bench.start();
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    let gpu = bench.until_on(1, "NVMLReady", "False XidError").await;
    assert_eq!((on(&gpu, "XidHealthy"), xids(&gpu)), ("False Xid79".into(), vec![(79, 1, true)]));
    assert!(bench.now() < seconds(203), "{:?}", bench.now());
    bench.at(400).await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy, Verdict::Unhealthy]);
}

/// What another provider says of a GPU.
async fn others_say(bench: &Bench, slot: usize) {
    let main = json!({"metadata": {"labels": {"team": "blue"}, "annotations": {"ticket": "4711"}}});
    bench.api.patch(&name(slot), main).await;
    let conditions = json!([
        {"type": "GpuThermalWatch", "status": "True", "reason": "Hot", "message": "93 C"},
        {"type": "example.com/Audited", "status": "False", "reason": "Never"},
    ]);
    let status = json!({"status": {"conditions": conditions, "recommendedAction": "RUN_FIELDDIAG"}});
    bench.api.patch_status(&name(slot), status).await;
}

fn is_theirs_whole(gpu: &Gpu) -> bool {
    gpu.metadata.labels.get("team").is_some_and(|team| team == "blue")
        && gpu.metadata.annotations.get("ticket").is_some_and(|ticket| ticket == "4711")
        && on(gpu, "GpuThermalWatch") == "True Hot"
        && on(gpu, "example.com/Audited") == "False Never"
}

#[tokio::test(start_paused = true)]
async fn what_another_provider_says_of_a_gpu_survives_all_that_happens_to_it() {
    let faults =
        step("60s", "xid", "gpu = 0, xid = 119") + &step("60s", "recovery_action", "gpu = 0, action = \"gpu_reset\"");
    let steps = faults
        + &step("100s", "reset", "gpu = 0")
        + &step("300s", "lost", "gpu = 0")
        + &step("400s", "back", "gpu = 0")
        + &step("500s", "driver_unload", "")
        + &step("520s", "driver_load", "");
    let mut bench = Bench::plays(&(node(1) + &steps)).await;
    bench.at(20).await;
    others_say(&bench, 0).await;
    let then = bench.api.diary.now();
    bench.until_on(0, "NVMLReady", "False XidError").await;
    assert_eq!(action(&*bench.gpu(0).await), "RUN_FIELDDIAG", "the gravest");
    bench.at(250).await;
    bench.restart().await;
    bench.at(600).await;
    bench.source.take().unwrap().kill().await;
    bench.at(700).await;
    bench.start();
    bench.at(800).await;
    let history = bench.api.diary.since(&name(0), then);
    assert!(history.len() > 10, "{}", history.len());
    for entry in &history[1..] {
        assert!(is_theirs_whole(&entry.gpu), "{entry:#?}");
        assert_eq!(action(&entry.gpu), "RUN_FIELDDIAG", "{entry:#?}");
    }
    assert_eq!(on(&history.last().unwrap().gpu, "NVMLReady"), "True Recovered");
    // Theirs goes when they say so.
    bench.api.patch_status(&name(0), json!({"status": {"recommendedAction": null}})).await;
    bench.at(900).await;
    assert_eq!(action(&*bench.gpu(0).await), "-");
}

#[tokio::test(start_paused = true)]
async fn the_action_of_another_provider_survives_whose_conditions_nobody_knows() {
    let steps = step("60s", "xid", "gpu = 0, xid = 120") + &step("100s", "reset", "gpu = 0");
    let mut bench = Bench::plays(&(node(1) + &steps)).await;
    bench.at(20).await;
    let theirs = json!([{"type": "example.com/FanTurns", "status": "False"}]);
    bench
        .api
        .patch_status(&name(0), json!({"status": {"conditions": theirs, "recommendedAction": "REPLACE_VM"}}))
        .await;
    let then = bench.api.diary.now();
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    bench.restart().await;
    bench.at(300).await;
    for entry in &bench.api.diary.since(&name(0), then)[1..] {
        assert_eq!(action(&entry.gpu), "REPLACE_VM", "{entry:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_action_of_another_provider_survives_a_fault_that_recommends_the_same() {
    let steps = step("60s", "lost", "gpu = 0") + &step("100s", "back", "gpu = 0");
    let bench = Bench::plays(&(node(1) + &steps)).await;
    bench.at(20).await;
    let theirs = json!([{"type": "GpuThermalWatch", "status": "True", "reason": "Hot"}]);
    let status = json!({"status": {"conditions": theirs, "recommendedAction": "RESTART_BM"}});
    bench.api.patch_status(&name(0), status).await;
    bench.until_on(0, "NVMLReady", "False GPULost").await;
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    bench.at(300).await;
    assert_eq!(action(&*bench.gpu(0).await), "RESTART_BM");
    let over = json!({"status": {"conditions": [{"type": "GpuThermalWatch", "status": "False"}]}});
    bench.api.patch_status(&name(0), over).await;
    bench.at(400).await;
    assert_eq!(action(&*bench.gpu(0).await), "-", "nothing is wrong any more");
}

#[tokio::test(start_paused = true)]
async fn its_own_action_goes_with_its_fault_after_a_restart_too_whoever_else_says_something() {
    let kinds =
        [("example.com/FanTurns", false), ("example.com/FanTurns", true), ("Ready", false), ("GpuThermalWatch", true)];
    for (other, is_killed) in kinds {
        let status = if other == "Ready" { "True" } else { "False" };
        let fault = step("5s", "xid", "gpu = 0, xid = 119");
        let mut bench = Bench::plays(&(node(1) + "recovery_action = false\n" + &fault)).await;
        bench.until(0, |gpu| action(gpu) == "COMPONENT_RESET").await;
        bench.api.patch_status(&name(0), json!({"status": {"conditions": [{"type": other, "status": status}]}})).await;
        if is_killed {
            bench.source.take().unwrap().kill().await;
            bench.until_on(0, "NVMLReady", &format!("Unknown {PROVIDER_LOST}")).await;
        }
        let reload = step("30s", "driver_unload", "") + &step("40s", "driver_load", "");
        bench.restart_with(&(node(1) + "recovery_action = false\n" + &reload)).await;
        let gpu = bench.until_on(0, "NVMLReady", "True Recovered").await;
        assert_eq!((action(&gpu), on(&gpu, other)), ("-", format!("{status} ")), "{other}, killed: {is_killed}");
    }
}

/// The driver's version, by which the objects show which of two sources writes them.
fn version(gpu: &Gpu) -> &str {
    gpu.status.device.as_ref().unwrap().driver_version.as_deref().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_newer_of_two_sources_wins_and_the_older_one_stands_by_and_takes_over_when_it_is_gone() {
    let mut bench = Bench::plays(&(node(2) + "driver_version = \"1\"\n")).await;
    bench.until(0, |gpu| version(gpu) == "1").await;
    bench.at(60).await;
    let older = bench.source.take().unwrap();
    let first = bench.api.leases.list().await.unwrap()[0].id.clone();
    let newer = Bench::before_start(&(node(2) + "driver_version = \"2\"\n"), |_| {}).await.driver;
    let (gpus, leases) = (bench.api.gpus.clone(), bench.api.leases.clone());
    let newer = Source::start(&newer, &bench.options, gpus, leases);
    for slot in [0, 1] {
        bench.until(slot, |gpu| version(gpu) == "2").await;
    }
    assert!(bench.now() < seconds(62), "{:?}", bench.now());
    // The older one sees that its objects were written, and asks for its lease before it undoes that.
    bench.at(60 + 3).await;
    for slot in [0, 1] {
        bench.until(slot, |gpu| version(gpu) == "2").await;
    }
    let (then, seen) = (bench.api.diary.now(), bench.api.leases.list().await.unwrap());
    assert_ne!(seen[0].id, first);
    bench.at(300).await;
    let history = bench.api.diary.since(&name(0), then + seconds(2));
    assert!(history.is_empty(), "they do not fight: {history:#?}");
    assert_eq!(bench.api.leases.list().await.unwrap()[0].id, seen[0].id);

    newer.kill().await;
    for slot in [0, 1] {
        bench.until(slot, |gpu| version(gpu) == "1" && health(gpu).verdict == Verdict::Healthy).await;
    }
    assert!(bench.now() < seconds(300 + 30 + 12), "{:?}", bench.now());
    older.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stood_by_does_not_bring_back_what_a_person_acknowledged_meanwhile() {
    let scenario = node(1) + "recovery_action = false\n" + &step("80s", "xid", "gpu = 0, xid = 142");
    let mut bench = Bench::plays(&scenario).await;
    bench.at(60).await;
    let older = bench.source.take().unwrap();
    let mut options = bench.options.clone();
    options.resync = seconds(2);
    let newer = Bench::before_start(
        &(node(1) + "recovery_action = false\n" + &step("20s", "xid", "gpu = 0, xid = 142")),
        |_| {},
    )
    .await
    .driver;
    let newer = Source::start(&newer, &options, bench.api.gpus.clone(), bench.api.leases.clone());
    bench.until_on(0, "XidHealthy", "False Xid142").await;
    bench.at(92).await;
    let word = json!({"metadata": {"annotations": {"device.nvidia.com/acknowledge-xids": "all"}}});
    bench.api.patch(&name(0), word).await;
    bench.until(0, |gpu| gpu.metadata.annotations.is_empty() && on(gpu, "XidHealthy") == "True NoXid").await;
    let then = bench.api.diary.now();
    // The older one has not looked since; it takes over once the lease of the newer one is over.
    newer.kill().await;
    bench.until_on(0, "NVMLReady", "Unknown ProviderLost").await;
    bench.until_on(0, "NVMLReady", "True Recovered").await;
    bench.at(300).await;
    let history = bench.api.diary.since(&name(0), then);
    assert!(history.iter().all(|entry| on(&entry.gpu, "XidHealthy") != "False Xid142"), "{history:#?}");
    older.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stood_by_keeps_what_was_reported_to_the_other_one_alone() {
    let mut bench = Bench::plays(&node(1)).await;
    bench.at(60).await;
    let older = bench.source.take().unwrap();
    let hears = Bench::before_start(&(node(1) + &step("20s", "xid", "gpu = 0, xid = 119")), |_| {}).await.driver;
    let newer = Source::start(&hears, &bench.options, bench.api.gpus.clone(), bench.api.leases.clone());
    bench.until_on(0, "XidHealthy", "False Xid119").await;
    newer.kill().await;
    bench.until_on(0, "NVMLReady", "Unknown ProviderLost").await;
    bench.until(0, |gpu| on(gpu, "NVMLReady") != "Unknown ProviderLost").await;
    bench.at(300).await;
    let gpu = bench.gpu(0).await;
    assert_eq!((on(&gpu, "NVMLReady"), on(&gpu, "XidHealthy")), ("False XidError".into(), "False Xid119".into()));
    assert_eq!(xids(&gpu), [(119, 1, true)]);
    older.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_gpus_of_no_source_are_left_alone() {
    let mut bench = Bench::before_start(&node(1), |_| {}).await;
    let mut theirs = Gpu::default();
    theirs.metadata.name = "gpu-theirs".to_owned();
    theirs.spec.uuid = "GPU-theirs".to_owned();
    theirs.status.conditions = Vec::from_iter([device_api_core::resource::Condition::new(
        "GpuThermalWatch",
        device_api_core::resource::ConditionStatus::False,
    )]);
    let theirs: Arc<Gpu> = bench.api.gpus.create(&Default::default(), &theirs).await.unwrap();
    bench.start();
    bench.until_on(0, "NVMLReady", "True Healthy").await;
    bench.source.take().unwrap().kill().await;
    bench.at(200).await;
    assert_eq!(bench.api.gpus.get("gpu-theirs").await.unwrap(), theirs);
}
