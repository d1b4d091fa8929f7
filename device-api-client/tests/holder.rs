// SPDX-License-Identifier: Apache-2.0
//! The holder of a lease, in virtual time: what it tells, and when.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::time::Duration;

use device_api_client::{LeaseHolder, Tenure};
use device_api_core::Error;
use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs as _, Leases};
use device_api_core::registry::{Ledger, LedgerOptions};
use device_api_core::testing::{CallFault, CallFaults, FaultyLeases, Verb};
use device_api_store_memory::Memory;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const LEASE: Duration = Duration::from_secs(30);

struct World {
    leases: Leases,
    faults: CallFaults,
}

impl World {
    async fn new() -> Self {
        let storage = Memory::new().open().unwrap();
        let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await.unwrap();
        Self { leases: Leases::open(&ledger).await.unwrap(), faults: CallFaults::new() }
    }

    fn holder(&self) -> LeaseHolder<FaultyLeases<Leases>> {
        LeaseHolder::new(FaultyLeases::new(self.leases.clone(), &self.faults), request().take_over())
    }

    /// A holder at work.
    fn hold(&self, mut holder: LeaseHolder<FaultyLeases<Leases>>) -> (Tenure, JoinHandle<Error>) {
        (holder.tenure(), tokio::spawn(async move { holder.hold().await }))
    }

    async fn state(&self) -> LeaseState {
        self.leases.list().await.unwrap().remove(0).state
    }

    async fn id(&self) -> String {
        self.leases.list().await.unwrap().remove(0).id
    }
}

fn request() -> AcquireLease {
    AcquireLease::new("thermal").with_condition_types(["Cool"]).with_duration(LEASE)
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_is_over_here_no_later_than_on_the_server() {
    for fault in [CallFault::Hang, CallFault::Fail(CallFaults::lost())] {
        let world = World::new().await;
        let (mut tenure, _held) = world.hold(world.holder());
        let first = tenure.confirm().await;
        for round in 0..5 {
            // At another time of its interval each time.
            sleep(LEASE + Duration::from_millis(1_700) * round).await;
            assert!(tenure.is_held());
            let before = tenure.number();
            world.faults.always(Verb::AcquireLease, fault.clone());
            while tenure.is_held() && world.state().await == LeaseState::Held {
                sleep(Duration::from_millis(10)).await;
            }
            // In one process, at the same moment: as exactly as timers are.
            let over = Instant::now();
            tenure.ended(before).await;
            assert!(over.elapsed() <= Duration::from_millis(1), "{:?}", over.elapsed());
            sleep(LEASE).await;
            assert_eq!((world.state().await, tenure.number()), (LeaseState::Expired, before));
            world.faults.clear();
            timeout(LEASE, tenure.renumbered(before)).await.unwrap();
            assert_eq!(world.state().await, LeaseState::Held);
        }
        assert_eq!(tenure.number(), first + 5);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_replaced_does_not_come_back_from_confirm() {
    let world = World::new().await;
    let (mut tenure, held) = world.hold(world.holder());
    let number = tenure.confirm().await;
    world.leases.acquire(&request().take_over()).await.unwrap();
    assert!(tenure.is_held(), "nobody has told it yet");
    let before = Instant::now();
    tokio::select! {
        biased;
        lost = held => assert!(lost.unwrap().is_conflict()),
        _ = tenure.confirm() => unreachable!("it was replaced"),
    }
    assert_eq!(before.elapsed(), Duration::ZERO, "it asked at once");
    tenure.ended(number).await;
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_has_the_lease_once_it_is_free_and_replaces_nobody() {
    let world = World::new().await;
    let (mut tenure, held) = world.hold(world.holder().standing_by());
    let number = tenure.confirm().await;
    let rival = world.leases.acquire(&request().take_over()).await.unwrap();
    tenure.ended(number).await;
    let renewal = request().with_id(&rival.id);
    for _ in 0..20 {
        world.leases.acquire(&renewal).await.unwrap();
        sleep(LEASE / 3).await;
        assert!(!tenure.is_held() && world.id().await == rival.id);
    }
    timeout(LEASE * 2, tenure.renumbered(number)).await.unwrap();
    assert_ne!(world.id().await, rival.id);
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_server_forgot_is_acquired_anew_but_taken_from_nobody() {
    let world = World::new().await;
    let (mut tenure, held) = world.hold(world.holder());
    let number = tenure.confirm().await;
    let first = world.id().await;
    world.leases.release("thermal", Some(&first)).await.unwrap();
    assert_eq!(tenure.confirm().await, number + 1, "what was said under the first may be lost");
    let second = world.id().await;
    assert_ne!(second, first);

    world.leases.release("thermal", Some(&second)).await.unwrap();
    world.leases.acquire(&request()).await.unwrap();
    assert!(held.await.unwrap().is_conflict());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_is_lost_finds_its_lease_again() {
    let world = World::new().await;
    world.faults.next(Verb::AcquireLease, CallFault::LoseReply);
    let (mut tenure, held) = world.hold(world.holder());
    tenure.confirm().await;
    let first = world.id().await;
    for _ in 0..5 {
        world.faults.next(Verb::AcquireLease, CallFault::LoseReply);
        tenure.confirm().await;
    }
    assert_eq!((world.id().await, tenure.number()), (first, 1));
    held.abort();
}
