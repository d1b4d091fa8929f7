// SPDX-License-Identifier: Apache-2.0
//! Leases in virtual time: what expires when, and what a keeper does about it.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exceptions for tests do not reach their functions

use std::sync::{Arc, Mutex};
use std::time::Duration;

use device_api_core::lease::{AcquireLease, Lease, LeaseState, LeaseVerbs as _, Leases, PROVIDER_LOST};
use device_api_core::registry::{
    Clock, Ledger, LedgerOptions, Part, PostParams, Preconditions, Registry, Watch, WatchEvent, WatchParams,
};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuStrategy, ObjectMeta, Timestamp};
use device_api_core::storage::Storage;
use device_api_core::testing::{Call, Fault, Faults, FaultyStorage};
use device_api_store_memory::Memory;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, sleep_until, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A wall clock that stands still until it is set.
#[derive(Debug)]
struct Wall(Mutex<Timestamp>);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct World {
    ledger: Ledger,
    gpus: Registry<Gpu>,
    leases: Leases,
    keeper: JoinHandle<()>,
    wall: Arc<Wall>,
}

impl World {
    async fn new() -> Self {
        Self::on(Memory::new().open().unwrap()).await
    }

    async fn on(storage: impl Storage) -> Self {
        let wall = Arc::new(Wall(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
        let options = LedgerOptions::default().with_clock(wall.clone());
        let ledger = Ledger::open(Box::new(storage), options).await.unwrap();
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        let leases = Leases::open(&ledger).await.unwrap();
        let keeper = tokio::spawn({
            let (leases, gpus) = (leases.clone(), gpus.clone());
            async move { leases.keep(gpus).await }
        });
        Self { ledger, gpus, leases, keeper, wall }
    }

    async fn gpu(&self, name: &str, types: &[&str]) -> Arc<Gpu> {
        let mut gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
        gpu.status.conditions =
            types.iter().map(|type_| Condition::new(*type_, ConditionStatus::True).with_reason("Fine")).collect();
        self.gpus.create(&PostParams::default(), &gpu).await.unwrap()
    }

    async fn write(&self, name: &str, type_: &'static str, status: ConditionStatus) -> Arc<Gpu> {
        let change = move |gpu: &mut Gpu| {
            let condition = gpu.status.conditions.iter_mut().find(|condition| condition.type_ == type_).unwrap();
            (condition.status, condition.reason) = (status, "Fine".to_owned());
            Ok(())
        };
        let (params, when) = (PostParams::default(), Preconditions::default());
        self.gpus.modify_in_place(Part::Status, name, &params, when, change).await.unwrap()
    }

    async fn condition(&self, name: &str, type_: &str) -> Condition {
        let gpu = self.gpus.get(name).await.unwrap();
        gpu.status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().clone()
    }

    async fn state(&self, name: &str) -> LeaseState {
        self.leases.list().await.unwrap().into_iter().find(|lease| lease.name == name).unwrap().state
    }

    async fn acquire(&self, request: &AcquireLease) -> Lease {
        self.leases.acquire(request).await.unwrap()
    }

    /// Watches what comes from now on.
    async fn watch(&self) -> Watch<Gpu> {
        let now = self.ledger.revision().await.unwrap();
        self.gpus.watch(&WatchParams::default().at(now.to_string())).await.unwrap()
    }

    /// Lets everybody do what they can do without time passing.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

fn nvml() -> AcquireLease {
    AcquireLease::new("nvml").with_condition_types(["NVMLReady", "XidHealthy"])
}

async fn modified(watch: &mut Watch<Gpu>) -> Arc<Gpu> {
    match timeout(60 * 60 * SECOND, watch.next()).await.unwrap().unwrap().unwrap() {
        WatchEvent::Modified(gpu) => gpu,
        other => panic!("{other:?}"),
    }
}

fn is_lost(condition: &Condition) -> bool {
    condition.status == ConditionStatus::Unknown && condition.reason == PROVIDER_LOST
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_takes_its_conditions_with_it_and_watchers_see_it() {
    let world = World::new().await;
    world.gpu("a", &["NVMLReady", "ThermalHealthy"]).await;
    world.gpu("b", &["ThermalHealthy"]).await;
    let mut watch = world.watch().await;
    let start = Instant::now();
    world.acquire(&nvml()).await;
    *world.wall.0.lock().unwrap() = "2026-01-01T00:00:30.5Z".parse().unwrap();

    let gpu = modified(&mut watch).await;
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(gpu.metadata.name, "a");
    let [lost, other] = &gpu.status.conditions[..] else { panic!("{gpu:?}") };
    assert!(is_lost(lost), "{lost:?}");
    assert!(lost.message.contains("\"nvml\"") && lost.message.contains("30s"), "{lost:?}");
    assert_eq!(lost.last_transition_time, Some("2026-01-01T00:00:30Z".parse().unwrap()));
    assert_eq!((&other.status, other.reason.as_str()), (&ConditionStatus::True, "Fine"));
    assert_eq!(world.state("nvml").await, LeaseState::Expired);
    // And nothing more: neither to others, nor again and again.
    assert!(timeout(600 * SECOND, watch.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn renewals_keep_a_lease_and_write_nothing() {
    let world = World::new().await;
    world.gpu("a", &["NVMLReady"]).await;
    let lease = world.acquire(&nvml()).await;
    let renewal = nvml().with_id(&lease.id);
    let before = world.ledger.revision().await.unwrap();
    for round in 0..100 {
        sleep(29 * SECOND).await;
        *world.wall.0.lock().unwrap() = Timestamp::UNIX_EPOCH.plus(SECOND * round);
        let renewed = world.acquire(&renewal).await;
        assert_eq!((renewed.state, &renewed.id), (LeaseState::Held, &lease.id));
        assert_eq!(renewed.renewed_at, Timestamp::UNIX_EPOCH.plus(SECOND * round));
        assert_eq!(renewed.acquired_at, lease.acquired_at);
        assert_eq!(world.leases.list().await.unwrap(), [renewed]);
    }
    assert_eq!(world.ledger.revision().await.unwrap(), before);
    assert!(!is_lost(&world.condition("a", "NVMLReady").await));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_expires_nothing_and_keeps_nothing() {
    let world = World::new().await;
    world.acquire(&nvml()).await;
    *world.wall.0.lock().unwrap() = "2036-01-01T00:00:00Z".parse().unwrap();
    sleep(29 * SECOND).await;
    assert_eq!(world.state("nvml").await, LeaseState::Held);
    *world.wall.0.lock().unwrap() = "2016-01-01T00:00:00Z".parse().unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(world.state("nvml").await, LeaseState::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_paused_is_overruled_until_it_renews() {
    let world = World::new().await;
    world.gpu("a", &["NVMLReady"]).await;
    let lease = world.acquire(&nvml()).await;
    sleep(31 * SECOND).await;
    assert!(is_lost(&world.condition("a", "NVMLReady").await));
    // It knows of nothing, and writes what it saw before; and an object that is new is no exception.
    let mut watch = world.watch().await;
    world.write("a", "NVMLReady", ConditionStatus::True).await;
    assert!(!is_lost(&modified(&mut watch).await.status.conditions[0]));
    assert!(is_lost(&modified(&mut watch).await.status.conditions[0]));
    world.gpu("b", &["XidHealthy"]).await;
    world.settle().await;
    assert!(is_lost(&world.condition("b", "XidHealthy").await));

    let revived = world.acquire(&nvml().with_id(&lease.id)).await;
    assert_eq!((revived.state, &revived.id), (LeaseState::Expired, &lease.id), "it is told that it was lost");
    assert_eq!(world.state("nvml").await, LeaseState::Held);
    let written = world.write("a", "NVMLReady", ConditionStatus::True).await;
    sleep(29 * SECOND).await;
    assert_eq!(world.gpus.get("a").await.unwrap(), written);
    assert_eq!(world.acquire(&nvml().with_id(&lease.id)).await.state, LeaseState::Held);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_writes_after_its_renewal_was_answered_stands() {
    let world = World::new().await;
    world.gpu("a", &["NVMLReady"]).await;
    let lease = world.acquire(&nvml()).await;
    // Renewals from the very moment of the deadline to after the expiry was noted and its conditions were overruled, by a
    // provider whose timer comes before that of the keeper, or after.
    for round in 0..240 {
        let deadline = Instant::now() + 30 * SECOND;
        if round % 2 == 0 {
            world.settle().await;
        }
        sleep_until(deadline).await;
        for _ in 0..round / 4 {
            tokio::task::yield_now().await;
        }
        world.acquire(&nvml().with_id(&lease.id)).await;
        let written = world.write("a", "NVMLReady", ConditionStatus::True).await;
        world.settle().await;
        assert_eq!(world.gpus.get("a").await.unwrap(), written, "round {round}");
        assert_eq!(world.state("nvml").await, LeaseState::Held, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_keeper_sees_only_after_the_renewal_is_not_overruled() {
    let faults = Faults::new();
    let world = World::on(FaultyStorage::new(Box::new(Memory::new().open().unwrap()), &faults)).await;
    world.gpu("a", &["NVMLReady"]).await;
    let lease = world.acquire(&nvml()).await;
    // What the keeper looks at first, the object or the lease, is chance.
    for round in 0..32 {
        sleep(31 * SECOND).await;
        assert!(is_lost(&world.condition("a", "NVMLReady").await), "round {round}");
        // A write that is being stored, and the renewal behind it.
        faults.next(Call::Commit, Fault::Hang);
        let late = async {
            world.settle().await;
            let renewal = nvml().with_id(&lease.id);
            let renewed = world.acquire(&renewal);
            let released = async {
                world.settle().await;
                faults.release();
            };
            tokio::join!(renewed, released);
        };
        let (written, ()) = tokio::join!(world.write("a", "NVMLReady", ConditionStatus::True), late);
        world.settle().await;
        assert_eq!(world.gpus.get("a").await.unwrap(), written, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_over_may_be_had_without_taking_over_even_where_nobody_keeps() {
    let world = World::new().await;
    world.keeper.abort();
    let lost = world.acquire(&nvml()).await;
    assert!(world.leases.acquire(&nvml()).await.unwrap_err().is_conflict());
    advance(30 * SECOND).await;
    assert_eq!(world.state("nvml").await, LeaseState::Expired);
    let next = world.acquire(&nvml()).await;
    assert_ne!(next.id, lost.id);
    assert!(world.leases.acquire(&nvml().with_id(lost.id)).await.unwrap_err().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn a_type_that_somebody_else_took_from_an_expired_lease_is_left_alone() {
    let world = World::new().await;
    world.gpu("a", &["NVMLReady", "XidHealthy"]).await;
    let lost = world.acquire(&nvml()).await;
    sleep(31 * SECOND).await;
    let heir = AcquireLease::new("heir").with_condition_types(["NVMLReady"]).with_duration(600 * SECOND);
    world.acquire(&heir).await;
    world.write("a", "NVMLReady", ConditionStatus::True).await;
    world.write("a", "XidHealthy", ConditionStatus::True).await;
    world.settle().await;
    assert!(!is_lost(&world.condition("a", "NVMLReady").await));
    assert!(is_lost(&world.condition("a", "XidHealthy").await));
    let error = world.leases.acquire(&nvml().with_id(lost.id)).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("\"heir\""), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_release_leaves_conditions_as_they_are() {
    let world = World::new().await;
    let gpu = world.gpu("a", &["NVMLReady"]).await;
    let lease = world.acquire(&nvml()).await;
    world.leases.release("nvml", Some(&lease.id)).await.unwrap();
    sleep(60 * SECOND).await;
    assert_eq!(world.leases.list().await.unwrap(), []);
    assert_eq!(world.gpus.get("a").await.unwrap(), gpu);
}

#[tokio::test(start_paused = true)]
async fn people_may_remove_an_expired_lease_and_its_conditions_stay_unknown() {
    let world = World::new().await;
    world.gpu("a", &["NVMLReady"]).await;
    world.acquire(&nvml()).await;
    assert!(world.leases.release("nvml", None).await.unwrap_err().is_conflict());
    sleep(31 * SECOND).await;
    world.leases.release("nvml", None).await.unwrap();
    assert!(world.leases.release("nvml", None).await.unwrap_err().is_not_found());
    sleep(60 * SECOND).await;
    assert!(is_lost(&world.condition("a", "NVMLReady").await));
}

#[tokio::test(start_paused = true)]
async fn leases_and_their_types_are_bounded() {
    let world = World::new().await;
    for number in 0..256 {
        let types = (0..4).map(|type_| format!("T{number}-{type_}"));
        world.acquire(&AcquireLease::new(format!("p{number}")).with_condition_types(types)).await;
    }
    let error = world.leases.acquire(&nvml()).await.unwrap_err();
    assert!(error.is_too_large(), "{error}");
    // A provider that is there already may ask for no more types than there is room for, either.
    let more = AcquireLease::new("p0").with_condition_types(["a", "b", "c", "d", "e"]).take_over();
    let error = world.leases.acquire(&more).await.unwrap_err();
    assert!(error.is_too_large(), "{error}");
    world.acquire(&AcquireLease::new("p0").with_condition_types(["a", "b", "c", "d"]).take_over()).await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_ends_with_its_ledger() {
    let world = World::new().await;
    world.acquire(&nvml()).await;
    sleep(31 * SECOND).await;
    world.ledger.close().await.unwrap();
    timeout(60 * SECOND, world.keeper).await.unwrap().unwrap();
    assert!(world.leases.acquire(&nvml()).await.unwrap_err().is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_store_though_a_keeper_runs() {
    let memory = Memory::new();
    let World { ledger, gpus, leases, keeper, .. } = World::on(memory.open().unwrap()).await;
    // It is at work: one lease is lost, another is awaited.
    leases.acquire(&nvml()).await.unwrap();
    sleep(31 * SECOND).await;
    leases.acquire(&AcquireLease::new("other").with_condition_types(["Other"])).await.unwrap();
    let mut watch = gpus.watch(&WatchParams::default()).await.unwrap();
    drop(ledger);
    drop(gpus);
    assert!(memory.open().is_err(), "the leases are a handle too");
    drop(leases);
    assert!(timeout(60 * SECOND, watch.next()).await.unwrap().is_none(), "the watch ends");
    timeout(60 * SECOND, keeper).await.unwrap().unwrap();
    let is_free = async {
        while memory.open().is_err() {
            sleep(SECOND).await;
        }
    };
    timeout(60 * SECOND, is_free).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_nobody_keeps_former_holders_are_forgotten() {
    let world = World::new().await;
    world.keeper.abort();
    for _ in 0..100 {
        world.acquire(&nvml().take_over()).await;
        world.leases.list().await.unwrap();
    }
    // All that is in memory shows in it: the holder, and the one before, who had it until the next was stored.
    let known = format!("{:?}", world.leases).matches("Deadline {").count();
    assert!((1..=2).contains(&known), "{known}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_provider_is_overruled_however_fast_others_come_and_go() {
    let world = World::new().await;
    for number in 0..4000 {
        world.gpu(&format!("gpu-{number}"), &["Other"]).await;
    }
    world.gpu("last", &["Mine"]).await;
    let lease = |name: &str, type_: &str| {
        AcquireLease::new(name).with_condition_types([type_]).with_duration(SECOND).with_holder_identity("me")
    };
    world.acquire(&lease("mine", "Mine")).await;
    // Each renewal after its end, and each end, changes what is lost, long before a look at all objects is over.
    let mut rounds = 0..20;
    while world.condition("last", "Mine").await.status == ConditionStatus::True {
        rounds.next().expect("the keeper to come to the last object");
        for number in 0..64 {
            world.acquire(&lease(&format!("other-{number}"), &format!("Type{number}"))).await;
        }
        advance(SECOND).await;
    }
    assert_eq!(world.condition("last", "Mine").await.reason, PROVIDER_LOST);
}
