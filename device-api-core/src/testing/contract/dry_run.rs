// SPDX-License-Identifier: Apache-2.0
//! Rule 2.10: dry_run.

use serde_json::json as value;

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{DeleteParams, PostParams, Verbs, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{Events, refused, refused_as_invalid, refused_field};
use crate::testing::given::{
    at_version, condition_since, create, delete, get, gpu, json, labelled, latest, merge, patch, patch_status, replace,
    replace_status, second, strategic, unversioned, version, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_10_a_dry_create_returns_what_would_be_stored_and_stores_nothing,
        rule_2_10_a_dry_update_returns_what_would_be_stored_and_stores_nothing,
        rule_2_10_a_dry_status_update_returns_what_would_be_stored_and_stores_nothing,
        rule_2_10_a_dry_patch_returns_what_would_be_stored_and_stores_nothing,
        rule_2_10_a_dry_delete_deletes_nothing,
        rule_2_10_a_dry_run_of_a_change_of_nothing_returns_the_object,
        rule_2_10_a_dry_run_is_refused_as_the_real_one_would_be,
        rule_2_10_a_dry_run_uses_no_revision_and_sends_no_event,
    ]
}

fn dry() -> PostParams {
    PostParams::default().dry_run()
}

async fn rule_2_10_a_dry_create_returns_what_would_be_stored_and_stores_nothing(api: impl Verbs<Gpu>) {
    let ready = condition_since("Ready", "True", second(1));
    let object = with_conditions(&labelled("GPU-X", "a", "b"), [ready]);
    let promised = api.create(&dry(), &object).await.expect("a dry create");
    assert_eq!(api.get_opt("gpu-x").await, Ok(None), "nothing is stored");
    assert!(!promised.metadata.uid.is_empty(), "system fields are filled in");
    assert!(promised.metadata.creation_timestamp.is_some());
    let mut stored = (*create(&api, &object).await).clone();
    // These are made anew by each create.
    stored.metadata.uid.clone_from(&promised.metadata.uid);
    stored.metadata.creation_timestamp = promised.metadata.creation_timestamp;
    assert_eq!(unversioned(&stored), unversioned(&promised));
}

async fn rule_2_10_a_dry_update_returns_what_would_be_stored_and_stores_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let object = with_label(&with_uuid(&created, "changed"), "a", "b");
    let promised = api.replace("x", &dry(), &object).await.expect("a dry update");
    assert_eq!(get(&api, "x").await, created, "nothing is stored");
    assert_eq!(promised.metadata.generation, 2);
    assert_eq!(unversioned(&*replace(&api, &object).await), unversioned(&promised));
}

async fn rule_2_10_a_dry_status_update_returns_what_would_be_stored_and_stores_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let object = with_conditions(&created, [condition_since("Ready", "True", second(1))]);
    let promised = api.replace_status("x", &dry(), &object).await.expect("a dry status update");
    assert_eq!(get(&api, "x").await, created, "nothing is stored");
    assert_eq!(unversioned(&*replace_status(&api, &object).await), unversioned(&promised));
    let timeless = api.replace_status("x", &dry(), &with_conditions(&created, [ready("False")])).await;
    let since = timeless.expect("a dry status update").status.conditions[0].last_transition_time;
    assert!(since.is_some(), "transition times are filled in");
}

async fn rule_2_10_a_dry_patch_returns_what_would_be_stored_and_stores_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &labelled("x", "a", "b")).await;
    let mut current = created;
    for (index, change) in [
        merge(value!({"spec": {"uuid": "merged"}, "metadata": {"labels": {"a": null}}})),
        json(value!([{"op": "replace", "path": "/spec/uuid", "value": "json"}])),
        strategic(value!({"spec": {"uuid": "strategic"}})),
    ]
    .into_iter()
    .enumerate()
    {
        let promised = api.patch("x", &dry(), &change).await.expect("a dry patch");
        assert_eq!(get(&api, "x").await, current, "nothing is stored");
        current = patch(&api, "x", change).await;
        assert_eq!(unversioned(&current), unversioned(&promised), "patch {index}");
    }
    let since = "1970-01-01T00:00:01Z";
    let change = strategic(value!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": since},
    ]}}));
    let promised = api.patch_status("x", &dry(), &change).await.expect("a dry status patch");
    assert_eq!(get(&api, "x").await, current, "nothing is stored");
    assert_eq!(unversioned(&*patch_status(&api, "x", change).await), unversioned(&promised));
}

async fn rule_2_10_a_dry_delete_deletes_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    api.delete("x", &DeleteParams::default().dry_run()).await.expect("a dry delete");
    assert_eq!(get(&api, "x").await, created);
    delete(&api, "x").await;
}

async fn rule_2_10_a_dry_run_of_a_change_of_nothing_returns_the_object(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    assert_eq!(api.replace("x", &dry(), &gpu("x")).await, Ok(created.clone()));
    assert_eq!(api.replace_status("x", &dry(), &gpu("x")).await, Ok(created.clone()));
    assert_eq!(api.patch("x", &dry(), &merge(value!({}))).await, Ok(created));
}

async fn rule_2_10_a_dry_run_is_refused_as_the_real_one_would_be(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    refused(api.create(&dry(), &gpu("x")).await, Reason::AlreadyExists, "a dry create of a name that is taken");
    refused_as_invalid(api.create(&dry(), &at_version(&gpu("y"), "1")).await, "a dry create with a version");
    let bad = with_label(&gpu("y"), "a", "no spaces");
    refused_field(api.create(&dry(), &bad).await, "metadata.labels", "a dry create of a bad label");
    refused(api.replace("y", &dry(), &gpu("y")).await, Reason::NotFound, "a dry update of what does not exist");
    let stale = at_version(&with_uuid(&created, "changed"), "1");
    refused(api.replace("x", &dry(), &stale).await, Reason::Conflict, "a dry update with a stale version");
    refused(api.replace_status("x", &dry(), &stale).await, Reason::Conflict, "a dry status update with the same");
    let twice = with_conditions(&created, [ready("True"), ready("True")]);
    refused_field(api.replace_status("x", &dry(), &twice).await, "status.conditions", "a dry status update");
    let bad = merge(value!({"metadata": {"uid": "other"}}));
    refused_as_invalid(api.patch("x", &dry(), &bad).await, "a dry patch of the uid");
    let bad = json(value!([{"op": "test", "path": "/kind", "value": "other"}]));
    refused_as_invalid(api.patch("x", &dry(), &bad).await, "a dry patch whose test fails");
    let params = DeleteParams::default().dry_run();
    refused(api.delete("y", &params).await, Reason::NotFound, "a dry delete of what does not exist");
    refused(api.delete("x", &params.uid("other")).await, Reason::Conflict, "a dry delete with another uid");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_10_a_dry_run_uses_no_revision_and_sends_no_event(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let mut events = Events::of(&api, WatchParams::default().at(&created.metadata.resource_version)).await;
    api.create(&dry(), &gpu("y")).await.expect("a dry create");
    api.replace("x", &dry(), &with_uuid(&created, "changed")).await.expect("a dry update");
    api.replace_status("x", &dry(), &with_conditions(&created, [ready("True")])).await.expect("a dry status update");
    api.patch("x", &dry(), &merge(value!({"spec": {"uuid": "u"}}))).await.expect("a dry patch");
    let change = merge(value!({"status": {"recommendedAction": "CUSTOM"}}));
    api.patch_status("x", &dry(), &change).await.expect("a dry status patch");
    api.delete("x", &DeleteParams::default().dry_run()).await.expect("a dry delete");
    assert_eq!(latest(&api).await, version(&*created));
    assert_eq!(version(&*create(&api, &gpu("marker")).await), version(&*created) + 1);
    events.added::<Gpu>("marker").await;
}
