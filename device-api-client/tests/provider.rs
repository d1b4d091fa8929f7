// SPDX-License-Identifier: Apache-2.0
//! A provider, in virtual time: what it writes, and what it does when the server, its lease or its rival has other plans.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use device_api_client::{Declaration, Provider, VerbsExt as _};
use device_api_core::error::Cause;
use device_api_core::lease::{AcquireLease, Lease, LeaseVerbs, Leases, PROVIDER_LOST};
use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry, WatchEvent, WatchParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuStrategy, ObjectMeta};
use device_api_core::{Error, Result};
use device_api_store_memory::Memory;

/// Leases on a server that can be out of reach.
#[derive(Clone)]
struct Line {
    leases: Leases,
    is_cut: Arc<AtomicBool>,
    /// The next answer is lost, and then the line is cut.
    loses_answer: Arc<AtomicBool>,
}

impl Line {
    fn check(&self) -> Result<()> {
        if !self.is_cut.load(Ordering::Relaxed) {
            return Ok(());
        }
        let retry_after = Some(Duration::from_secs(1));
        Err(Error::Unavailable { why: "the line is cut".to_owned(), retry_after, cause: Cause::unknown() })
    }
}

impl LeaseVerbs for Line {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        self.check()?;
        let lease = self.leases.acquire(request).await?;
        if self.loses_answer.swap(false, Ordering::Relaxed) {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        self.check().map(|()| lease)
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        self.check()?;
        self.leases.release(name, id).await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        self.check()?;
        self.leases.list().await
    }
}

struct World {
    gpus: Registry<Gpu>,
    leases: Leases,
    line: Line,
}

impl World {
    async fn new() -> Self {
        let storage = Memory::new().open().unwrap();
        let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await.unwrap();
        let (gpus, leases) = (ledger.registry(GpuStrategy).await.unwrap(), Leases::open(&ledger).await.unwrap());
        let keeper = (leases.clone(), gpus.clone());
        tokio::spawn(async move { keeper.0.keep(keeper.1).await });
        let line = Line { leases: leases.clone(), is_cut: Arc::default(), loses_answer: Arc::default() };
        Self { gpus, leases, line }
    }

    async fn provider(&self) -> Provider {
        Provider::start(self.gpus.clone(), self.line.clone(), request()).await.unwrap()
    }

    async fn register(&self, name: &str) {
        let gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
        self.gpus.create(&PostParams::default(), &gpu).await.unwrap();
    }

    async fn set(&self, name: &str, condition: Condition) {
        self.gpus.set_condition(name, &PostParams::default(), &condition).await.unwrap();
    }

    async fn reasons(&self, name: &str) -> Vec<String> {
        self.gpus.get(name).await.unwrap().status.conditions.iter().map(|one| one.reason.clone()).collect()
    }

    /// Waits until a GPU's conditions have these reasons.
    async fn until(&self, name: &str, reasons: &[&str]) {
        let mut changes = self.gpus.watch(&WatchParams::default()).await.unwrap();
        while self.reasons(name).await != reasons {
            assert!(matches!(changes.next().await, Some(Ok(WatchEvent::Added(_) | WatchEvent::Modified(_)))));
        }
    }

    fn cut(&self, is_cut: bool) {
        self.line.is_cut.store(is_cut, Ordering::Relaxed);
    }

    async fn lease(&self) -> Lease {
        self.leases.list().await.unwrap().remove(0)
    }

    /// Makes the server forget the lease, and the line lose the answer by which the provider is given another, which is returned.
    async fn lose_answer_to_acquire(&self) -> Lease {
        let forgotten = self.lease().await.id;
        self.leases.release("thermal", Some(&forgotten)).await.unwrap();
        self.line.loses_answer.store(true, Ordering::Relaxed);
        while self.leases.list().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let lease = self.lease().await;
        assert_ne!(lease.id, forgotten);
        lease
    }
}

fn request() -> AcquireLease {
    AcquireLease::new("thermal").with_condition_types(["Cool", "Clean"])
}

fn said(type_: &str, reason: &str) -> Condition {
    Condition::new(type_, ConditionStatus::True).with_reason(reason)
}

fn all(says: &[(&str, &[Condition])]) -> Declaration {
    says.iter().fold(Declaration::default(), |all, (name, says)| all.with::<Gpu>(name, says.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_is_all_that_the_provider_says_and_others_keep_theirs() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.register(name).await;
        world.set(name, said("Other", "Own")).await;
        world.set(name, said("Clean", "FromBefore")).await;
    }
    let provider = world.provider().await;
    assert_eq!(world.reasons("a").await, ["Own", "FromBefore"], "nothing is declared yet");
    provider.declare(all(&[("a", &[said("Cool", "First"), said("Clean", "First")])])).await.unwrap();
    assert_eq!(world.reasons("a").await, ["Own", "First", "First"]);
    assert_eq!(world.reasons("b").await, ["Own"]);
    provider.declare(all(&[("b", &[said("Cool", "Second")])])).await.unwrap();
    assert_eq!((world.reasons("a").await, world.reasons("b").await.len()), (vec!["Own".to_owned()], 2));

    let version = world.gpus.get("b").await.unwrap().metadata.resource_version.clone();
    provider.declare(all(&[("b", &[said("Cool", "Second")])])).await.unwrap();
    assert_eq!(world.gpus.get("b").await.unwrap().metadata.resource_version, version, "the same again is no write");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_registered_later_gets_its_conditions() {
    let world = World::new().await;
    let provider = world.provider().await;
    provider.declare(all(&[("late", &[said("Cool", "Waiting")])])).await.unwrap();
    world.register("late").await;
    world.until("late", &["Waiting"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_does_not_expire_and_a_foreign_hand_is_corrected() {
    let world = World::new().await;
    world.register("a").await;
    let provider = world.provider().await;
    provider.declare(all(&[("a", &[said("Cool", "Mine")])])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.reasons("a").await, ["Mine"]);
    world.set("a", said("Cool", "Foreign")).await;
    world.until("a", &["Mine"]).await;
}

#[tokio::test(start_paused = true)]
async fn after_its_lease_has_expired_a_provider_declares_all_anew() {
    let world = World::new().await;
    world.register("a").await;
    let provider = world.provider().await;
    provider.declare(all(&[("a", &[said("Cool", "Mine")])])).await.unwrap();
    world.cut(true);
    world.until("a", &[PROVIDER_LOST]).await;
    // What is declared meanwhile is not lost either.
    let declared = provider.declare(all(&[("a", &[said("Cool", "New")])]));
    let (declared, ()) = tokio::join!(declared, async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.reasons("a").await, [PROVIDER_LOST]);
        world.cut(false);
    });
    declared.unwrap();
    world.until("a", &["New"]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.reasons("a").await, ["New"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_server_forgot_is_acquired_anew() {
    let world = World::new().await;
    let provider = world.provider().await;
    let first = world.lease().await.id;
    world.leases.release("thermal", Some(&first)).await.unwrap();
    provider.declare(Declaration::default()).await.unwrap();
    assert_ne!(world.lease().await.id, first);
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_new_lease_it_was_not_told_of_is_not_replaced_by_itself() {
    for duration in [1, 30, 3600].map(Duration::from_secs) {
        let world = World::new().await;
        world.register("a").await;
        let request = request().with_duration(duration);
        let provider = Provider::start(world.gpus.clone(), world.line.clone(), request).await.unwrap();
        let own = world.lose_answer_to_acquire().await;
        world.cut(false);
        provider.declare(all(&[("a", &[said("Cool", "Mine")])])).await.unwrap();
        assert_eq!((world.lease().await.id, world.lease().await.duration), (own.id, duration));
        tokio::time::sleep(3 * duration).await;
        assert_eq!(world.reasons("a").await, ["Mine"]);
        provider.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_provider_has_an_identity_of_its_own_and_takes_none() {
    let world = World::new().await;
    let first = world.provider().await;
    let identity = world.lease().await.holder_identity;
    let people_see = format!("{}_", std::process::id());
    assert!(identity.starts_with(&people_see) && identity.len() > people_see.len(), "{identity}");
    first.stop().await.unwrap();
    let second = world.provider().await;
    assert_ne!(world.lease().await.holder_identity, identity);
    second.stop().await.unwrap();

    let request = request().with_holder_identity(identity);
    let error = Provider::start(world.gpus.clone(), world.line.clone(), request).await.unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("holderIdentity"), "{error}");
    assert_eq!(world.leases.list().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_comes_after_a_lost_answer_is_not_taken_for_the_provider_itself() {
    let world = World::new().await;
    let old = world.provider().await;
    world.lose_answer_to_acquire().await;
    let new = Provider::start(world.gpus.clone(), world.leases.clone(), request().take_over()).await.unwrap();
    let rival = world.lease().await;
    world.cut(false);
    assert!(old.lost().await.is_conflict());
    assert_eq!(world.lease().await.id, rival.id);
    assert!(old.stop().await.unwrap_err().is_conflict());
    new.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_back_a_lease_that_it_was_not_told_of() {
    let world = World::new().await;
    let provider = world.provider().await;
    world.lose_answer_to_acquire().await;
    world.cut(false);
    provider.stop().await.unwrap();
    assert_eq!(world.leases.list().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_is_told_and_writes_nothing_more() {
    let world = World::new().await;
    world.register("a").await;
    let old = world.provider().await;
    old.declare(all(&[("a", &[said("Cool", "Old")])])).await.unwrap();
    let error = Provider::start(world.gpus.clone(), world.leases.clone(), request()).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");

    let new = Provider::start(world.gpus.clone(), world.leases.clone(), request().take_over()).await.unwrap();
    new.declare(all(&[("a", &[said("Cool", "New")])])).await.unwrap();
    assert!(old.declare(all(&[("a", &[said("Cool", "Old")])])).await.unwrap_err().is_conflict());
    assert!(old.lost().await.is_conflict());
    assert_eq!(world.reasons("a").await, ["New"]);
    assert!(old.stop().await.unwrap_err().is_conflict());
    new.declare(all(&[("a", &[said("Cool", "Still")])])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_told_and_the_rest_is_written() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.register(name).await;
    }
    let provider = world.provider().await;
    let error = provider.declare(all(&[("a", &[said("Cool", "no spaces")]), ("b", &[said("Cool", "Fine")])])).await;
    assert!(error.as_ref().unwrap_err().is_invalid(), "{error:?}");
    assert_eq!(world.reasons("b").await, ["Fine"]);
    provider.declare(all(&[("a", &[said("Cool", "Fine")])])).await.unwrap();
    assert!(provider.declare(all(&[("a", &[said("Other", "Foreign")])])).await.unwrap_err().is_invalid());
    assert_eq!(world.reasons("a").await, ["Fine"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_dropped_gives_nothing_back() {
    let world = World::new().await;
    for round in 0..50 {
        let provider = Provider::start(world.gpus.clone(), world.line.clone(), request().take_over()).await.unwrap();
        let id = world.lease().await.id;
        drop(provider);
        // Its task has a handle, too, and what it did it has done when that is gone.
        while Arc::strong_count(&world.line.is_cut) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.lease().await.id, id, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_the_lease_back_and_leaves_the_conditions() {
    let world = World::new().await;
    world.register("a").await;
    let provider = world.provider().await;
    provider.declare(all(&[("a", &[said("Cool", "Last")])])).await.unwrap();
    provider.stop().await.unwrap();
    assert_eq!(world.leases.list().await.unwrap(), []);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.reasons("a").await, ["Last"]);
}
