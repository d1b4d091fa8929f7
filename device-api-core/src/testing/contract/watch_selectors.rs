// SPDX-License-Identifier: Apache-2.0
//! Rule 4.3: watches with a selector.

use super::conditions::{hot, ready};
use super::{ContractCase, World, list};
use crate::registry::{Verbs, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::Events;
use crate::testing::given::{
    create, delete, gpu, labelled, latest, replace, replace_status, version, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_4_3_an_object_that_comes_to_match_is_added,
        rule_4_3_an_object_that_ceases_to_match_is_deleted_with_its_last_state,
        rule_4_3_a_change_among_matching_states_is_modified,
        rule_4_3_what_never_matches_sends_nothing,
        rule_4_3_a_delete_is_seen_by_those_who_saw_the_object,
        rule_4_3_the_initial_state_is_selected_too,
        rule_4_3_enter_and_leave_are_replayed_from_history,
        rule_4_3_a_field_selector_follows_the_spec,
        rule_4_3_a_condition_selector_follows_the_status,
    ]
}

fn left() -> WatchParams {
    WatchParams::default().labels("zone=left")
}

async fn rule_4_3_an_object_that_comes_to_match_is_added(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, left()).await;
    let created = create(&api, &labelled("x", "zone", "right")).await;
    let moved = replace(&api, &with_label(&created, "zone", "left")).await;
    assert_eq!(events.added::<Gpu>("x").await, moved);
}

async fn rule_4_3_an_object_that_ceases_to_match_is_deleted_with_its_last_state(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, left()).await;
    let created = create(&api, &labelled("x", "zone", "left")).await;
    events.added::<Gpu>("x").await;
    let moved = replace(&api, &with_uuid(&labelled("x", "zone", "right"), "changed")).await;
    let gone = events.deleted::<Gpu>("x").await;
    assert_eq!(version(&*gone), version(&*moved), "with the version of the change, to resume from");
    let mut expected = (*created).clone();
    expected.metadata.resource_version.clone_from(&moved.metadata.resource_version);
    assert_eq!(*gone, expected, "the last state that matched, as in Kubernetes");
}

async fn rule_4_3_a_change_among_matching_states_is_modified(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, left()).await;
    let created = create(&api, &labelled("x", "zone", "left")).await;
    events.added::<Gpu>("x").await;
    let changed = replace(&api, &with_uuid(&created, "changed")).await;
    assert_eq!(events.modified::<Gpu>("x").await, changed);
}

async fn rule_4_3_what_never_matches_sends_nothing(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, left()).await;
    let created = create(&api, &labelled("x", "zone", "right")).await;
    replace(&api, &with_uuid(&created, "changed")).await;
    delete(&api, "x").await;
    create(&api, &labelled("marker", "zone", "left")).await;
    events.added::<Gpu>("marker").await;
}

async fn rule_4_3_a_delete_is_seen_by_those_who_saw_the_object(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, left()).await;
    let x = create(&api, &labelled("x", "zone", "left")).await;
    let y = create(&api, &labelled("y", "zone", "left")).await;
    events.added::<Gpu>("x").await;
    events.added::<Gpu>("y").await;
    replace(&api, &with_label(&y, "zone", "right")).await;
    events.deleted::<Gpu>("y").await;
    delete(&api, "y").await;
    delete(&api, "x").await;
    let gone = events.deleted::<Gpu>("x").await;
    assert_eq!(gone.metadata.uid, x.metadata.uid, "y had left before its delete");
    assert_eq!(version(&*gone), latest(&api).await);
}

async fn rule_4_3_the_initial_state_is_selected_too(api: impl Verbs<Gpu>) {
    create(&api, &labelled("x", "zone", "right")).await;
    create(&api, &labelled("y", "zone", "left")).await;
    create(&api, &gpu("z")).await;
    let mut events = Events::of(&api, left()).await;
    events.added::<Gpu>("y").await;
    create(&api, &labelled("marker", "zone", "left")).await;
    events.added::<Gpu>("marker").await;
}

async fn rule_4_3_enter_and_leave_are_replayed_from_history(api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let x = create(&api, &labelled("x", "zone", "right")).await;
    let entered = replace(&api, &with_label(&x, "zone", "left")).await;
    let left_again = replace(&api, &with_label(&x, "zone", "right")).await;
    delete(&api, "x").await;
    let mut events = Events::of(&api, left().at(before.to_string())).await;
    assert_eq!(events.added::<Gpu>("x").await, entered);
    let gone = events.deleted::<Gpu>("x").await;
    assert_eq!(version(&*gone), version(&*left_again));
    assert_eq!(gone.metadata.labels["zone"], "left");
    create(&api, &labelled("marker", "zone", "left")).await;
    events.added::<Gpu>("marker").await;
    // From a version at which it matched, only its leaving is news.
    let mut events = Events::of(&api, left().at(&entered.metadata.resource_version)).await;
    assert_eq!(events.deleted::<Gpu>("x").await, gone);
}

async fn rule_4_3_a_field_selector_follows_the_spec(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, WatchParams::default().fields("spec.uuid=GPU-1")).await;
    let mut by_name = Events::of(&api, WatchParams::default().fields("metadata.name=y")).await;
    let x = create(&api, &gpu("x")).await;
    let y = create(&api, &gpu("y")).await;
    replace(&api, &with_uuid(&x, "GPU-1")).await;
    events.added::<Gpu>("x").await;
    replace(&api, &with_uuid(&y, "GPU-1")).await;
    events.added::<Gpu>("y").await;
    replace(&api, &with_uuid(&x, "GPU-2")).await;
    assert_eq!(events.deleted::<Gpu>("x").await.spec.uuid, "GPU-1");
    by_name.added::<Gpu>("y").await;
    by_name.modified::<Gpu>("y").await;
}

async fn rule_4_3_a_condition_selector_follows_the_status(api: impl Verbs<Gpu>) {
    let unhealthy = WatchParams::default().fields("status.conditions[Ready]=False");
    let mut events = Events::of(&api, unhealthy).await;
    let x = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    replace_status(&api, &with_conditions(&x, [ready("False")])).await;
    events.added::<Gpu>("x").await;
    replace_status(&api, &with_conditions(&x, [ready("False"), hot("True")])).await;
    events.modified::<Gpu>("x").await;
    replace_status(&api, &with_conditions(&x, [hot("True")])).await;
    let gone = events.deleted::<Gpu>("x").await;
    assert!(gone.status.conditions.iter().any(|condition| condition.type_ == "Ready"), "its last state: {gone:?}");
}
