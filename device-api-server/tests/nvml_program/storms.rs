// SPDX-License-Identifier: Apache-2.0
//! Ten thousand XIDs at once: few writes, exact counts, and nobody else is kept waiting.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::resource::Gpu;
use nvml_standin::Script;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::node::{
    NVML_READY, Watcher, XID_HEALTHY, all_healthy, becomes, breaks, flags, is_healthy, name, real, said, says, server,
};
use crate::support::standin::Standin;

const STORM: u64 = 10_000;

fn count(gpu: &Gpu, xid: u32) -> u64 {
    gpu.status.xids.iter().find(|record| record.xid == xid).map_or(0, |record| record.count)
}

/// That of so many writes none came sooner than a second after the one before, seen by who waited for all of them.
fn assert_at_most_one_a_second(writes: usize, time: Duration) {
    assert!(writes > 0);
    assert!(u64::try_from(writes - 1).unwrap() <= time.as_secs(), "{writes} writes in {time:?}");
}

#[tokio::test]
async fn ten_thousand_xids_of_the_library_are_counted_and_written_once_a_second() {
    let standin = Standin::new(&Script::with_gpus(2));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 2).await;
    let mut watcher = Watcher::new(&gpus).await;
    for _ in 0..2 {
        watcher.next().await;
    }

    let begin = Instant::now();
    standin.storm(0, 31, STORM);
    breaks(&standin, 1, 119);
    let mut seen: Vec<Arc<Gpu>> = Vec::new();
    while !(seen.iter().any(|gpu| count(gpu, 31) == STORM) && seen.iter().any(|gpu| count(gpu, 119) == 1)) {
        seen.push(watcher.next().await);
    }
    let time = begin.elapsed();
    for gpu in 0..2 {
        assert_at_most_one_a_second(seen.iter().filter(|seen| seen.metadata.name == name(gpu)).count(), time);
    }
    // The errors of an application: the GPU can be used. One of the other's is not such.
    let [first, second] = [gpus.get(&name(0)).await.unwrap(), gpus.get(&name(1)).await.unwrap()];
    assert!(is_healthy(&first) && count(&first, 31) == STORM, "{first:#?}");
    assert_eq!(said(&second, XID_HEALTHY), "False Xid119");
    assert_eq!((first.status.xids.len(), second.status.xids.len()), (1, 1));
    let lines = server.stderr().lines().count();
    assert!(lines < 50, "{lines} lines in the log:\n{}", server.stderr());

    // It goes on from there, after a restart of the program, too.
    standin.xid(0, 31, None);
    becomes(&gpus, &name(0), |gpu| count(gpu, 31) == STORM + 1).await;
}

#[tokio::test]
async fn ten_thousand_simulated_xids_on_each_gpu_are_counted_and_written_once_a_second() {
    const GPUS: usize = 4;
    let storm = |gpu: usize| {
        format!("[[at]]\ntime = \"5s\"\nevent = \"xid\"\ngpu = {gpu}\nxid = 31\ncount = {STORM}\nover = \"1s\"\n")
    };
    let steps: String = (0..GPUS).map(storm).collect();
    let folder = TempDir::new().unwrap();
    let scenario = folder.path().join("storms.toml");
    fs::write(&scenario, format!("[node]\ngpus = {GPUS}\n{steps}")).unwrap();

    let begin = Instant::now();
    let server = server(&flags(&[&format!("--nvml=simulated:{}", scenario.display())]));
    let mut watcher = Watcher::new(&server.api()).await;
    let mut seen: Vec<Arc<Gpu>> = Vec::new();
    let is_over = |gpu: &Gpu| count(gpu, 31) == STORM;
    while seen.iter().filter(|gpu| is_over(gpu)).count() < GPUS {
        seen.push(watcher.next().await);
    }
    let time = begin.elapsed();
    for gpu in all_healthy(&server.api(), GPUS).await {
        assert_eq!(count(&gpu, 31), STORM);
        let writes = seen.iter().filter(|seen| seen.metadata.name == gpu.metadata.name).count();
        assert_at_most_one_a_second(writes, time);
        says(&server.api(), &gpu.metadata.name, &[(NVML_READY, "True Healthy")]).await;
    }
}
