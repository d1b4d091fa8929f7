// SPDX-License-Identifier: Apache-2.0
//! What goes wrong with a GPU, and what a person does about it.

use std::sync::Arc;

use device_api_core::health::{Verdict, health};
use device_api_core::patch::Patch;
use device_api_core::registry::{DeleteParams, PatchParams};
use device_api_core::resource::{Gpu, RecommendedAction};
use nvml_standin::{Fault, Mig, Script};
use serde_json::json;

use crate::node::{
    NVML_READY, Watcher, XID_HEALTHY, all_healthy, becomes, breaks, is_healthy, name, real, said, says, server,
};
use crate::outcomes::{GPU_IS_LOST, UNKNOWN};
use crate::support::standin::Standin;

/// The UUIDs of two MIG devices.
const PARTS: [&str; 2] = ["MIG-5f3c8a52-0000-5000-8000-000000000001", "MIG-5f3c8a52-0000-5000-8000-000000000002"];

fn part(place: usize, gpu_instance_id: u32) -> Mig {
    Mig {
        uuid: PARTS[place].to_owned(),
        gpu_instance_id,
        compute_instance_id: 0,
        profile: "3g.40gb".to_owned(),
        memory_bytes: 42_000_000_000,
    }
}

/// A node whose second GPU is divided in two.
fn divided() -> Script {
    let mut script = Script::with_gpus(2);
    script.gpus[1].mig_mode = Some((1, 1));
    script.gpus[1].mig_devices = vec![part(0, 1), part(1, 2)];
    script
}

#[tokio::test]
async fn a_lost_gpu_shows_it_and_comes_back_and_the_others_stay_well() {
    let standin = Standin::new(&Script::with_gpus(3));
    let server = server(&real(&standin));
    let gpus = server.api();
    let before = all_healthy(&gpus, 3).await;
    standin.changes(|script| *script = script.clone().with_gpu_fault("*", 1, GPU_IS_LOST));
    let lost = says(&gpus, &name(1), &[(NVML_READY, "False GPULost"), (XID_HEALTHY, "Unknown GPULost")]).await;
    assert_eq!(lost.status.recommended_action, Some(RecommendedAction::RestartBm));
    assert_eq!(lost.status.device, before[1].status.device, "it is what it was");
    for gpu in [0, 2] {
        says(&gpus, &name(gpu), &[(NVML_READY, "True Healthy"), (XID_HEALTHY, "True NoXid")]).await;
    }
    breaks(&standin, 2, 119);
    says(&gpus, &name(2), &[(XID_HEALTHY, "False Xid119")]).await;
    server.says("XID 119: ").await;
    standin.changes(|script| script.faults.clear());
    says(&gpus, &name(1), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
}

#[tokio::test]
async fn a_lost_gpu_is_no_news_of_its_neighbours_though_nvml_fails_for_them_too() {
    let standin = Standin::new(&Script::with_gpus(3));
    let server =
        server(&[real(&standin), vec!["--log-level=info,device_api_server::source=debug".to_owned()]].concat());
    let gpus = server.api();
    all_healthy(&gpus, 3).await;
    // Before that nobody knows whether they are heard at all.
    server.says("events are heard").await;
    let mut watcher = Watcher::new(&gpus).await;
    standin.changes(|script| {
        // nvml.h says so: a look-up by UUID fails when any GPU is off the bus, and so does each wait for its events.
        let by_uuid = Fault { function: "nvmlDeviceGetHandleByUUID".to_owned(), gpu: None, outcome: GPU_IS_LOST };
        *script = script.clone().with_gpu_fault("*", 1, GPU_IS_LOST);
        script.faults.push(by_uuid);
    });
    says(&gpus, &name(1), &[(NVML_READY, "False GPULost")]).await;
    // What is heard after that is heard by a wait without the lost one.
    server.says("events can be waited for again").await;
    breaks(&standin, 2, 119);
    says(&gpus, &name(2), &[(XID_HEALTHY, "False Xid119")]).await;
    loop {
        let gpu = watcher.next().await;
        if gpu.metadata.name == name(2) && said(&gpu, XID_HEALTHY) == "False Xid119" {
            break;
        }
        assert!(gpu.metadata.name == name(1) || is_healthy(&gpu), "{gpu:#?}");
    }
}

#[tokio::test]
async fn a_gpu_that_cannot_say_who_it_is_for_another_reason_is_not_said_to_be_lost() {
    let standin = Standin::new(&Script::with_gpus(2));
    let server = server(&real(&standin));
    all_healthy(&server.api(), 2).await;
    standin.changes(|script| *script = script.clone().with_gpu_fault("nvmlDeviceGetUUID", 1, UNKNOWN));
    let gpu = says(&server.api(), &name(1), &[(NVML_READY, "Unknown NVMLError")]).await;
    assert_eq!((health(&gpu).verdict, &gpu.status.recommended_action), (Verdict::Unknown, &None));
    says(&server.api(), &name(0), &[(NVML_READY, "True Healthy")]).await;
    standin.changes(|script| script.faults.clear());
    says(&server.api(), &name(1), &[(NVML_READY, "True Recovered")]).await;
}

#[tokio::test]
async fn a_gpu_that_cannot_say_who_it_is_at_the_first_start_is_in_the_log() {
    let standin = Standin::new(&Script::with_gpus(2).with_gpu_fault("*", 1, GPU_IS_LOST));
    let server = server(&real(&standin));
    all_healthy(&server.api(), 1).await;
    server.says("a GPU does not say which one it is index=1 error=the GPU is lost").await;
}

#[tokio::test]
async fn the_object_of_a_lost_gpu_that_a_person_deletes_is_not_made_again() {
    let standin = Standin::new(&Script::with_gpus(3));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 3).await;
    standin.changes(|script| *script = script.clone().with_gpu_fault("*", 1, GPU_IS_LOST));
    says(&gpus, &name(1), &[(NVML_READY, "False GPULost")]).await;
    gpus.delete(&name(1), &DeleteParams::default()).await.unwrap();
    // That of another one is, by which the source has seen that both are gone.
    gpus.delete(&name(0), &DeleteParams::default()).await.unwrap();
    standin.changes(|script| script.gpus[0].recovery_action = Some(1));
    says(&gpus, &name(0), &[("ResetRequired", "True GpuReset")]).await;
    assert!(gpus.get_opt(&name(1)).await.unwrap().is_none());
    // Found again, it is there again.
    standin.changes(|script| script.faults.clear());
    becomes(&gpus, &name(1), is_healthy).await;
}

#[tokio::test]
async fn another_gpu_in_the_slot_takes_the_place_of_the_old_object() {
    let standin = Standin::new(&divided());
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 4).await;
    standin.changes(|script| {
        let new = nvml_standin::Gpu::h100(7);
        script.gpus[1] = nvml_standin::Gpu { pci_bus_id: script.gpus[1].pci_bus_id.clone(), ..new };
    });
    let found = all_healthy(&gpus, 2).await;
    let names: Vec<_> = found.iter().map(|gpu| gpu.metadata.name.clone()).collect();
    assert_eq!(names, [name(0), name(7)]);
}

#[tokio::test]
async fn an_xid_of_an_instance_marks_its_mig_device_alone() {
    // Of an old driver, which does not say that nothing is to be done.
    let mut script = divided();
    script.gpus[1].recovery_action = None;
    let standin = Standin::new(&script);
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 4).await;
    let [first, second] = PARTS.map(str::to_lowercase);
    standin.xid(1, 95, Some((2, 0)));
    let sick = says(&gpus, &second, &[(NVML_READY, "False XidError"), (XID_HEALTHY, "False Xid95")]).await;
    let instance = |gpu: &device_api_core::resource::Gpu| {
        let xids = gpu.status.xids.iter();
        xids.map(|record| (record.xid, record.gpu_instance_id, record.compute_instance_id)).collect::<Vec<_>>()
    };
    assert_eq!(instance(&sick), [(95, Some(2), Some(0))]);
    // The whole shows it in its history, and can be used.
    let whole = becomes(&gpus, &name(1), |gpu| !gpu.status.xids.is_empty()).await;
    assert_eq!((said(&whole, XID_HEALTHY), instance(&whole)), ("True NoXid".to_owned(), instance(&sick)));
    let other = gpus.get(&first).await.unwrap();
    assert!(is_healthy(&other) && other.status.xids.is_empty(), "{other:#?}");

    standin.xid(1, 119, None);
    for object in [&name(1), &first, &second] {
        becomes(&gpus, object, |gpu| gpu.status.xids.iter().any(|record| record.xid == 119 && record.standing)).await;
    }
    assert!(is_healthy(&gpus.get(&name(0)).await.unwrap()));
}

#[tokio::test]
async fn mig_devices_come_and_go_with_the_configuration() {
    let standin = Standin::new(&Script::with_gpus(2));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 2).await;
    standin.plays(&divided());
    let found = all_healthy(&gpus, 4).await;
    let part = found.iter().find(|gpu| gpu.spec.uuid == PARTS[1]).unwrap();
    let mig = part.status.device.as_ref().unwrap().mig.clone().unwrap();
    assert_eq!((mig.parent_uuid.to_lowercase(), mig.gpu_instance_id), (name(1), Some(2)));
    assert_eq!(mig.profile.as_deref(), Some("3g.40gb"));
    // A failure that passes takes no object away, and with it what others said in it.
    let uids = |found: &[Arc<Gpu>]| found.iter().map(|gpu| gpu.metadata.uid.clone()).collect::<Vec<_>>();
    let mut failing = divided().with_gpu_fault("nvmlDeviceGetMigDeviceHandleByIndex", 1, UNKNOWN);
    failing.gpus[1].minor_number = 9;
    standin.plays(&failing);
    becomes(&gpus, &name(1), |gpu| gpu.status.device.as_ref().unwrap().minor_number == Some(9)).await;
    assert_eq!(uids(&all_healthy(&gpus, 4).await), uids(&found));
    standin.plays(&Script::with_gpus(2));
    let names: Vec<_> = all_healthy(&gpus, 2).await.iter().map(|gpu| gpu.metadata.name.clone()).collect();
    assert_eq!(names, [name(0), name(1)]);
}

#[tokio::test]
async fn a_fault_that_nothing_shows_to_be_over_ends_with_a_persons_word() {
    let standin = Standin::new(&Script::with_gpus(1));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 1).await;
    // A power cable: the driver's recovery action says nothing of it.
    standin.xid(0, 54, None);
    let sick = says(&gpus, &name(0), &[(XID_HEALTHY, "False Xid54")]).await;
    assert_eq!(sick.status.recommended_action, Some(RecommendedAction::Custom));
    let word = json!({"metadata": {"annotations": {"device.nvidia.com/acknowledge-xids": "54"}}});
    gpus.patch(&name(0), &PatchParams::default(), &Patch::merge(&word).unwrap()).await.unwrap();
    let well = says(&gpus, &name(0), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
    assert_eq!(well.status.recommended_action, None);
    becomes(&gpus, &name(0), |gpu| gpu.metadata.annotations.is_empty()).await;
}

#[tokio::test]
async fn a_policy_file_and_ignored_xids_decide_what_an_xid_means() {
    let standin = Standin::new(&Script::with_gpus(3));
    let policy = standin.root().join("policy.toml");
    std::fs::write(&policy, "[[xid]]\nnumber = 31\naction = \"contact-support\"\n").unwrap();
    let more = vec![format!("--nvml-policy-file={}", policy.display()), "--nvml-ignored-xids=119,79".to_owned()];
    let server = server(&[real(&standin), more].concat());
    let gpus = server.api();
    all_healthy(&gpus, 3).await;
    for (gpu, xid) in [(0, 31), (1, 79), (2, 119)] {
        standin.xid(gpu, xid, None);
    }
    let sick = says(&gpus, &name(0), &[(XID_HEALTHY, "False Xid31")]).await;
    assert_eq!(sick.status.recommended_action, Some(RecommendedAction::ContactSupport));
    for gpu in [1, 2] {
        let gpu = becomes(&gpus, &name(gpu), |gpu| !gpu.status.xids.is_empty()).await;
        assert!(is_healthy(&gpu), "{gpu:#?}");
    }
}

#[tokio::test]
async fn the_drivers_word_ends_what_it_speaks_of_and_is_waited_for_where_only_it_can_say() {
    let standin = Standin::new(&Script::with_gpus(1));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 1).await;
    // The driver wants nothing done: of 120 and 145 it speaks, of 46 it does not.
    for xid in [145, 46, 120] {
        standin.xid(0, xid, None);
    }
    let of =
        |gpu: &Gpu, xid: u32| gpu.status.xids.iter().find(|record| record.xid == xid).map(|record| record.standing);
    let gpu = becomes(&gpus, &name(0), |gpu| of(gpu, 120) == Some(false) && of(gpu, 145) == Some(false)).await;
    assert_eq!((of(&gpu, 46), said(&gpu, XID_HEALTHY)), (Some(true), "False Xid46".to_owned()));
    assert_eq!(said(&gpu, "ResetRequired"), "True GpuReset");
    // It asks for the reset, and that it asks no more shows that there was one.
    standin.changes(|script| script.gpus[0].recovery_action = Some(1));
    becomes(&gpus, &name(0), |gpu| gpu.status.xids.iter().any(|record| record.reset_requested)).await;
    standin.changes(|script| script.gpus[0].recovery_action = Some(0));
    says(&gpus, &name(0), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
}

#[tokio::test]
async fn an_xid_of_an_instance_that_is_not_there_marks_the_gpu_and_all_its_parts_whatever_it_is_divided_into() {
    // Of an old driver, which does not say that nothing is to be done.
    let mut script = divided();
    script.driver_version = "535.261.03".to_owned();
    script.gpus.iter_mut().for_each(|gpu| gpu.recovery_action = None);
    let standin = Standin::new(&script);
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 4).await;
    standin.xid(1, 95, Some((9, 0)));
    // A GPU that is not divided.
    standin.xid(0, 95, Some((1, 0)));
    let [first, second] = PARTS.map(str::to_lowercase);
    for object in [&name(0), &name(1), &first, &second] {
        says(&gpus, object, &[(XID_HEALTHY, "False Xid95"), ("ResetRequired", "True GpuReset")]).await;
    }
    // The fault of an instance is the GPU's once the instance is no more.
    standin.xid(1, 109, Some((2, 0)));
    becomes(&gpus, &second, |gpu| gpu.status.xids.iter().any(|record| record.xid == 109)).await;
    assert!(gpus.get(&first).await.unwrap().status.xids.iter().all(|record| record.xid != 109));
    standin.changes(|script| script.gpus[1].mig_devices.truncate(1));
    let is_gone = |gpu: &Gpu| gpu.status.xids.iter().any(|record| record.xid == 109 && record.instance_gone);
    for object in [&name(1), &first] {
        becomes(&gpus, object, is_gone).await;
    }
}

#[tokio::test]
async fn a_contained_memory_error_is_no_fault_however_many_xids_follow_and_whatever_the_store_forgets() {
    let standin = Standin::new(&divided());
    let flags = [real(&standin), vec!["--datastore-endpoint=memory://".to_owned()]].concat();
    let is_settled = |gpu: &Gpu| said(gpu, "EccHealthy") == "True RecoveryActionNone" && is_healthy(gpu);
    let objects: Vec<String> = [name(1)].into_iter().chain(PARTS.map(str::to_lowercase)).collect();
    for is_new in [true, false] {
        let server = server(&flags);
        let gpus = server.api();
        let mut watcher = Watcher::new(&gpus).await;
        if is_new {
            all_healthy(&gpus, 4).await;
            standin.changes(|script| script.gpus[1].ecc.as_mut().unwrap().uncorrected_volatile = 1);
            standin.xid(1, 94, None);
            for object in &objects {
                becomes(&gpus, object, is_settled).await;
            }
            for xid in (68..=72).chain(75..=77).chain(82..=86).chain(96..=105).chain(126..=135) {
                standin.xid(1, xid, None);
            }
            becomes(&gpus, &name(1), |gpu| gpu.status.xids.iter().all(|record| record.xid != 94)).await;
        }
        // After a restart on memory all that there is is what the GPU tells: the count, and that nothing is to be done.
        for object in &objects {
            becomes(&gpus, object, is_settled).await;
        }
        // The watcher has seen it all once it sees what is written last.
        standin.xid(1, 13, None);
        loop {
            let gpu = watcher.next().await;
            assert_ne!(health(&gpu).verdict, Verdict::Unhealthy, "{gpu:#?}");
            if gpu.status.xids.iter().any(|record| record.xid == 13) {
                break;
            }
        }
    }
}
