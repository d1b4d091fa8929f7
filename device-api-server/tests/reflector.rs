// SPDX-License-Identifier: Apache-2.0
//! A reflector on the real binary, which is killed again and again.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exceptions for tests do not reach their functions

mod support;

use device_api_client::watcher::Config;
use device_api_client::{Reflector, Update};
use device_api_core::registry::{DeleteParams, PostParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use support::{Daemon, PATIENCE};
use tempfile::TempDir;

const ROUNDS: usize = 5;

fn gpu(name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_servers_new_socket_is_found_and_nothing_is_lost_or_told_twice() {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    // One client for the whole test: it has to find the new socket under the old name.
    let reflector = Reflector::start(daemon.api(), Config::default());
    let mut updates = reflector.store().subscribe();
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let api = daemon.api();
        let name = format!("gpu-{round}");
        api.create(&PostParams::default(), &gpu(&name)).await.unwrap();
        if round % 2 == 1 {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        }
        let end = if round % 2 == 1 { format!("-{name}") } else { format!("+{name}") };
        while told.last() != Some(&end) {
            match tokio::time::timeout(PATIENCE, updates.next()).await.unwrap().unwrap() {
                Update::Snapshot { objects, missed: 0 } => {
                    told.extend(objects.iter().map(|gpu| format!("+{}", gpu.metadata.name)));
                }
                Update::Added(gpu) => told.push(format!("+{}", gpu.metadata.name)),
                Update::Deleted(gpu) => told.push(format!("-{}", gpu.metadata.name)),
                other => panic!("{other:?}"),
            }
        }
        daemon.kill();
        daemon = Daemon::start_in(folder.path(), &[]);
    }
    assert_eq!(told, ["+gpu-0", "+gpu-1", "-gpu-1", "+gpu-2", "+gpu-3", "-gpu-3", "+gpu-4"]);
    let names: Vec<_> = reflector.store().list().iter().map(|gpu| gpu.metadata.name.clone()).collect();
    assert_eq!(names, ["gpu-0", "gpu-2", "gpu-4"]);
}
