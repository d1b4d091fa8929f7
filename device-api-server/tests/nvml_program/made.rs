// SPDX-License-Identifier: Apache-2.0
//! What a person makes happen in a simulation that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tempfile::TempDir;

use crate::node::{NVML_READY, XID_HEALTHY, all_healthy, becomes, flags, is_healthy, says, server};
use crate::support::{Daemon, device_apiserver};

fn door(folder: &Path) -> String {
    format!("--nvml-simulation-socket={}", folder.join("simulation.sock").display())
}

/// What the command answers, with its exit code.
fn make(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = device_apiserver();
    command.arg("simulate").arg(format!("--socket={}", folder.join("simulation.sock").display())).args(arguments);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn name(gpu: usize) -> String {
    format!("gpu-51500000-0000-4000-8000-0000{gpu:08x}")
}

#[tokio::test]
async fn an_xid_and_all_else_can_be_made_to_happen_in_a_simulation_that_runs() {
    let folder = TempDir::new().unwrap();
    let mut server = server(&flags(&["--nvml=simulated:2", &door(folder.path())]));
    let gpus = server.api();
    all_healthy(&gpus, 2).await;
    let socket = folder.path().join("simulation.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600, "it is its owner's alone");

    // Without it the driver is content with everything, and an XID ends as soon as it has been for a while.
    assert_eq!(make(folder.path(), &["recovery_action", "gpu=1", "action=node_reboot"]), (0, String::new()));
    assert_eq!(make(folder.path(), &["xid", "gpu=1", "xid=79", "count=3"]), (0, String::new()));
    let gpu = says(&gpus, &name(1), &[(XID_HEALTHY, "False Xid79")]).await;
    assert_eq!((gpu.status.xids[0].xid, gpu.metadata.labels["device.nvidia.com/simulated"].as_str()), (79, "true"));
    becomes(&gpus, &name(1), |gpu| gpu.status.xids[0].count == 3).await;
    server.says("made this happen in the simulation step=event = \"recovery_action\", gpu = 1, action = ").await;
    assert_eq!(make(folder.path(), &["lost", "gpu=0", "listed=false"]).0, 0);
    says(&gpus, &name(0), &[(NVML_READY, "False GPULost")]).await;
    assert_eq!(make(folder.path(), &["back", "gpu=0"]).0, 0);
    becomes(&gpus, &name(0), is_healthy).await;

    for (arguments, why) in [
        (&["xid", "gpu=2", "xid=79"][..], "refused: there is no GPU 2"),
        (&["xid", "gpu=1"][..], "missing field"),
        (&["explode", "gpu=1"][..], "unknown variant"),
        (&["xid", "gpu=1", "xid=79", "time=5s"][..], "unexpected keys in table: time"),
        (&["xid", "gpu"][..], "is no KEY=VALUE"),
        (&["xid", "gpu=0", &format!("xid={}", "7".repeat(5_000))][..], "4096 bytes at most"),
    ] {
        let (code, said) = make(folder.path(), arguments);
        assert!(code == 1 && said.contains(why), "{arguments:?}: {code} {said}");
    }
    assert!(server.stop().success());
    assert!(!socket.exists());
    let (code, said) = make(folder.path(), &["reset", "gpu=0"]);
    assert!(code == 1 && said.contains("no simulation answers on"), "{said}");
}

#[tokio::test]
async fn the_socket_of_a_simulation_that_was_killed_is_replaced_and_nothing_else_is() {
    let folder = TempDir::new().unwrap();
    let flags = ["--nvml=simulated:1", &door(folder.path())];
    let mut server = Daemon::start(&flags);
    server.kill();
    assert!(folder.path().join("simulation.sock").exists());
    let server = Daemon::start(&flags);
    all_healthy(&server.api(), 1).await;
    assert_eq!(make(folder.path(), &["xid", "gpu=0", "xid=79"]).0, 0);

    let refused = |words: &str| {
        let own = TempDir::new().unwrap();
        let mut server = Daemon::spawn_in(own.path(), &flags);
        assert_eq!(server.wait().code(), Some(2), "{}", server.stderr());
        assert!(server.stderr().contains(words), "{}", server.stderr());
    };
    refused("another process listens on");
    drop(server);
    let socket = folder.path().join("simulation.sock");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "mine").unwrap();
    refused("is no socket");
    assert_eq!(fs::read(&socket).unwrap(), b"mine");
    fs::remove_file(&socket).unwrap();
    let _theirs = UnixListener::bind(&socket).unwrap();
    refused("another process listens on");
}

#[test]
fn no_hardware_has_such_a_door() {
    let folder = TempDir::new().unwrap();
    for mode in ["--nvml=auto", "--nvml=on", "--nvml=off"] {
        let mut server = Daemon::spawn_in(folder.path(), &[mode, &door(folder.path())]);
        assert_eq!(server.wait().code(), Some(2), "{}", server.stderr());
        assert!(server.stderr().contains("--nvml-simulation-socket: nothing is simulated"), "{}", server.stderr());
        assert!(!folder.path().join("simulation.sock").exists());
    }
}
