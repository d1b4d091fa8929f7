// SPDX-License-Identifier: Apache-2.0
//! The unit files and the manifest, as far as a test can see: who may use the socket, and under which names.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod support;

use std::process::Command;

use device_api_client::{Api, Client, ConnectOptions, Target};
use device_api_core::registry::ListParams;
use device_api_core::resource::Gpu;
use support::Daemon;
use tempfile::TempDir;

const SERVER: &str = include_str!("../../deploy/device-apiserver.service");
const PROVIDER: &str = include_str!("../../deploy/device-api-nvml-provider.service");
const MANIFEST: &str = include_str!("../../deploy/daemonset.yaml");

/// The lines that say something.
fn settings(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_providers_unit_keeps_the_clock_without_closing_the_gpus() {
    let settings = settings(PROVIDER);
    assert!(settings.contains(&"SystemCallFilter=~@clock"));
    // Each of these makes a list of devices, and those of a driver that is loaded later are not on it.
    for closing in ["ProtectClock=", "DeviceAllow=", "DevicePolicy=", "PrivateDevices="] {
        assert!(!settings.iter().any(|line| line.starts_with(closing)), "{closing}");
    }
}

#[test]
fn the_socket_is_that_of_the_group_that_consumers_are_in() {
    let settings = settings(MANIFEST);
    assert!(settings.contains(&"runAsGroup: 5000") && settings.contains(&"chown 65532:5000 /run/nvidia-device-api"));
    assert!(include_str!("../../docs/operations.md").contains("groupadd --gid 5000 device-api"));
}

#[tokio::test]
async fn newer_consumers_find_the_socket_by_their_name_for_it_also_after_a_restart() {
    let link = |line: &str| {
        let (_, rest) = line.split_once("ln -sfn ").unwrap();
        rest.rsplit_once(' ')
            .map(|(target, path)| (target.to_owned(), path.rsplit('/').next().unwrap().to_owned()))
            .unwrap()
    };
    let [unit, manifest] =
        [SERVER, MANIFEST].map(|text| link(settings(text).into_iter().find(|line| line.contains("ln -sfn ")).unwrap()));
    assert_eq!(unit, manifest);
    let (target, name) = unit;
    assert_eq!((target.as_str(), name.as_str()), ("device-api.sock", "api.sock"));

    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    let client: Target = path.display().to_string().parse().unwrap();
    for _ in 0..2 {
        // As each start of the unit and of the pod does.
        assert!(Command::new("ln").arg("-sfn").arg(&target).arg(&path).status().unwrap().success());
        let mut server = Daemon::start_in(folder.path(), &["--nvml=off"]);
        let gpus = Api::<Gpu>::all(Client::lazy(&client, ConnectOptions::default()));
        gpus.list(&ListParams::default()).await.unwrap();
        assert!(server.stop().success());
    }
}
