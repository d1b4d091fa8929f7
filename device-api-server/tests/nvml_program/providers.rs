// SPDX-License-Identifier: Apache-2.0
//! The source as a process of its own: a client like any other, with a lease.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use device_api_core::health::{Verdict, health};
use device_api_core::patch::Patch;
use device_api_core::registry::PatchParams;
use device_api_core::resource::{Gpu, RecommendedAction};
use nvml_standin::Script;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::node::{
    NVML_READY, XID_HEALTHY, all_healthy, becomes, breaks, flags, is_healthy, name, real, said, says, server,
};
use crate::process::Provider;
use crate::support::standin::Standin;
use crate::support::{Daemon, device_apiserver, socket_in};

/// The source's lease, short.
const LEASE: &str = "--nvml-lease-duration=3s";
const OFF: &str = "--nvml=off";
const LOST: &str = "Unknown ProviderLost";

/// A source on this driver that is soon believed to be gone.
fn short_lived(standin: &Standin) -> Vec<String> {
    [real(standin), vec![LEASE.to_owned()]].concat()
}

#[tokio::test]
async fn a_provider_waits_for_its_server_and_goes_on_after_its_restart_without_a_write() {
    let folder = TempDir::new().unwrap();
    let standin = Standin::new(&Script::with_gpus(2));
    let provider = Provider::start(&crate::support::socket_in(folder.path()), &real(&standin));
    provider.says("cannot list the GPUs").await;
    let mut server = Daemon::start_in(folder.path(), &[OFF]);
    let before = all_healthy(&server.api(), 2).await;

    assert!(server.stop().success());
    let server = Daemon::start_in(folder.path(), &[OFF]);
    breaks(&standin, 1, 119);
    says(&server.api(), &name(1), &[(XID_HEALTHY, "False Xid119")]).await;
    let after = server.api().get(&name(0)).await.unwrap();
    assert_eq!(after.metadata.resource_version, before[0].metadata.resource_version, "nothing has changed in it");
    assert!(provider.stop().await.success());
}

#[tokio::test]
async fn a_hangup_does_not_end_a_provider() {
    let standin = Standin::new(&Script::with_gpus(1));
    let server = server(&[OFF.to_owned()]);
    let provider = Provider::start(server.socket(), &real(&standin));
    all_healthy(&server.api(), 1).await;
    provider.signal(Signal::HUP);
    provider.says("SIGHUP").await;
    breaks(&standin, 0, 119);
    says(&server.api(), &name(0), &[(XID_HEALTHY, "False Xid119")]).await;
    assert!(provider.stop().await.success());
}

#[tokio::test]
async fn a_provider_that_may_not_connect_says_so_and_who_may() {
    // The super-user may connect to anything, so it runs the provider as somebody else.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let _server = Daemon::start_in(folder.path(), &[OFF, "--socket-mode=0000"]);
    let mut program = device_apiserver();
    if rustix::process::geteuid().is_root() {
        let copy = folder.path().join("device-apiserver");
        fs::copy(program.get_program(), &copy).unwrap();
        program = Command::new(copy);
        program.uid(65534).gid(65534).env_clear();
    }
    let socket = socket_in(folder.path());
    let provider = Provider::start_as(program, &socket, &["--nvml=simulated:1".to_owned()]);
    provider.says(&format!("cannot open {}: Permission denied (os error 13): it is of user ", socket.display())).await;
    provider.says("mode 0000").await;
    assert!(provider.stop().await.success());
}

#[tokio::test]
async fn a_store_that_was_lost_is_filled_again() {
    let folder = TempDir::new().unwrap();
    let standin = Standin::new(&Script::with_gpus(3));
    let start = || Daemon::start_in(folder.path(), &[OFF, "--datastore-endpoint=memory://"]);
    let mut server = start();
    let provider = Provider::start(server.socket(), &real(&standin));
    all_healthy(&server.api(), 3).await;
    server.kill();
    let server = start();
    all_healthy(&server.api(), 3).await;
    breaks(&standin, 2, 119);
    says(&server.api(), &name(2), &[(XID_HEALTHY, "False Xid119")]).await;
    assert!(provider.stop().await.success());
}

#[tokio::test]
async fn what_a_killed_provider_said_is_unknown_until_it_is_back() {
    let standin = Standin::new(&Script::with_gpus(2));
    let server = server(&[OFF.to_owned()]);
    let gpus = server.api();
    let provider = Provider::start(server.socket(), &short_lived(&standin));
    all_healthy(&gpus, 2).await;
    breaks(&standin, 1, 119);
    says(&gpus, &name(1), &[(XID_HEALTHY, "False Xid119")]).await;

    provider.kill();
    for gpu in 0..2 {
        let gpu = says(&gpus, &name(gpu), &[(NVML_READY, LOST), (XID_HEALTHY, LOST)]).await;
        assert_eq!(health(&gpu).verdict, Verdict::Unknown);
        assert!(gpu.status.conditions.iter().all(|condition| condition.reason == "ProviderLost"), "{gpu:#?}");
    }
    let provider = Provider::start(server.socket(), &short_lived(&standin));
    becomes(&gpus, &name(0), is_healthy).await;
    // What stood still stands.
    let sick = says(&gpus, &name(1), &[(NVML_READY, "False XidError"), (XID_HEALTHY, "False Xid119")]).await;
    assert_eq!(sick.status.xids.iter().map(|record| (record.xid, record.count)).collect::<Vec<_>>(), [(119, 1)]);
    assert!(provider.stop().await.success());
}

#[tokio::test]
async fn a_source_that_ended_with_its_server_is_lost_to_the_next_one() {
    let folder = TempDir::new().unwrap();
    let standin = Standin::new(&Script::with_gpus(1));
    let flags = short_lived(&standin);
    for is_killed in [true, false] {
        let mut server = Daemon::start_in(folder.path(), &flags.iter().map(String::as_str).collect::<Vec<_>>());
        becomes(&server.api(), &name(0), is_healthy).await;
        if is_killed {
            server.kill();
        } else {
            assert!(server.stop().success());
        }
        let mut server = Daemon::start_in(folder.path(), &[OFF]);
        says(&server.api(), &name(0), &[(NVML_READY, LOST), (XID_HEALTHY, LOST)]).await;
        assert!(server.stop().success());
    }
}

#[tokio::test]
async fn the_newest_source_is_believed_and_the_older_one_takes_over_when_it_is_gone() {
    let board = |serial: &str| {
        let mut script = Script::with_gpus(1);
        script.gpus[0].serial = Some(serial.to_owned());
        Standin::new(&script)
    };
    let has = |serial: &'static str| {
        move |gpu: &Gpu| gpu.status.device.as_ref().is_some_and(|device| device.serial.as_deref() == Some(serial))
    };
    let (old, new) = (board("1650000000001"), board("1650000000002"));
    let server = server(&[OFF.to_owned()]);
    let gpus = server.api();
    let older = Provider::start(server.socket(), &short_lived(&old));
    becomes(&gpus, &name(0), has("1650000000001")).await;
    let newer = Provider::start(server.socket(), &short_lived(&new));
    becomes(&gpus, &name(0), has("1650000000002")).await;
    older.says("another process has the lease: standing by").await;
    // What it hears it keeps to itself.
    breaks(&old, 0, 119);
    breaks(&new, 0, 109);
    let gpu = says(&gpus, &name(0), &[(XID_HEALTHY, "False Xid109")]).await;
    assert_eq!(gpu.status.xids.iter().map(|record| record.xid).collect::<Vec<_>>(), [109]);

    newer.kill();
    becomes(&gpus, &name(0), has("1650000000001")).await;
    assert!(older.stop().await.success());
}

#[tokio::test]
async fn another_provider_of_the_same_gpu_and_the_source_leave_each_other_alone() {
    let standin = Standin::new(&Script::with_gpus(1));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 1).await;
    let theirs = |thermal: &str, action: Option<&str>| {
        let condition = json!({"type": "GpuThermalWatch", "status": thermal, "reason": "Fan"});
        Patch::strategic(&json!({"status": {"conditions": [condition], "recommendedAction": action}})).unwrap()
    };
    let params = PatchParams::default().manager("thermal");
    gpus.patch_status(&name(0), &params, &theirs("True", Some("REPLACE_VM"))).await.unwrap();
    let marks = json!({"metadata": {"labels": {"rack": "7"}, "annotations": {"ticket": "42"}}});
    gpus.patch(&name(0), &params, &Patch::merge(&marks).unwrap()).await.unwrap();
    let is_kept = |gpu: Arc<Gpu>| {
        assert_eq!(said(&gpu, "GpuThermalWatch"), "True Fan");
        assert_eq!(gpu.status.recommended_action, Some(RecommendedAction::ReplaceVm));
        assert_eq!((&*gpu.metadata.labels["rack"], &*gpu.metadata.annotations["ticket"]), ("7", "42"));
        assert_eq!(gpu.metadata.labels["app.kubernetes.io/managed-by"], "nvml");
    };

    breaks(&standin, 0, 79);
    is_kept(says(&gpus, &name(0), &[(XID_HEALTHY, "False Xid79")]).await);
    standin.changes(|script| script.gpus[0].recovery_action = Some(0));
    is_kept(says(&gpus, &name(0), &[(XID_HEALTHY, "True NoXid"), (NVML_READY, "True Recovered")]).await);
    // Somebody else's word about the GPU is not the source's to keep when nobody says it any more.
    gpus.patch_status(&name(0), &params, &theirs("False", None)).await.unwrap();
    let gpu = becomes(&gpus, &name(0), is_healthy).await;
    assert_eq!(gpu.status.recommended_action, None);
    // What is the source's own is put right again.
    let wrong = json!({"status": {"conditions": [{"type": NVML_READY, "status": "False", "reason": "Mistake"}]}});
    gpus.patch_status(&name(0), &params, &Patch::strategic(&wrong).unwrap()).await.unwrap();
    says(&gpus, &name(0), &[(NVML_READY, "True Recovered"), ("GpuThermalWatch", "False Fan")]).await;
}

#[tokio::test]
async fn a_simulated_provider_is_one_like_any_other() {
    let server = server(&[OFF.to_owned()]);
    let provider = Provider::start(server.socket(), &flags(&["--nvml=simulated:3"]));
    let gpus = all_healthy(&server.api(), 3).await;
    assert!(gpus.iter().all(|gpu| gpu.metadata.labels["device.nvidia.com/simulated"] == "true"));
    assert!(provider.stop().await.success());
}

#[test]
fn a_provider_that_is_to_provide_nothing_is_refused() {
    let output = device_apiserver().args(["nvml-provider", "--target=/nowhere.sock", OFF]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--nvml=off provides nothing"), "{said}");
}
