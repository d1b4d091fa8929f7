// SPDX-License-Identifier: Apache-2.0
//! Rules 2.7, 9.2 and 9.5 at the limits of section 6: a store that is full keeps nobody from learning that what it holds is not so any more.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Fixture, LocalCase, Running, list};
use crate::error::Reason;
use crate::lease::{AcquireLease, LeaseState, LeaseVerbs as _, Leases, PROVIDER_LOST};
use crate::registry::{Limits, ListParams, PatchParams, PostParams, WatchParams};
use crate::resource::condition::NOT_STORED;
use crate::resource::{Condition, ConditionStatus, Gpu, RecommendedAction};
use crate::testing::expect::{Events, refused};
use crate::testing::given::{create, get, gpu, latest, replace_status, strategic, with_conditions};
use crate::testing::leases::{acquire, asks};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_2_7_conditions_that_there_is_no_room_to_change_are_unknown,
        rule_9_5_at_every_limit_the_conditions_of_a_lost_provider_are_unknown,
        rule_9_5_what_was_overruled_takes_no_room_from_others,
        rule_9_5_where_there_is_no_room_for_a_message_a_condition_is_unknown_without_one,
        rule_9_2_at_every_limit_leases_are_acquired_renewed_revived_and_released,
    ]
}

fn said(type_: &str, status: ConditionStatus) -> Condition {
    Condition::new(type_, status)
}

/// An object with the conditions of two providers, who say no more than they must.
fn two() -> Gpu {
    with_conditions(&gpu("a"), [said("nvml", ConditionStatus::True), said("thermal", ConditionStatus::True)])
}

fn brief() -> AcquireLease {
    asks("nvml").with_duration(Duration::from_secs(1))
}

/// Stores the object, and opens the store again with limits that are made from the object's size.
async fn start_at(fixture: &mut Fixture, limits: impl FnOnce(usize) -> Limits) -> (Running, Leases) {
    let running = fixture.start().await;
    let size = serde_json::to_vec(&*create(&running.gpus, &two()).await).expect("JSON").len();
    running.stop().await;
    fixture.options = fixture.options.clone().with_limits(limits(size));
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    tokio::spawn(leases.clone().keep(running.gpus.clone()));
    (running, leases)
}

/// Nothing more fits, neither into an object nor beside it.
fn none_more(size: usize) -> Limits {
    Limits::default().with_max_object_bytes(size).with_max_objects(1).with_max_total_bytes(size)
}

/// The object after its provider was lost.
async fn lost(fixture: &Fixture, running: &Running, leases: &Leases) -> Arc<Gpu> {
    let params = WatchParams::default().at(latest(&running.gpus).await.to_string());
    let mut events = Events::of(&running.gpus, params).await;
    acquire(leases, &brief()).await;
    fixture.clock.advance(Duration::from_secs(1));
    let lost: Arc<Gpu> = events.modified("a").await;
    let condition = &lost.status.conditions[0];
    assert_eq!((&condition.status, condition.reason.as_str()), (&ConditionStatus::Unknown, PROVIDER_LOST));
    assert!(condition.message.contains("\"nvml\""), "it says who is lost: {condition:?}");
    lost
}

async fn rule_2_7_conditions_that_there_is_no_room_to_change_are_unknown(mut fixture: Fixture) {
    // "False" is longer than "True".
    let each = |size| Limits::default().with_max_object_bytes(size);
    let together = |size| Limits::default().with_max_total_bytes(size);
    for (limits, is_of_each) in [(each, true), (together, false), (none_more, true)] as [(fn(usize) -> Limits, bool); 3]
    {
        let (running, _leases) = start_at(&mut fixture, limits).await;
        let mut hot = Gpu::clone(&*get(&running.gpus, "a").await);
        hot.status.conditions[1].status = ConditionStatus::False;
        let params = PostParams::default();
        let dry = running.gpus.replace_status("a", &params.clone().dry_run(), &hot).await;
        refused(dry, Reason::RequestEntityTooLarge, "a dry run");
        assert_eq!(get(&running.gpus, "a").await.status.conditions[1].status, ConditionStatus::True);

        let outcome = running.gpus.replace_status("a", &params, &hot).await;
        refused(outcome, Reason::RequestEntityTooLarge, "Unknown until then");
        let now = get(&running.gpus, "a").await;
        let [nvml, thermal] = &now.status.conditions[..] else { panic!("{now:?}") };
        assert_eq!(nvml, &hot.status.conditions[0], "of which it says what is so");
        assert_eq!((&thermal.status, thermal.reason.as_str()), (&ConditionStatus::Unknown, NOT_STORED));

        // Tried again, it is written once at most: it stays so, or takes the room that Unknown was given in the store.
        hot.metadata.resource_version.clear();
        let outcome = running.gpus.replace_status("a", &params, &hot).await;
        if is_of_each {
            refused(outcome, Reason::RequestEntityTooLarge, "once more");
            assert_eq!(get(&running.gpus, "a").await, now);
        } else {
            assert_eq!(outcome.expect("it fits now").status.conditions[1].status, ConditionStatus::False);
        }

        // A patch is no other door.
        replace_status(&running.gpus, &two()).await;
        let patch = strategic(json!({"status": {"conditions": [{"type": "nvml", "status": "False"}]}}));
        let outcome = running.gpus.patch_status("a", &PatchParams::default(), &patch).await;
        refused(outcome, Reason::RequestEntityTooLarge, "Unknown until then");
        let now = get(&running.gpus, "a").await;
        assert_eq!(now.status.conditions[0].reason, NOT_STORED);
        assert_eq!(now.status.conditions[1].status, ConditionStatus::True);
        running.gpus.delete("a", &Default::default()).await.expect("a delete");
        running.stop().await;
        fixture.options = fixture.options.clone().with_limits(Limits::default());
    }
}

async fn rule_9_5_at_every_limit_the_conditions_of_a_lost_provider_are_unknown(mut fixture: Fixture) {
    let (running, leases) = start_at(&mut fixture, none_more).await;
    let outcome = running.gpus.create(&PostParams::default(), &gpu("b")).await;
    refused(outcome, Reason::RequestEntityTooLarge, "an object too many");
    let mut larger = two();
    larger.status.recommended_action = Some(RecommendedAction::Custom);
    let outcome = running.gpus.replace_status("a", &PostParams::default(), &larger).await;
    refused(outcome, Reason::RequestEntityTooLarge, "an object that grows");

    lost(&fixture, &running, &leases).await;
    // Whoever comes back finds its room as it left it.
    replace_status(&running.gpus, &two()).await;
    running.stop().await;
}

async fn rule_9_5_what_was_overruled_takes_no_room_from_others(mut fixture: Fixture) {
    // "False" is longer than "True".
    let room = |size: usize| Limits::default().with_max_object_bytes(size + 2);
    let (running, leases) = start_at(&mut fixture, room).await;
    lost(&fixture, &running, &leases).await;
    for status in ["False", "True", "False"] {
        let patch = strategic(json!({"status": {"conditions": [{"type": "thermal", "status": status}]}}));
        let patched = running.gpus.patch_status("a", &PatchParams::default(), &patch).await.expect("it fits");
        assert_eq!(patched.status.conditions[1].status.as_str(), status);
        assert_eq!(patched.status.conditions[0].reason, PROVIDER_LOST);
    }
    let mut read = Gpu::clone(&*get(&running.gpus, "a").await);
    read.status.conditions[1].status = ConditionStatus::True;
    replace_status(&running.gpus, &read).await;
    let larger = strategic(json!({"status": {"conditions": [{"type": "thermal", "message": "m".repeat(64)}]}}));
    let outcome = running.gpus.patch_status("a", &PatchParams::default(), &larger).await;
    refused(outcome, Reason::RequestEntityTooLarge, "more than there was room for before");
    running.stop().await;
}

async fn rule_9_5_where_there_is_no_room_for_a_message_a_condition_is_unknown_without_one(mut fixture: Fixture) {
    const LEASES: usize = 15;
    const TYPES: usize = 64;
    let type_ = |number: usize| format!("t{number}");
    let running = fixture.start().await;
    let all = (0..LEASES * TYPES).map(|number| said(&type_(number), ConditionStatus::True)).collect::<Vec<_>>();
    let mut size = 0;
    for name in ["a", "b", "c", "d"] {
        let created = create(&running.gpus, &with_conditions(&gpu(name), all.clone())).await;
        size += serde_json::to_vec(&*created).expect("JSON").len();
    }
    running.stop().await;
    // What is said of three of them fills the room that there is.
    fixture.options = fixture.options.clone().with_limits(Limits::default().with_max_total_bytes(size));
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let mut events =
        Events::of(&running.gpus, WatchParams::default().at(latest(&running.gpus).await.to_string())).await;
    for number in 0..LEASES {
        let types = (number * TYPES..(number + 1) * TYPES).map(type_);
        let name = format!("{number:0>250}");
        acquire(&leases, &AcquireLease::new(name).with_condition_types(types).with_duration(Duration::from_secs(1)))
            .await;
    }
    fixture.clock.advance(Duration::from_secs(1));
    tokio::spawn(leases.clone().keep(running.gpus.clone()));
    loop {
        events.event::<Gpu>("the keeper to set all to Unknown").await;
        let list = running.gpus.list(&ListParams::default()).await.expect("a list");
        let conditions = || list.items.iter().flat_map(|gpu| &gpu.status.conditions);
        if conditions().all(|one| one.status == ConditionStatus::Unknown && one.reason == PROVIDER_LOST) {
            assert!(conditions().any(|one| !one.message.is_empty()), "as many as there is room for have a message");
            assert!(conditions().any(|one| one.message.is_empty()), "the others have none");
            break;
        }
    }
    running.stop().await;
}

async fn rule_9_2_at_every_limit_leases_are_acquired_renewed_revived_and_released(mut fixture: Fixture) {
    let (running, leases) = start_at(&mut fixture, none_more).await;
    lost(&fixture, &running, &leases).await;
    let own = leases.list().await.expect("a list").remove(0);
    let more =
        brief().with_id(&own.id).with_condition_types(["nvml", "another"]).with_duration(Duration::from_secs(600));
    assert_eq!(acquire(&leases, &more).await.state, LeaseState::Expired);
    assert_eq!(acquire(&leases, &more).await.state, LeaseState::Held);
    // As many and as large as leases may be.
    let long = |number: usize, type_: usize| format!("{}/{number}-{type_}", "x".repeat(253));
    for number in 0..15 {
        let types = (0..64).map(|type_| long(number, type_));
        acquire(&leases, &AcquireLease::new(format!("p{number}")).with_condition_types(types)).await;
    }
    leases.release("nvml", Some(&own.id)).await.expect("a release");
    running.stop().await;
}
