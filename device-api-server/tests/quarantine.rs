// SPDX-License-Identifier: Apache-2.0
//! A database of which some records cannot be read: the server starts, says so, serves the rest, and a person can look.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use device_api_core::registry::{ListParams, PostParams};
use device_api_core::resource::{Gpu, GpuSpec, ObjectMeta, Timestamp};
use device_api_core::storage::{Change, Record, RecordKey, Storage as _};
use device_api_store_sqlite::{SqliteOptions, SqliteStorage};
use support::{Daemon, database_in, device_apiserver};
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Runs `device-apiserver quarantine` on the database of this folder.
fn quarantine(folder: &Path, words: &[&str]) -> Output {
    let endpoint = format!("--datastore-endpoint=sqlite://{}", database_in(folder).display());
    device_apiserver().arg("quarantine").args(words).arg(endpoint).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn gpu(name: &str, uuid: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), spec: GpuSpec { uuid: uuid.to_owned() }, ..Gpu::default() }
}

/// A folder whose database has a GPU that was healthy and then sick, and others; the revision of the sick state.
async fn left_behind() -> (TempDir, u64) {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    let (api, params) = (daemon.api(), PostParams::default());
    for name in ["x", "y", "z"] {
        api.create(&params, &gpu(name, "GPU-healthy")).await.unwrap();
    }
    let sick = api.replace("x", &params, &gpu("x", "GPU-sick-beyond-doubt")).await.unwrap();
    assert!(daemon.stop().success());
    (folder, sick.metadata.resource_version.parse().unwrap())
}

/// Flips a bit of a value in the database.
fn damage(folder: &Path, value: &[u8]) {
    let mut bytes = fs::read(database_in(folder)).unwrap();
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[at] ^= 0x01;
    fs::write(database_in(folder), bytes).unwrap();
}

#[tokio::test]
async fn one_damaged_record_keeps_no_node_from_starting_and_brings_no_older_state_back() {
    let (folder, revision) = left_behind().await;
    damage(folder.path(), b"GPU-sick-beyond-doubt");

    let mut daemon = Daemon::start_in(folder.path(), &[]);
    let found = daemon.api().list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = found.items.iter().map(|gpu| gpu.metadata.name.as_str()).collect();
    assert_eq!(names, ["y", "z"]);
    let request = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(daemon.client().transport()).check(request).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    daemon.says(&format!("revision={revision}")).await;
    daemon.says("quarantined=2").await;
    let busy = quarantine(folder.path(), &["list"]);
    assert_eq!(busy.status.code(), Some(3));
    assert!(said(&busy).contains(&format!("process {}", daemon.pid())), "{}", said(&busy));
    daemon.api().create(&PostParams::default(), &gpu("x", "GPU-anew")).await.unwrap();
    // Not in the orderly way: all of it is on the disk.
    daemon.kill();

    let listed = said(&quarantine(folder.path(), &["list"]));
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&format!("{revision}  since 20")) && listed.contains("gpus default/x"), "{listed}");
    let shown = quarantine(folder.path(), &["show", &revision.to_string()]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["spec"]["uuid"], "FPU-sick-beyond-doubt", "every byte as it was");
    let missing = quarantine(folder.path(), &["drop", "7"]);
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    assert_eq!(said(&quarantine(folder.path(), &["drop", &revision.to_string()])), "1 removed\n");
    assert_eq!(said(&quarantine(folder.path(), &["drop", "--all"])), "1 removed\n");
    assert_eq!(said(&quarantine(folder.path(), &["list"])), "nothing is in quarantine\n");

    let daemon = Daemon::start_in(folder.path(), &[]);
    assert_eq!(daemon.api().get("x").await.unwrap().spec.uuid, "GPU-anew");
}

#[tokio::test]
async fn objects_of_a_type_that_changed_keep_no_node_from_starting() {
    let (folder, last) = left_behind().await;
    let mut storage =
        Box::new(SqliteStorage::open_path(database_in(folder.path()), SqliteOptions::default()).await.unwrap());
    let last =
        storage.load().await.unwrap().records.iter().rev().find(|record| record.revision.0 == last).cloned().unwrap();
    let next = storage.load().await.unwrap().last.next();
    let another = Record {
        revision: next,
        previous: last.revision,
        at: Timestamp::UNIX_EPOCH,
        actor: "another version".to_owned(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: "x".to_owned() },
        change: Change::Put(br#"{"spec":["of","another","version"]}"#.to_vec()),
    };
    storage.commit(&[another]).await.unwrap();
    storage.close().await.unwrap();

    let mut daemon = Daemon::start_in(folder.path(), &[]);
    assert_eq!(daemon.api().get_opt("x").await.unwrap(), None);
    assert_eq!(daemon.api().list(&ListParams::default()).await.unwrap().items.len(), 2);
    daemon.says("quarantined=1").await;
    assert!(daemon.stop().success());
    let shown = quarantine(folder.path(), &["show", &next.to_string()]);
    assert_eq!(shown.stdout, br#"{"spec":["of","another","version"]}"#);
}

#[test]
fn looking_into_a_datastore_makes_none() {
    let folder = TempDir::new().unwrap();
    let refused = quarantine(folder.path(), &["list"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("there is no datastore"), "{}", said(&refused));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
