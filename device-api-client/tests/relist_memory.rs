// SPDX-License-Identifier: Apache-2.0
//! What a relist of 100,000 changed objects takes. Alone in its program, since it measures the whole of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // clippy.toml's exception for tests does not reach their functions

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use device_api_client::core::patch::Patch;
use device_api_client::core::registry::{
    Bookmark, DeleteParams, GetParams, List, ListParams, PatchParams, PostParams, Verbs, WatchEvent, WatchParams,
};
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu, ListMeta, ObjectMeta};
use device_api_client::core::{Error, Result};
use device_api_client::watcher::Config;
use device_api_client::{Reflector, Update};
use futures_core::Stream;
use futures_util::{StreamExt as _, stream};
use peak_alloc::PeakAlloc;
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const OBJECTS: u64 = 100_000;
/// How much more than in the end a relist may take on its way.
const BOUND: f64 = 1.3;

/// A server that makes its objects as it sends them, so that all that is measured is the client's.
#[derive(Clone)]
struct Fleet {
    /// How often every object has changed.
    generation: watch::Sender<u64>,
}

/// About a kilobyte, as a GPU has it.
fn gpu(number: u64, generation: u64) -> Arc<Gpu> {
    let mut metadata = ObjectMeta::named(format!("gpu-{number:06}")).with_namespace("default");
    metadata.uid = format!("00000000-0000-0000-0000-{number:012}");
    metadata.resource_version = (generation * OBJECTS + number).to_string();
    metadata.labels.insert("nvidia.com/gpu.product".to_owned(), "NVIDIA-H100-80GB-HBM3".to_owned());
    let mut gpu = Gpu { metadata, ..Gpu::default() };
    gpu.spec.uuid = format!("GPU-00000000-0000-0000-0000-{number:012}");
    let conditions = ["NVMLReady", "EccClean", "NvLinkUp"];
    gpu.status.conditions = conditions
        .map(|type_| Condition::new(type_, ConditionStatus::True).with_message(format!("seen {generation} times")))
        .into();
    Arc::new(gpu)
}

impl Fleet {
    fn now(&self) -> u64 {
        *self.generation.borrow()
    }
}

impl Verbs<Gpu> for Fleet {
    type Watch = Pin<Box<dyn Stream<Item = Result<WatchEvent<Gpu>>> + Send>>;

    fn namespace(&self) -> &str {
        ""
    }

    fn namespaced(&self, _: &str) -> Self {
        self.clone()
    }

    async fn list(&self, params: &ListParams) -> Result<List<Gpu>> {
        let (generation, from) = (self.now(), params.continue_token.parse().unwrap_or(0));
        let to = OBJECTS.min(from + params.limit);
        let continue_token = if to < OBJECTS { to.to_string() } else { String::new() };
        let resource_version = ((generation + 1) * OBJECTS).to_string();
        let metadata = ListMeta { resource_version, continue_token, ..ListMeta::default() };
        Ok(List { metadata, items: (from..to).map(|number| gpu(number, generation)).collect() })
    }

    async fn watch(&self, params: &WatchParams) -> Result<Self::Watch> {
        let (generation, mut changes) = (self.now(), self.generation.subscribe());
        changes.mark_unchanged();
        let initial = if params.send_initial_events == Some(true) { OBJECTS } else { 0 };
        let resource_version = ((generation + 1) * OBJECTS).to_string();
        let end = WatchEvent::Bookmark(Bookmark { resource_version, initial_events_end: true });
        let expired = async move {
            changes.changed().await.unwrap();
            Err(Error::Expired { requested: generation, oldest: generation + 1 })
        };
        Ok(stream::iter(0..initial)
            .map(move |number| Ok(WatchEvent::Added(gpu(number, generation))))
            .chain(stream::iter([Ok(end)]))
            .chain(stream::once(expired))
            .boxed())
    }

    async fn get_with(&self, name: &str, _: &GetParams) -> Result<Arc<Gpu>> {
        Err(Error::not_found::<Gpu>(name))
    }

    async fn create(&self, _: &PostParams, _: &Gpu) -> Result<Arc<Gpu>> {
        Err(Error::internal("nobody writes here"))
    }

    async fn replace(&self, name: &str, _: &PostParams, _: &Gpu) -> Result<Arc<Gpu>> {
        self.get(name).await
    }

    async fn replace_status(&self, name: &str, _: &PostParams, _: &Gpu) -> Result<Arc<Gpu>> {
        self.get(name).await
    }

    async fn patch(&self, name: &str, _: &PatchParams, _: &Patch) -> Result<Arc<Gpu>> {
        self.get(name).await
    }

    async fn patch_status(&self, name: &str, _: &PatchParams, _: &Patch) -> Result<Arc<Gpu>> {
        self.get(name).await
    }

    async fn delete(&self, name: &str, _: &DeleteParams) -> Result<()> {
        self.get(name).await.map(drop)
    }
}

/// What the program takes in the end, and what it took on the way to it, in bytes more than it had at first.
async fn relist(config: Config) -> (usize, usize) {
    let fleet = Fleet { generation: watch::Sender::new(1) };
    let before = ALLOCATOR.current_usage();
    let reflector = Reflector::start(fleet.clone(), config);
    let store = reflector.store();
    store.wait_until_ready().await.unwrap();
    // One who never reads on is part of it.
    let mut idle = store.subscribe();
    assert!(matches!(idle.next().await, Some(Update::Snapshot { objects, .. }) if objects.len() as u64 == OBJECTS));

    ALLOCATOR.reset_peak_usage();
    fleet.generation.send_modify(|generation| *generation += 1);
    let last = gpu(OBJECTS - 1, 2);
    while store.get(&last.metadata.name).as_ref() != Some(&last) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.len() as u64, OBJECTS);
    let (last, peak) = (ALLOCATOR.current_usage(), ALLOCATOR.peak_usage());
    reflector.stop().await;
    (last - before, peak - before)
}

#[tokio::test]
async fn a_relist_of_a_hundred_thousand_changed_objects_takes_little_more_than_one_copy() {
    for config in [Config::default(), Config::default().paged_lists(500)] {
        let how = config.initial_list;
        let (last, peak) = relist(config).await;
        println!("{how:?}: {} MiB in the end, {} MiB at most", last >> 20, peak >> 20);
        assert!(last > 50 << 20, "{last} bytes are not 100,000 objects");
        assert!(peak as f64 <= last as f64 * BOUND, "{how:?}: {peak} bytes on the way to {last}");
    }
}
