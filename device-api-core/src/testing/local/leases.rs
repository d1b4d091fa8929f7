// SPDX-License-Identifier: Apache-2.0
//! Rule 9.7: leases across a restart.

use std::time::Duration;

use super::{Fixture, LocalCase, list};
use crate::error::Reason;
use crate::lease::{LeaseState, LeaseVerbs as _, Leases, PROVIDER_LOST};
use crate::registry::WatchParams;
use crate::resource::{Condition, ConditionStatus, Gpu};
use crate::testing::expect::{Events, refused};
use crate::testing::given::{create, gpu, latest, with_conditions};
use crate::testing::leases::{acquire, asks, listed};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_9_7_a_restart_gives_each_lease_its_full_duration_again,
        rule_9_7_after_a_restart_a_holder_is_still_known_by_its_identity,
        rule_9_7_a_lease_that_ran_out_while_the_server_was_down_expires_after_it,
        rule_9_7_an_expired_lease_is_expired_after_a_restart,
    ]
}

async fn rule_9_7_a_restart_gives_each_lease_its_full_duration_again(fixture: Fixture) {
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let lease = acquire(&leases, &asks("nvml").with_duration(Duration::from_secs(600))).await;
    running.stop().await;

    // By the wall clock it ran out long ago.
    fixture.clock.advance(Duration::from_secs(3600));
    let running = fixture.start().await;
    let before = latest(&running.gpus).await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    assert_eq!(listed(&leases).await, std::slice::from_ref(&lease));
    let renewed = acquire(&leases, &asks("nvml").with_id(&lease.id).with_duration(lease.duration)).await;
    assert_eq!((renewed.state, renewed.renewed_at), (LeaseState::Held, fixture.clock.now()));
    assert_eq!(latest(&running.gpus).await, before, "neither the restart nor the renewal is a write");
    running.stop().await;
}

async fn rule_9_7_after_a_restart_a_holder_is_still_known_by_its_identity(fixture: Fixture) {
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let mine = asks("nvml").with_holder_identity("me");
    let lease = acquire(&leases, &mine).await;
    running.stop().await;

    let running = fixture.start().await;
    let before = latest(&running.gpus).await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    assert_eq!(listed(&leases).await, std::slice::from_ref(&lease));
    for nobody in ["", "you"] {
        let request = asks("nvml").with_holder_identity(nobody);
        refused(leases.acquire(&request).await, Reason::Conflict, "another identity");
    }
    let again = acquire(&leases, &mine).await;
    assert_eq!((again.id, again.state), (lease.id, LeaseState::Held));
    assert_eq!(latest(&running.gpus).await, before);
    running.stop().await;
}

async fn rule_9_7_a_lease_that_ran_out_while_the_server_was_down_expires_after_it(fixture: Fixture) {
    let running = fixture.start().await;
    let conditions = [Condition::new("nvml", ConditionStatus::True)];
    create(&running.gpus, &with_conditions(&gpu("a"), conditions)).await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    acquire(&leases, &asks("nvml").with_duration(Duration::from_secs(1))).await;
    running.stop().await;

    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let keeper = tokio::spawn({
        let (leases, gpus) = (leases.clone(), running.gpus.clone());
        async move { leases.keep(gpus).await }
    });
    let lost = events.modified::<Gpu>("a").await;
    assert_eq!(lost.status.conditions[0].reason, PROVIDER_LOST);
    assert_eq!(listed(&leases).await[0].state, LeaseState::Expired);
    running.stop().await;
    keeper.await.expect("the keeper ends with its ledger");
}

async fn rule_9_7_an_expired_lease_is_expired_after_a_restart(fixture: Fixture) {
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let keeper = tokio::spawn({
        let (leases, gpus) = (leases.clone(), running.gpus.clone());
        async move { leases.keep(gpus).await }
    });
    let before = latest(&running.gpus).await;
    let lease = acquire(&leases, &asks("nvml").with_duration(Duration::from_secs(1))).await;
    // The second write is the keeper's.
    let params = crate::registry::GetParams::default().at((before + 2).to_string());
    while running.gpus.get_with("none", &params).await.is_err_and(|error| !error.is_not_found()) {}
    running.stop().await;
    keeper.await.expect("the keeper ends with its ledger");

    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    assert_eq!(listed(&leases).await[0].state, LeaseState::Expired);
    let revived = acquire(&leases, &asks("nvml").with_id(lease.id)).await;
    assert_eq!(revived.state, LeaseState::Expired);
    running.stop().await;
}
