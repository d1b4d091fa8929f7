// SPDX-License-Identifier: Apache-2.0
//! A driver that is not there, not yet, not whole, or not the one that was there before.

use std::fs;

use device_api_core::registry::ListParams;
use device_api_core::resource::Gpu;
use device_api_server::source::nvml::driver::{Driver as _, DriverError};
use device_api_server::source::nvml::real::{Nvml, NvmlOptions};
use nvml_standin::Script;
use tempfile::TempDir;

use crate::node::{NVML_READY, XID_HEALTHY, all_healthy, becomes, breaks, flags, name, real, says, server};
use crate::outcomes::{DRIVER_NOT_LOADED, VERSION_MISMATCH};
use crate::support::Daemon;
use crate::support::standin::{Standin, uuid};

/// Whether this machine has NVML itself: then its absence cannot be tested.
async fn is_there() -> bool {
    let root = TempDir::new().unwrap();
    let found = Nvml::new(NvmlOptions::default().with_driver_root(root.path())).init().await;
    let is_there = !matches!(found, Err(DriverError::LibraryNotFound { .. }));
    if is_there {
        eprintln!("NVML is on this machine: that it is missing is not tested");
    }
    is_there
}

/// The log of a server that has tried to find the library again and again.
async fn log_without_library(mode: &str) -> String {
    let root = TempDir::new().unwrap();
    let root = format!("--nvml-driver-root={}", root.path().display());
    let server = server(&flags(&[mode, &root, "--log-level=info,device_api_server::source=debug"]));
    server.says("NVML is still not ready").await;
    assert_eq!(server.api().list(&ListParams::default()).await.unwrap().items.len(), 0);
    server.stderr()
}

/// The lines that say that there is no library, each with its level.
fn complaints(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("was not found") && !line.contains("still")).collect()
}

#[tokio::test]
async fn without_the_library_auto_serves_and_says_so_once() {
    if is_there().await {
        return;
    }
    let log = log_without_library("--nvml=auto").await;
    let [said] = complaints(&log)[..] else { panic!("{log}") };
    assert!(said.contains(" INFO ") && said.contains("usr/lib64"), "{said}");
    assert!(!log.contains(" WARN "), "{log}");
}

#[tokio::test]
async fn without_the_library_on_serves_and_warns_once() {
    if is_there().await {
        return;
    }
    let log = log_without_library("--nvml=on").await;
    let [said] = complaints(&log)[..] else { panic!("{log}") };
    assert!(said.contains(" WARN ") && said.contains("usr/lib64"), "{said}");
}

#[tokio::test]
async fn a_library_without_the_wait_for_events_leaves_the_xids_unknown_and_says_so_once() {
    let standin = Standin::without(&Script::with_gpus(2), "nvmlEventSetWait_v2");
    let server =
        server(&[real(&standin), vec!["--log-level=info,device_api_server::source=debug".to_owned()]].concat());
    for gpu in 0..2 {
        let unheard = [(NVML_READY, "True Healthy"), (XID_HEALTHY, "Unknown NotSubscribed")];
        let gpu = says(&server.api(), &name(gpu), &unheard).await;
        let message = &gpu.status.conditions.iter().find(|condition| condition.type_ == XID_HEALTHY).unwrap().message;
        assert!(message.contains("nvmlEventSetWait_v2"), "{message}");
    }
    server.says("nvmlEventSetWait_v2").await;
    let log = server.stderr();
    let warnings = log
        .lines()
        .filter(|line| line.contains(" WARN ") && line.contains("error=NVML's library has no nvmlEventSetWait_v2"));
    assert_eq!(warnings.count(), 1, "{log}");
}

#[tokio::test]
async fn a_library_that_cannot_register_for_events_leaves_the_xids_unknown_and_says_so_once() {
    let standin = Standin::without(&Script::with_gpus(1), "nvmlDeviceRegisterEvents");
    let server =
        server(&[real(&standin), vec!["--log-level=info,device_api_server::source=debug".to_owned()]].concat());
    says(&server.api(), &name(0), &[(NVML_READY, "True Healthy"), (XID_HEALTHY, "Unknown NotSubscribed")]).await;
    // It is asked again at every look.
    standin.changes(|script| script.gpus[0].recovery_action = Some(1));
    says(&server.api(), &name(0), &[("ResetRequired", "True GpuReset")]).await;
    server.says("nvmlDeviceRegisterEvents").await;
    let log = server.stderr();
    let warnings = log.lines().filter(|line| {
        line.contains(" WARN ") && line.contains("error=NVML's library has no nvmlDeviceRegisterEvents")
    });
    assert_eq!(warnings.count(), 1, "{log}");
}

#[tokio::test]
async fn a_library_without_the_recovery_action_has_no_say_about_resets() {
    let standin = Standin::without(&Script::with_gpus(1), "nvmlDeviceGetFieldValues");
    let server = server(&real(&standin));
    let gpu = all_healthy(&server.api(), 1).await.remove(0);
    let types: Vec<_> = gpu.status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, [NVML_READY, XID_HEALTHY, "EccHealthy"]);
}

#[tokio::test]
async fn a_driver_that_is_not_loaded_or_does_not_fit_makes_all_unknown_until_it_comes() {
    let standin = Standin::new(&Script::with_gpus(3));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 3).await;
    for outcome in [DRIVER_NOT_LOADED, VERSION_MISMATCH] {
        standin.changes(|script| {
            *script = script.clone().with_fault("nvmlDeviceGetCount_v2", outcome).with_fault("nvmlInit_v2", outcome);
        });
        for gpu in 0..3 {
            let unknown = "Unknown DriverNotLoaded";
            let gpu = says(&gpus, &name(gpu), &[(NVML_READY, unknown), (XID_HEALTHY, unknown)]).await;
            assert_eq!(gpu.status.recommended_action, None);
            assert_eq!(gpu.status.device.as_ref().unwrap().memory_bytes, Some(85_520_809_984), "it is what it was");
        }
        standin.changes(|script| script.faults.clear());
        for gpu in 0..3 {
            says(&gpus, &name(gpu), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
        }
    }
}

#[tokio::test]
async fn a_driver_that_comes_after_the_server_is_found() {
    let standin = Standin::new(&Script::with_gpus(2).with_fault("nvmlInit_v2", DRIVER_NOT_LOADED));
    let server = server(&real(&standin));
    server.says("the NVIDIA driver is not loaded").await;
    assert_eq!(server.api().list(&ListParams::default()).await.unwrap().items.len(), 0);
    standin.changes(|script| script.faults.clear());
    all_healthy(&server.api(), 2).await;
}

#[tokio::test]
async fn after_a_reload_in_another_order_each_gpu_has_its_own_object_and_events() {
    let standin = Standin::new(&Script::with_gpus(3));
    let server = server(&real(&standin));
    let gpus = server.api();
    let before = all_healthy(&gpus, 3).await;
    // The driver is loaded anew between two looks, and nobody saw it go.
    standin.changes(|script| {
        script.gpus.reverse();
        script.loads += 1;
    });
    for (gpu, index) in [(0, 2), (1, 1), (2, 0)] {
        let place = |gpu: &Gpu| gpu.status.device.as_ref().and_then(|device| device.index);
        let found = becomes(&gpus, &name(gpu), |gpu| place(gpu) == Some(index)).await;
        let same = before.iter().find(|before| before.metadata.name == name(gpu)).unwrap();
        assert_eq!((&found.metadata.uid, &found.spec.uuid), (&same.metadata.uid, &uuid(gpu)));
        says(&gpus, &name(gpu), &[(XID_HEALTHY, "True NoXid")]).await;
    }
    // The first place is now that of the GPU that was the last one.
    breaks(&standin, 0, 119);
    says(&gpus, &name(2), &[(XID_HEALTHY, "False Xid119")]).await;
    for gpu in 0..2 {
        says(&gpus, &name(gpu), &[(XID_HEALTHY, "True NoXid")]).await;
    }
}

/// A GPU of a driver before R565, which does not say what it wants done.
fn of_old_driver() -> Script {
    let mut script = Script::with_gpus(1);
    script.gpus[0].recovery_action = None;
    script
}

#[tokio::test]
async fn a_fatal_xid_outlives_the_server_and_a_library_that_comes_late_but_not_a_reload() {
    let folder = TempDir::new().unwrap();
    let standin = Standin::new(&of_old_driver());
    let start =
        |flags: Vec<String>| Daemon::start_in(folder.path(), &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let mut server = start(real(&standin));
    all_healthy(&server.api(), 1).await;
    standin.xid(0, 119, None);
    let stands = [(NVML_READY, "False XidError"), (XID_HEALTHY, "False Xid119"), ("ResetRequired", "True GpuReset")];
    says(&server.api(), &name(0), &stands).await;
    assert!(server.stop().success());

    if !is_there().await {
        // The node's agent is sooner there than the mount of the driver's files.
        let aside = standin.library().with_extension("aside");
        fs::rename(standin.library(), &aside).unwrap();
        let mut server = start(real(&standin));
        says(&server.api(), &name(0), &[(NVML_READY, "Unknown DriverNotLoaded"), (XID_HEALTHY, "False Xid119")]).await;
        fs::rename(aside, standin.library()).unwrap();
        says(&server.api(), &name(0), &stands).await;
        assert!(server.stop().success());
    }

    standin.changes(|script| script.gpus[0].minor_number = 7);
    let server = start(real(&standin));
    // The conditions are those of before. Only a driver that this server has seen can be seen to go.
    let has_looked = |gpu: &Gpu| gpu.status.device.as_ref().and_then(|device| device.minor_number) == Some(7);
    becomes(&server.api(), &name(0), has_looked).await;
    says(&server.api(), &name(0), &stands).await;
    let unload = |function: &str| of_old_driver().with_fault(function, DRIVER_NOT_LOADED);
    standin.plays(&unload("nvmlDeviceGetCount_v2").with_fault("nvmlInit_v2", DRIVER_NOT_LOADED));
    says(&server.api(), &name(0), &[(NVML_READY, "Unknown DriverNotLoaded"), (XID_HEALTHY, "False Xid119")]).await;
    standin.plays(&of_old_driver());
    says(&server.api(), &name(0), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
}
