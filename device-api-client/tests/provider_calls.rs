// SPDX-License-Identifier: Apache-2.0
//! A provider whose calls are slow or hang, in virtual time: its lease is held all the same, what it declares is stored in the
//! end, and without a lease it writes nothing.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::time::Duration;

use device_api_client::{Declaration, Provider};
use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs as _, Leases, PROVIDER_LOST};
use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuStrategy, ObjectMeta};
use device_api_core::testing::{CallFault, CallFaults, FaultyLeases, FaultyVerbs, Verb};
use device_api_store_memory::Memory;
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_secs(30);

struct World {
    gpus: Registry<Gpu>,
    leases: Leases,
    faults: CallFaults,
    names: Vec<String>,
}

impl World {
    async fn with_gpus(number: usize) -> Self {
        let storage = Memory::new().open().unwrap();
        let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await.unwrap();
        let (gpus, leases) = (ledger.registry(GpuStrategy).await.unwrap(), Leases::open(&ledger).await.unwrap());
        let keeper = (leases.clone(), gpus.clone());
        tokio::spawn(async move { keeper.0.keep(keeper.1).await });
        let names: Vec<String> = (0..number).map(|index| format!("gpu-{index:03}")).collect();
        for name in &names {
            let gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
            gpus.create(&PostParams::default(), &gpu).await.unwrap();
        }
        Self { gpus, leases, faults: CallFaults::new(), names }
    }

    async fn provider(&self, lease: Duration) -> Provider {
        let gpus = FaultyVerbs::new(self.gpus.clone(), &self.faults);
        let leases = FaultyLeases::new(self.leases.clone(), &self.faults);
        let request = AcquireLease::new("thermal").with_condition_types(["Cool"]).with_duration(lease);
        Provider::start(gpus, leases, request).await.unwrap()
    }

    /// The declaration that says this of all GPUs.
    fn all(&self, reason: &str) -> Declaration {
        let said = || [Condition::new("Cool", ConditionStatus::True).with_reason(reason)];
        self.names.iter().fold(Declaration::default(), |all, name| all.with::<Gpu>(name, said()).unwrap())
    }

    /// How many GPUs have this reason.
    async fn count(&self, reason: &str) -> usize {
        let gpus = self.gpus.list_all(&Default::default()).await.unwrap().items;
        gpus.iter().filter(|gpu| gpu.status.conditions.iter().any(|condition| condition.reason == reason)).count()
    }

    async fn until_all(&self, reason: &str) {
        while self.count(reason).await < self.names.len() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn assert_held(&self) {
        let lease = self.leases.list().await.unwrap().remove(0);
        assert_eq!((lease.state, self.count(PROVIDER_LOST).await), (LeaseState::Held, 0));
    }

    /// Whoever holds the lease is alive at every second of this time.
    async fn assert_held_for(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.assert_held().await;
            sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_for_ever_cost_no_lease_and_what_was_declared_is_stored_once_they_do_not() {
    for verb in [Verb::List, Verb::PatchStatus] {
        let world = World::with_gpus(100).await;
        let provider = world.provider(LEASE).await;
        provider.declare(world.all("First")).await.unwrap();
        world.faults.always(verb, CallFault::Hang);
        let meanwhile = async {
            world.assert_held_for(LEASE * 20).await;
            assert_eq!(world.count("First").await, 100);
            world.faults.clear();
        };
        let (declared, ()) = tokio::join!(provider.declare(world.all("Second")), meanwhile);
        declared.unwrap();
        assert_eq!(world.count("Second").await, 100, "{verb:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn writes_that_outlast_the_lease_many_times_are_made_once_each() {
    let world = World::with_gpus(100).await;
    let provider = world.provider(Duration::from_secs(3)).await;
    world.faults.always(Verb::PatchStatus, CallFault::Delay(Duration::from_secs(5)));
    let began = Instant::now();
    let declaring = provider.declare(world.all("Said"));
    tokio::pin!(declaring);
    loop {
        tokio::select! {
            declared = &mut declaring => break declared.unwrap(),
            () = sleep(Duration::from_millis(500)) => world.assert_held().await,
        }
    }
    assert!(began.elapsed() > Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!((world.count("Said").await, world.faults.calls(Verb::PatchStatus)), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_keeps_no_other_object_waiting() {
    let world = World::with_gpus(30).await;
    let provider = world.provider(LEASE).await;
    world.faults.nth(Verb::PatchStatus, 3, CallFault::Hang);
    let began = Instant::now();
    let others = async {
        while world.count("Said").await < 29 {
            sleep(Duration::from_millis(100)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    };
    let (declared, ()) = tokio::join!(provider.declare(world.all("Said")), others);
    declared.unwrap();
    assert_eq!((world.count("Said").await, world.faults.calls(Verb::PatchStatus)), (30, 31));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_is_given_up_and_made_again_in_time() {
    let world = World::with_gpus(1).await;
    let provider = world.provider(LEASE).await;
    provider.declare(world.all("Said")).await.unwrap();
    for _ in 0..10 {
        world.faults.next(Verb::AcquireLease, CallFault::Hang);
        world.assert_held_for(LEASE * 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_nothing_is_written_and_with_one_again_all_is() {
    let world = World::with_gpus(10).await;
    let provider = world.provider(LEASE).await;
    provider.declare(world.all("First")).await.unwrap();
    world.faults.always(Verb::AcquireLease, CallFault::Hang);
    world.until_all(PROVIDER_LOST).await;
    let writes = world.faults.calls(Verb::PatchStatus);
    let meanwhile = async {
        sleep(LEASE * 10).await;
        assert_eq!((world.count(PROVIDER_LOST).await, world.faults.calls(Verb::PatchStatus)), (10, writes));
        world.faults.clear();
    };
    let (declared, ()) = tokio::join!(provider.declare(world.all("Second")), meanwhile);
    declared.unwrap();
    assert_eq!(world.count("Second").await, 10);
    world.assert_held_for(LEASE * 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_being_written_when_the_lease_ends_is_given_up() {
    let world = World::with_gpus(10).await;
    let provider = world.provider(Duration::from_secs(3)).await;
    provider.declare(world.all("First")).await.unwrap();
    world.faults.always(Verb::PatchStatus, CallFault::Delay(Duration::from_secs(8)));
    let meanwhile = async {
        let writes = world.faults.calls(Verb::PatchStatus);
        while world.faults.calls(Verb::PatchStatus) == writes {
            sleep(Duration::from_millis(100)).await;
        }
        world.faults.always(Verb::AcquireLease, CallFault::Fail(CallFaults::lost()));
        sleep(Duration::from_secs(60)).await;
        assert_eq!((world.count(PROVIDER_LOST).await, world.count("Second").await), (10, 0));
        world.faults.clear();
    };
    let (declared, ()) = tokio::join!(provider.declare(world.all("Second")), meanwhile);
    declared.unwrap();
    assert_eq!(world.count("Second").await, 10);
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_while_it_writes_writes_nothing_more_once_it_is_told() {
    let world = World::with_gpus(80).await;
    let provider = world.provider(LEASE).await;
    world.faults.always(Verb::PatchStatus, CallFault::Delay(Duration::from_secs(5)));
    let rival = async {
        sleep(Duration::from_secs(12)).await;
        let request = AcquireLease::new("thermal").with_condition_types(["Cool"]).with_duration(LEASE * 100);
        world.leases.acquire(&request.take_over()).await.unwrap();
        let replaced = Instant::now();
        assert!(provider.lost().await.is_conflict());
        assert!(replaced.elapsed() <= LEASE / 3, "{:?}", replaced.elapsed());
        let written = (world.count("Said").await, world.faults.calls(Verb::PatchStatus));
        sleep(LEASE * 10).await;
        assert_eq!((world.count("Said").await, world.faults.calls(Verb::PatchStatus)), written);
        written.0
    };
    let (declared, written) = tokio::join!(provider.declare(world.all("Said")), rival);
    assert!(declared.unwrap_err().is_conflict());
    assert!((8..80).contains(&written), "{written}");
}

#[tokio::test(start_paused = true)]
async fn each_object_gets_what_is_declared_when_its_turn_comes() {
    let world = World::with_gpus(24).await;
    let provider = world.provider(LEASE).await;
    world.faults.always(Verb::PatchStatus, CallFault::Delay(Duration::from_secs(5)));
    let later = async {
        sleep(Duration::from_secs(6)).await;
        provider.declare(world.all("Second")).await
    };
    let (first, second) = tokio::join!(provider.declare(world.all("First")), later);
    first.unwrap();
    second.unwrap();
    assert_eq!(world.count("Second").await, 24);
    let writes = world.faults.calls(Verb::PatchStatus);
    assert!(writes < 48, "some were written once, with the newest: {writes}");
}

#[tokio::test(start_paused = true)]
async fn who_stops_amid_a_write_that_hangs_gives_the_lease_back_in_bounded_time() {
    let world = World::with_gpus(3).await;
    let provider = world.provider(LEASE).await;
    world.faults.always(Verb::PatchStatus, CallFault::Hang);
    tokio::select! {
        _ = provider.declare(world.all("Said")) => {}
        () = world.faults.hanging() => {}
    }
    let began = Instant::now();
    provider.stop().await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(world.leases.list().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_given_up_after_the_leases_duration() {
    let world = World::with_gpus(0).await;
    world.faults.always(Verb::AcquireLease, CallFault::Hang);
    let leases = FaultyLeases::new(world.leases.clone(), &world.faults);
    let request = AcquireLease::new("thermal").with_condition_types(["Cool"]).with_duration(LEASE);
    let began = Instant::now();
    let error = Provider::start(world.gpus.clone(), leases, request).await.unwrap_err();
    assert!(error.is_unavailable() && error.is_retryable(), "{error}");
    assert_eq!(began.elapsed(), LEASE);
}

#[tokio::test(start_paused = true)]
async fn who_has_declared_nothing_yet_renews_and_asks_for_nothing_else() {
    let world = World::with_gpus(1).await;
    let _provider = world.provider(LEASE).await;
    world.assert_held_for(LEASE * 5).await;
    assert_eq!((world.faults.calls(Verb::List), world.faults.calls(Verb::PatchStatus)), (0, 0));
}
