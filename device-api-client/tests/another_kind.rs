// SPDX-License-Identifier: Apache-2.0
//! What writers and providers do, on a kind that is not the GPU, in virtual time.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::time::Duration;

use device_api_client::wait::conditions::has_condition;
use device_api_client::wait::wait_for;
use device_api_client::{Declaration, Outcome, Provider, VerbsExt as _};
use device_api_core::lease::{AcquireLease, LeaseVerbs as _, Leases, PROVIDER_LOST};
use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
use device_api_core::resource::{Condition, ConditionStatus};
use device_api_core::testing::local::{Nic, NicStrategy};
use device_api_store_memory::Memory;

struct World {
    nics: Registry<Nic>,
    leases: Leases,
}

impl World {
    async fn new() -> Self {
        let storage = Memory::new().open().unwrap();
        let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await.unwrap();
        let (nics, leases) = (ledger.registry(NicStrategy).await.unwrap(), Leases::open(&ledger).await.unwrap());
        let keeper = (leases.clone(), nics.clone());
        tokio::spawn(async move { keeper.0.keep(keeper.1).await });
        nics.create(&PostParams::default(), &Nic::new("eth0", "a")).await.unwrap();
        Self { nics, leases }
    }

    async fn reasons(&self) -> Vec<String> {
        self.nics.get("eth0").await.unwrap().status.conditions.iter().map(|one| one.reason.clone()).collect()
    }
}

fn said(type_: &str, reason: &str) -> Condition {
    Condition::new(type_, ConditionStatus::True).with_reason(reason)
}

#[tokio::test(start_paused = true)]
async fn writers_keep_each_others_conditions() {
    let world = World::new().await;
    let params = PostParams::default();
    world.nics.set_conditions("eth0", &params, &[said("LinkUp", "Carrier"), said("Cool", "Fine")]).await.unwrap();
    world.nics.set_condition("eth0", &params, &said("Cool", "Fan")).await.unwrap();
    assert_eq!(world.reasons().await, ["Carrier", "Fan"]);

    // Another order, and times that are left away, are no change.
    let turn = |nic: &mut Nic| {
        nic.status.conditions.reverse();
        nic.status.conditions.iter_mut().for_each(|condition| condition.last_transition_time = None);
    };
    let entry = world.nics.entry("eth0").and_modify(turn);
    let outcome = entry.or_create(&params, || Nic::new("eth0", "a")).await.unwrap();
    assert!(matches!(outcome, Outcome::Unchanged(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn after_its_lease_has_expired_a_provider_declares_all_anew() {
    let world = World::new().await;
    let request = AcquireLease::new("links").with_condition_types(["LinkUp"]);
    let provider = Provider::start(world.nics.clone(), world.leases.clone(), request.clone()).await.unwrap();
    let all = Declaration::default().with::<Nic>("eth0", [said("LinkUp", "Carrier")]).unwrap();
    provider.declare(all.clone()).await.unwrap();
    assert_eq!(world.reasons().await, ["Carrier"]);

    drop(provider);
    let unknown = has_condition("LinkUp", ConditionStatus::Unknown);
    wait_for(&world.nics, "eth0", unknown, Duration::from_secs(600)).await.unwrap();
    assert_eq!(world.reasons().await, [PROVIDER_LOST]);

    let provider = Provider::start(world.nics.clone(), world.leases.clone(), request).await.unwrap();
    provider.declare(all).await.unwrap();
    assert_eq!(world.reasons().await, ["Carrier"]);
    provider.stop().await.unwrap();
    assert_eq!(world.leases.list().await.unwrap(), []);
}
