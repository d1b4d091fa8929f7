// SPDX-License-Identifier: Apache-2.0
//! A node: the flags of a program that looks often, and what its GPUs' objects say.

use std::sync::Arc;
use std::time::Duration;

use device_api_client::{Api, ApiWatch};
use device_api_core::health::{Verdict, health};
use device_api_core::registry::{ListParams, WatchEvent, WatchParams};
use device_api_core::resource::{Gpu, condition};
use tokio::time::{Instant, sleep, timeout};

use crate::support::standin::{Standin, uuid};
use crate::support::{Daemon, PATIENCE};

pub(crate) const NVML_READY: &str = "NVMLReady";
pub(crate) const XID_HEALTHY: &str = "XidHealthy";

/// Short periods, so that nobody waits for long; a call has its time even on a slow machine.
const QUICK: [&str; 7] = [
    "--nvml-resync-interval=1s",
    "--nvml-fault-poll-interval=1s",
    "--nvml-fault-poll-max-interval=1s",
    "--nvml-call-timeout=2s",
    "--nvml-event-wait=500ms",
    "--nvml-retry-interval=200ms",
    "--nvml-retry-max-interval=1s",
];

/// The flags of a source that looks often, and these.
pub(crate) fn flags(more: &[&str]) -> Vec<String> {
    QUICK.iter().chain(more).map(ToString::to_string).collect()
}

/// The flags of a source on this driver.
pub(crate) fn real(standin: &Standin) -> Vec<String> {
    flags(&["--nvml=on", &format!("--nvml-driver-root={}", standin.root().display())])
}

/// A server with these flags in a folder of its own.
pub(crate) fn server(flags: &[String]) -> Daemon {
    Daemon::start(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A GPU reports an XID, and the driver wants a reset from now on: the fault stands until it does not any more.
pub(crate) fn breaks(standin: &Standin, gpu: usize, xid: u64) {
    standin.changes(|script| script.gpus[gpu].recovery_action = Some(1));
    standin.xid(gpu, xid, None);
}

/// The name of the object of a script's GPU.
pub(crate) fn name(gpu: u32) -> String {
    uuid(gpu).to_lowercase()
}

/// Status and reason of a condition, such as `False GPULost`; a dash where it is not there.
pub(crate) fn said(gpu: &Gpu, type_: &str) -> String {
    let found = condition::find(&gpu.status.conditions, type_);
    found.map_or("-".to_owned(), |condition| format!("{} {}", condition.status, condition.reason))
}

pub(crate) fn is_healthy(gpu: &Gpu) -> bool {
    health(gpu).verdict == Verdict::Healthy
}

/// Waits until an object is as it should be, however often the server is out of reach meanwhile.
pub(crate) async fn becomes(gpus: &Api<Gpu>, name: &str, is: impl Fn(&Gpu) -> bool) -> Arc<Gpu> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = gpus.get(name).await;
        match &found {
            Ok(gpu) if is(gpu) => return Arc::clone(gpu),
            _ => assert!(Instant::now() < end, "{name} does not become as it should: {found:#?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until conditions say this: their types, and what [`said`] has of them.
pub(crate) async fn says(gpus: &Api<Gpu>, name: &str, expected: &[(&str, &str)]) -> Arc<Gpu> {
    becomes(gpus, name, |gpu| expected.iter().all(|(type_, words)| said(gpu, type_) == *words)).await
}

/// Waits until there are so many GPUs and all are healthy.
pub(crate) async fn all_healthy(gpus: &Api<Gpu>, count: usize) -> Vec<Arc<Gpu>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = gpus.list(&ListParams::default()).await;
        match found {
            Ok(list) if list.items.len() == count && list.items.iter().all(|gpu| is_healthy(gpu)) => return list.items,
            other => assert!(Instant::now() < end, "there are not {count} healthy GPUs: {other:#?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A consumer that watches everything.
pub(crate) struct Watcher {
    events: ApiWatch<Gpu>,
}

impl Watcher {
    pub(crate) async fn new(gpus: &Api<Gpu>) -> Self {
        Self { events: gpus.watch(&WatchParams::default().initial_events()).await.unwrap() }
    }

    /// The next object that came or changed.
    pub(crate) async fn next(&mut self) -> Arc<Gpu> {
        loop {
            let event = timeout(PATIENCE, self.events.next()).await.unwrap().unwrap().unwrap();
            match event {
                WatchEvent::Added(gpu) | WatchEvent::Modified(gpu) => return gpu,
                WatchEvent::Deleted(gpu) => panic!("{} is deleted", gpu.metadata.name),
                WatchEvent::Bookmark(_) => {}
            }
        }
    }

    /// The objects that come, up to the first that is as it should be.
    pub(crate) async fn until(&mut self, is: impl Fn(&Gpu) -> bool) -> Vec<Arc<Gpu>> {
        let mut seen = Vec::new();
        loop {
            let gpu = self.next().await;
            let found = is(&gpu);
            seen.push(gpu);
            if found {
                return seen;
            }
        }
    }
}
