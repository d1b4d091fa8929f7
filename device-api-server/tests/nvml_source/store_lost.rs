// SPDX-License-Identifier: Apache-2.0
//! The source declares everything anew when the API has lost it, and waits while there is no API.

use std::sync::Arc;

use device_api_core::health::{Verdict, health};
use device_api_core::lease::{LeaseState, LeaseVerbs as _};
use device_api_core::registry::PostParams;
use device_api_core::resource::{Gpu, ObjectMeta};

use crate::bench::{Api, Bench, Source, name, node, on, seconds, step, xids};
use crate::store::Reach;

/// A source at work on an API through a handle that can be out of reach.
struct Remote {
    bench: Bench,
    reach: Reach,
    // It ends with the test.
    _source: Source,
}

impl Remote {
    async fn plays(scenario: &str) -> Self {
        let bench = Bench::before_start(scenario, |_| {}).await;
        let reach = Reach::none();
        reach.set(Some(&bench.api));
        let source = Source::start(&bench.driver, &bench.options, reach.clone(), reach.clone());
        Self { bench, reach, _source: source }
    }

    /// The server is restarted, and its memory is empty.
    async fn lose_the_store(&mut self) {
        self.bench.api = Api::at(Arc::clone(&self.bench.options.clock)).await;
        self.reach.set(Some(&self.bench.api));
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_declared_anew_after_a_memory_store_was_lost_lost_gpus_among_it() {
    let steps = step("5s", "xid", "gpu = 1, xid = 79, count = 3") + &step("10s", "lost", "gpu = 2");
    let mut remote = Remote::plays(&(node(3) + &steps)).await;
    remote.bench.until_on(2, "NVMLReady", "False GPULost").await;
    remote.bench.at(100).await;
    let before: Vec<Arc<Gpu>> = vec![remote.bench.gpu(0).await, remote.bench.gpu(1).await, remote.bench.gpu(2).await];
    let lost = remote.bench.now();
    remote.lose_the_store().await;
    for (slot, before) in before.iter().enumerate() {
        let gpu = remote.bench.until(slot, |gpu| gpu.metadata.labels == before.metadata.labels).await;
        assert_eq!((&gpu.spec, &gpu.status.device), (&before.spec, &before.status.device));
        assert_eq!(gpu.status.xids, before.status.xids, "with its history");
        assert_eq!(health(&gpu).to_string(), health(before).to_string());
    }
    assert!(
        remote.bench.now() - lost < seconds(2),
        "not at the next renewal or resync: {:?}",
        remote.bench.now() - lost
    );
    let leases = remote.bench.api.leases.list().await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.state).collect::<Vec<_>>(), [LeaseState::Held]);
    let settled = remote.bench.now().as_secs() + 120;
    remote.bench.at(settled).await;
    assert_eq!(remote.bench.api.names().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_is_lost_is_declared_anew_even_when_another_one_was_written_first() {
    // Between the loss of the store and the next look at all objects, a write tells of it.
    let steps = step("10s", "lost", "gpu = 2") + &step("101s", "xid", "gpu = 1, xid = 79");
    let mut remote = Remote::plays(&(node(3) + &steps)).await;
    remote.bench.until_on(2, "NVMLReady", "False GPULost").await;
    remote.bench.at(100).await;
    remote.lose_the_store().await;
    remote.bench.until_on(1, "XidHealthy", "False Xid79").await;
    remote.bench.until_on(2, "NVMLReady", "False GPULost").await;
    remote.bench.at(300).await;
    assert_eq!(remote.bench.api.names().await, [name(0), name(1), name(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_the_api_was_out_of_reach_is_declared_when_it_is_back() {
    let steps = step("60s", "xid", "gpu = 0, xid = 142, count = 5") + &step("70s", "lost", "gpu = 1");
    let remote = Remote::plays(&(node(2) + &steps)).await;
    remote.bench.at(30).await;
    remote.reach.set(None);
    let requests = remote.reach.requests();
    remote.bench.at(300).await;
    let made = remote.reach.requests() - requests;
    assert!((10..=700).contains(&made), "{made} requests in 270 s: it tries, and does not spin");
    remote.reach.set(Some(&remote.bench.api));
    remote.bench.until(0, |gpu| xids(gpu) == [(142, 5, true)]).await;
    remote.bench.until_on(1, "NVMLReady", "False GPULost").await;
    assert!(remote.bench.now() < seconds(300 + 16), "{:?}", remote.bench.now());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_starts_before_its_api_waits_for_it() {
    let bench = Bench::before_start(&node(2), |_| {}).await;
    let reach = Reach::none();
    let _source = Source::start(&bench.driver, &bench.options, reach.clone(), reach.clone());
    bench.at(120).await;
    let requests = reach.requests();
    assert!((5..=150).contains(&requests), "{requests} requests in two minutes");
    reach.set(Some(&bench.api));
    bench.until_on(0, "NVMLReady", "True Healthy").await;
    assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_gone_just_when_an_object_turns_out_to_exist_does_not_make_the_source_spin() {
    let divided = step("20500ms", "mig_on", "gpu = 0, profiles = [\"1g.10gb\"]");
    let remote = Remote::plays(&(node(1) + &divided)).await;
    remote.bench.until_on(0, "NVMLReady", "True Healthy").await;
    // Somebody else makes the object of the new MIG device before the source does, which has not looked since.
    let theirs = "mig-51500000-0007-0000-8000-000000000000";
    let gpu = Gpu { metadata: ObjectMeta::named(theirs), ..Gpu::default() };
    remote.bench.at(20).await;
    remote.bench.api.gpus.create(&PostParams::default(), &gpu).await.unwrap();
    remote.reach.breaks_at_the_next_object_that_exists();
    remote.bench.at(200).await;
    assert!(remote.reach.is_broken(), "it met the object");
    let requests = remote.reach.requests();
    assert!(requests < 600, "{requests} requests in 200 s");
    remote.reach.set(Some(&remote.bench.api));
    remote.bench.api.until(theirs, |gpu| on(gpu, "NVMLReady") == "True Healthy").await;
}
