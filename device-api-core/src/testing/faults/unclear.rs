// SPDX-License-Identifier: Apache-2.0
//! Failures after which nobody knows what the store holds.

use std::time::Duration;

use super::create_in_the_end;
use crate::error::Reason;
use crate::registry::{ListParams, PostParams, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::storage::StorageErrorKind;
use crate::testing::expect::{Events, refused};
use crate::testing::given::{create, get, gpu, latest, number, version, with_uuid};
use crate::testing::linearizability::{Load, check, record};
use crate::testing::local::{Fixture, LocalCase, list};
use crate::testing::seed::Seed;
use crate::testing::{Call, Fault};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_3_1_an_unclear_failure_acknowledges_nothing_that_is_not_stored,
        rule_4_1_after_an_unclear_failure_watchers_see_exactly_what_was_committed,
        rule_2_4_after_an_unclear_failure_no_version_is_reused,
        rule_5_unavailable_lasts_until_the_store_can_be_loaded_again,
        rule_3_1_on_storage_that_fails_at_random_what_clients_saw_is_linearizable,
    ]
}

async fn rule_3_1_an_unclear_failure_acknowledges_nothing_that_is_not_stored(fixture: Fixture) {
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        let running = fixture.start().await;
        let name = format!("{fault:?}").to_lowercase();
        fixture.faults.next(Call::Commit, fault);
        let outcome = running.gpus.create(&PostParams::default(), &gpu(&name)).await;
        create_in_the_end(&running, &format!("next-{name}")).await;
        match (&outcome, fault) {
            (Ok(object), Fault::LoseReply) => assert_eq!(get(&running.gpus, &name).await, *object),
            (Ok(object), _) => panic!("{object:?} was acknowledged and was not written"),
            (Err(error), _) => assert_eq!(error.reason(), Reason::ServiceUnavailable, "{error}"),
        }
        let there = running.gpus.get_opt(&name).await.expect("a get");
        assert_eq!(there.is_some(), fault == Fault::LoseReply, "what is in the store is what is seen");
        running.stop().await;
        let running = fixture.start().await;
        assert_eq!(running.gpus.get_opt(&name).await, Ok(there), "before and after a restart");
        running.stop().await;
    }
}

async fn rule_4_1_after_an_unclear_failure_watchers_see_exactly_what_was_committed(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let start = version(&*x);
    let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    let mut expected = Vec::new();
    for (round, fault) in [Fault::LoseReply, Fault::LoseRequest, Fault::LoseReply].into_iter().enumerate() {
        let uuid = format!("lost-{round}");
        fixture.faults.next(Call::Commit, fault);
        let _ = running.gpus.replace("x", &PostParams::default(), &with_uuid(&x, &uuid)).await;
        create_in_the_end(&running, &format!("next-{round}")).await;
        if fault == Fault::LoseReply {
            expected.push(uuid);
        }
        expected.push(format!("next-{round}"));
    }
    let mut replayed = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    for (at, uuid) in (start + 1..).zip(&expected) {
        for events in [&mut events, &mut replayed] {
            let event = events.event::<Gpu>("an event of each write in the store").await;
            assert_eq!(number(event.resource_version()), at);
            assert_eq!(event.object().map(|object| &object.spec.uuid), Some(uuid));
            let is_new = uuid.starts_with("next");
            assert_eq!(matches!(event, WatchEvent::Added(_)), is_new, "{event:?}");
        }
    }
    assert_eq!(latest(&running.gpus).await, start + expected.len() as u64);
    running.stop().await;
    assert_eq!(events.until_ok::<Gpu>().await, []);
}

async fn rule_2_4_after_an_unclear_failure_no_version_is_reused(fixture: Fixture) {
    for (fault, used) in [(Fault::LoseReply, 1), (Fault::LoseRequest, 0)] {
        let running = fixture.start().await;
        let start = latest(&running.gpus).await;
        let name = format!("{fault:?}").to_lowercase();
        fixture.faults.next(Call::Commit, fault);
        let _ = running.gpus.create(&PostParams::default(), &gpu(&name)).await;
        let next = create_in_the_end(&running, &format!("next-{name}")).await;
        assert_eq!(next, start + used + 1, "after {fault:?}: the version after the last one in the store");
        running.stop().await;
    }
}

async fn rule_5_unavailable_lasts_until_the_store_can_be_loaded_again(mut fixture: Fixture) {
    fixture.options = fixture.options.with_write_timeout(Duration::from_secs(2));
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(&x.metadata.resource_version)).await;
    fixture.faults.next(Call::Commit, Fault::LoseReply);
    fixture.faults.always(Call::Load, Fault::Refuse(StorageErrorKind::Busy));
    let outcome = running.gpus.create(&PostParams::default(), &gpu("lost")).await;
    refused(outcome, Reason::ServiceUnavailable, "a write whose fate nobody knows");
    let outcome = running.gpus.create(&PostParams::default(), &gpu("refused")).await;
    refused(outcome, Reason::ServiceUnavailable, "a write while nobody knows what the store holds");
    assert_eq!(get(&running.gpus, "x").await, x, "reads go on");
    fixture.faults.clear();
    // It was loaded in vain at least once, and is tried again.
    let next = create_in_the_end(&running, "next").await;
    assert!(fixture.faults.calls(Call::Load) >= 2);
    assert_eq!(next, version(&*x) + 2);
    events.added::<Gpu>("lost").await;
    events.added::<Gpu>("next").await;
    running.stop().await;
}

async fn rule_3_1_on_storage_that_fails_at_random_what_clients_saw_is_linearizable(mut fixture: Fixture) {
    fixture.options = fixture.options.with_write_timeout(Duration::from_secs(5));
    for _ in 0..3 {
        let seed = Seed::new();
        let running = fixture.start().await;
        let mut random = seed.random(u64::MAX);
        for commit in 1..200 {
            let fault = match random.u8(..20) {
                0 => Fault::Refuse(StorageErrorKind::Busy),
                1 => Fault::LoseReply,
                2 => Fault::LoseRequest,
                _ => continue,
            };
            fixture.faults.nth(Call::Commit, commit, fault);
        }
        for load in 2..20 {
            if random.u8(..4) == 0 {
                fixture.faults.nth(Call::Load, load, Fault::Refuse(StorageErrorKind::Busy));
            }
        }
        let history = record(&running.gpus, Load::default(), &seed).await;
        if let Err(violation) = check(&history) {
            panic!("{violation}");
        }
        fixture.faults.clear();
        let before = running.gpus.list(&ListParams::default()).await.expect("a list");
        running.stop().await;
        let running = fixture.start().await;
        let after = running.gpus.list(&ListParams::default()).await.expect("a list");
        assert_eq!(after.items, before.items, "a restart changes nothing");
        running.stop().await;
        fixture = fixture.with_new_store().await;
    }
}
