// SPDX-License-Identifier: Apache-2.0
//! Rule 2.9: what a patch cannot change: which object it is, and what type that has.

use serde_json::json as value;

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{PostParams, Verbs};
use crate::resource::Gpu;
use crate::testing::expect::{refused, refused_as_invalid};
use crate::testing::given::{create, get, gpu, json, merge, patch, patch_status, strategic, version, with_conditions};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_9_a_patch_that_changes_identity_is_invalid,
        rule_2_9_a_patch_may_repeat_what_identifies_the_object,
        rule_2_9_what_a_patch_empties_of_the_identity_is_no_change,
        rule_2_9_a_patch_of_what_the_type_does_not_have_is_refused_and_named,
        rule_2_9_a_patch_cannot_set_the_generation,
    ]
}

async fn rule_2_9_a_patch_that_changes_identity_is_invalid(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let post = PostParams::default();
    for (field, other) in [
        ("uid", "11111111-2222-4333-8444-555555555555"),
        ("name", "y"),
        ("namespace", "other"),
        ("creationTimestamp", "1970-01-01T00:00:01Z"),
    ] {
        let replace = json(value!([{"op": "replace", "path": format!("/metadata/{field}"), "value": other}]));
        let change = value!({"metadata": {field: other, "labels": {"a": "b"}}});
        for change in [merge(change.clone()), strategic(change), replace] {
            refused_as_invalid(api.patch("x", &post, &change).await, &format!("a patch of {field}"));
            refused_as_invalid(api.patch_status("x", &post, &change).await, &format!("a status patch of {field}"));
        }
    }
    assert_eq!(get(&api, "x").await, created);
    assert_eq!(api.get_opt("y").await, Ok(None));
}

async fn rule_2_9_a_patch_may_repeat_what_identifies_the_object(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let mut object = serde_json::to_value(&*created).expect("an object is JSON");
    object["metadata"]["labels"] = value!({"a": "b"});
    let patched = patch(&api, "x", merge(object)).await;
    assert_eq!(patched.metadata.labels["a"], "b", "a patch may be a whole object, as kubectl sends it");
    assert_eq!(version(&*patched), version(&*created) + 1);
}

async fn rule_2_9_what_a_patch_empties_of_the_identity_is_no_change(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    // What clients written in Go send with every change.
    let empty = value!({"name": "", "namespace": "", "uid": "", "creationTimestamp": null, "resourceVersion": ""});
    let null = value!({"name": null, "namespace": null, "uid": null, "creationTimestamp": null, "generation": null});
    let zero = value!({"creationTimestamp": "0001-01-01T00:00:00Z"});
    for metadata in [empty, null, zero] {
        let fields = metadata.as_object().expect("an object");
        let add = |(field, value)| value!({"op": "add", "path": format!("/metadata/{field}"), "value": value});
        let operations: Vec<_> = fields.iter().map(add).collect();
        let change = value!({"metadata": metadata});
        for change in [merge(change.clone()), strategic(change), json(value!(operations))] {
            assert_eq!(patch(&api, "x", change.clone()).await, created, "{change:?}");
            assert_eq!(patch_status(&api, "x", change.clone()).await, created, "{change:?} of the status");
        }
    }
    let remove = |field: &str| value!({"op": "remove", "path": format!("/metadata/{field}")});
    let removed = json(value!(["name", "namespace", "uid", "creationTimestamp", "resourceVersion"].map(remove)));
    assert_eq!(patch(&api, "x", removed).await, created);
}

async fn rule_2_9_a_patch_of_what_the_type_does_not_have_is_refused_and_named(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    for (change, field) in [
        (value!({"metadata": {"finalizers": ["x/y"]}}), "metadata.finalizers"),
        (value!({"metadata": {"ownerReferences": [{"name": "y"}]}}), "metadata.ownerReferences"),
        (value!({"spec": {"uid": "other"}}), "spec.uid"),
        (
            value!({"status": {"conditions": [{"type": "Ready", "status": "True", "state": "a"}]}}),
            "status.conditions[0].state",
        ),
    ] {
        let add = |(part, value)| value!({"op": "add", "path": format!("/{part}"), "value": value});
        let operations: Vec<_> = change.as_object().expect("an object").iter().map(add).collect();
        for change in [merge(change.clone()), strategic(change), json(value!(operations))] {
            for outcome in [
                api.patch("x", &PostParams::default(), &change).await,
                api.patch_status("x", &PostParams::default(), &change).await,
            ] {
                let error = refused(outcome, Reason::BadRequest, &format!("{change:?}"));
                assert!(error.to_string().starts_with(&format!("{field}: ")), "the field is named: {error}");
            }
        }
    }
    assert_eq!(get(&api, "x").await, created, "nothing of it was stored");
    let nothing = merge(value!({"metadata": {"finalizers": [], "ownerReferences": null, "selfLink": ""}}));
    assert_eq!(patch(&api, "x", nothing).await, created, "what says that there is none loses nothing");
}

async fn rule_2_9_a_patch_cannot_set_the_generation(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let change = merge(value!({"metadata": {"generation": 70}, "spec": {"uuid": "changed"}}));
    assert_eq!(patch(&api, "x", change).await.metadata.generation, 2);
}
