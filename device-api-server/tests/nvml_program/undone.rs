// SPDX-License-Identifier: Apache-2.0
//! What others undo is declared anew at once: the resync, which would do it too, comes once an hour here.

use device_api_core::patch::Patch;
use device_api_core::registry::{DeleteParams, PatchParams};
use serde_json::json;
use tempfile::TempDir;

use crate::node::{all_healthy, becomes, is_healthy};
use crate::process::Provider;
use crate::support::Daemon;

const GPUS: [&str; 2] = ["--nvml=simulated:2", "--nvml-resync-interval=1h"];

#[tokio::test]
async fn an_object_that_is_deleted_or_wiped_is_back_long_before_the_resync() {
    let server = Daemon::start(&GPUS);
    let gpus = server.api();
    let before = all_healthy(&gpus, 2).await;
    let name = &before[1].metadata.name;
    for _ in 0..2 {
        let uid = gpus.get(name).await.unwrap().metadata.uid.clone();
        gpus.delete(name, &DeleteParams::default()).await.unwrap();
        becomes(&gpus, name, |gpu| gpu.metadata.uid != uid && is_healthy(gpu)).await;
    }
    let wiped = Patch::merge(&json!({"status": {"conditions": null, "device": null}})).unwrap();
    gpus.patch_status(name, &PatchParams::default(), &wiped).await.unwrap();
    let gpu = becomes(&gpus, name, |gpu| gpu.status.device.is_some() && is_healthy(gpu)).await;
    assert_eq!(gpu.status.device, before[1].status.device);
}

#[tokio::test]
async fn a_store_that_came_back_empty_is_filled_long_before_the_resync() {
    let folder = TempDir::new().unwrap();
    let start = || Daemon::start_in(folder.path(), &["--nvml=off", "--datastore-endpoint=memory://"]);
    let mut server = start();
    let provider = Provider::start(server.socket(), &GPUS.map(str::to_owned));
    all_healthy(&server.api(), 2).await;
    for _ in 0..2 {
        server.kill();
        server = start();
        all_healthy(&server.api(), 2).await;
    }
    assert!(provider.stop().await.success());
}
