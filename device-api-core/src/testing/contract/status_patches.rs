// SPDX-License-Identifier: Apache-2.0
//! Rule 2.9: patches of the status, through which several providers share one object.

use std::collections::BTreeMap;

use serde_json::{Value, json as value};

use super::conditions::{hot, ready};
use super::{ContractCase, World, list};
use crate::registry::{PostParams, Verbs};
use crate::resource::{Gpu, RecommendedAction};
use crate::testing::expect::{refused_as_invalid, refused_field};
use crate::testing::given::{
    condition_since, create, get, gpu, json, merge, patch_status, second, strategic, version, with_conditions,
    with_label,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_9_a_status_patch_ignores_all_but_the_status,
        rule_2_9_a_merge_patch_replaces_the_list_of_conditions,
        rule_2_9_a_json_patch_reaches_one_condition,
        rule_2_9_a_strategic_patch_merges_conditions_by_type,
        rule_2_9_a_strategic_patch_keeps_the_fields_of_a_condition_that_it_does_not_name,
        rule_2_9_a_strategic_patch_deletes_a_condition,
        rule_2_9_a_strategic_patch_replaces_the_whole_list,
        rule_2_9_a_strategic_patch_of_a_condition_without_a_type_is_unprocessable,
        rule_2_9_a_strategic_patch_of_one_type_twice_is_unprocessable,
        rule_2_9_a_strategic_patch_of_an_unknown_directive_is_unprocessable,
        rule_2_9_several_providers_share_one_object,
    ]
}

/// The object's conditions as type and status.
fn conditions(gpu: &Gpu) -> BTreeMap<&str, &str> {
    gpu.status.conditions.iter().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

/// A strategic patch of the conditions.
fn of_conditions(conditions: Value) -> crate::patch::Patch {
    strategic(value!({"status": {"conditions": conditions}}))
}

async fn rule_2_9_a_status_patch_ignores_all_but_the_status(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_label(&gpu("x"), "a", "b")).await;
    let change = value!({
        "metadata": {"labels": {"a": "no spaces", "new": "1"}, "annotations": {"new": "1"}, "generation": 7},
        "spec": {"uuid": "u".repeat(1_000)},
        "status": {"recommendedAction": "CUSTOM"},
    });
    for change in [merge(change.clone()), strategic(change)] {
        let patched = patch_status(&api, "x", change).await;
        assert_eq!(patched.metadata.labels, created.metadata.labels);
        assert_eq!(patched.metadata.annotations, created.metadata.annotations);
        assert_eq!(patched.metadata.generation, 1);
        assert_eq!(patched.spec, created.spec);
        assert_eq!(patched.status.recommended_action, Some(RecommendedAction::Custom));
    }
}

async fn rule_2_9_a_merge_patch_replaces_the_list_of_conditions(api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let change = merge(value!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}));
    let patched = patch_status(&api, "x", change).await;
    assert_eq!(conditions(&patched), [("Ready", "False")].into(), "RFC 7386 replaces a list as a whole");
    let patched = patch_status(&api, "x", merge(value!({"status": null}))).await;
    assert!(patched.status.conditions.is_empty(), "null removes");
}

async fn rule_2_9_a_json_patch_reaches_one_condition(api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let operations = value!([
        {"op": "test", "path": "/status/conditions/1/type", "value": "Hot"},
        {"op": "replace", "path": "/status/conditions/1/status", "value": "True"},
        {"op": "add", "path": "/status/conditions/-", "value": {"type": "New", "status": "Unknown"}},
        {"op": "remove", "path": "/status/conditions/0"},
    ]);
    let patched = patch_status(&api, "x", json(operations)).await;
    assert_eq!(conditions(&patched), [("Hot", "True"), ("New", "Unknown")].into());
}

async fn rule_2_9_a_strategic_patch_merges_conditions_by_type(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let change = of_conditions(value!([{"type": "New", "status": "True"}, {"type": "Hot", "status": "True"}]));
    let patched = patch_status(&api, "x", change).await;
    assert_eq!(conditions(&patched), [("Hot", "True"), ("New", "True"), ("Ready", "True")].into());
    assert_eq!(version(&*patched), version(&*created) + 1);
    let untouched = created.status.conditions.iter().find(|condition| condition.type_ == "Ready");
    assert_eq!(patched.status.conditions.iter().find(|condition| condition.type_ == "Ready"), untouched);
    assert_eq!(get(&api, "x").await, patched);
}

async fn rule_2_9_a_strategic_patch_keeps_the_fields_of_a_condition_that_it_does_not_name(api: impl Verbs<Gpu>) {
    let full = condition_since("Ready", "True", second(1_000)).with_reason("Why").with_message("text");
    create(&api, &with_conditions(&gpu("x"), [full.clone()])).await;
    let patched = patch_status(&api, "x", of_conditions(value!([{"type": "Ready", "message": "other"}]))).await;
    assert_eq!(patched.status.conditions, [full.with_message("other")]);
    let patched = patch_status(&api, "x", of_conditions(value!([{"type": "Ready", "reason": null}]))).await;
    assert_eq!(patched.status.conditions[0].reason, "", "null removes a field within a condition");
}

async fn rule_2_9_a_strategic_patch_deletes_a_condition(api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let change = of_conditions(value!([{"type": "Hot", "$patch": "delete"}, {"type": "New", "status": "True"}]));
    let patched = patch_status(&api, "x", change.clone()).await;
    assert_eq!(conditions(&patched), [("New", "True"), ("Ready", "True")].into());
    let again = patch_status(&api, "x", change).await;
    assert_eq!(again, patched, "deleting a condition that is not there changes nothing");
}

async fn rule_2_9_a_strategic_patch_replaces_the_whole_list(api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let change = of_conditions(value!([{"$patch": "replace"}, {"type": "New", "status": "True"}]));
    assert_eq!(conditions(&*patch_status(&api, "x", change).await), [("New", "True")].into());
}

async fn rule_2_9_a_strategic_patch_of_a_condition_without_a_type_is_unprocessable(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    for item in [value!({"status": "True"}), value!({"type": null, "status": "True"}), value!("Ready"), value!([])] {
        let change = of_conditions(value!([item]));
        let outcome = api.patch_status("x", &PostParams::default(), &change).await;
        let error = refused_as_invalid(outcome, &format!("a condition {item}, which has no type to merge by"));
        assert!(error.to_string().starts_with("unprocessable content:"), "{item}: {error}");
    }
    let duplicate = of_conditions(value!([{"type": "Ready", "status": "Maybe"}]));
    let outcome = api.patch_status("x", &PostParams::default(), &duplicate).await;
    refused_field(outcome, "status.conditions[0].status", "a strategic patch with a status that is none of the three");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_9_a_strategic_patch_of_one_type_twice_is_unprocessable(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    let change = of_conditions(value!([{"type": "Hot", "status": "True"}, {"type": "Hot", "status": "False"}]));
    let outcome = api.patch_status("x", &PostParams::default(), &change).await;
    refused_as_invalid(outcome, "a type twice, of which the later would win in silence");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_9_a_strategic_patch_of_an_unknown_directive_is_unprocessable(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    let change = of_conditions(value!([{"type": "Ready", "$patch": "nonsense"}]));
    let outcome = api.patch_status("x", &PostParams::default(), &change).await;
    let error = refused_as_invalid(outcome, "a directive that does not exist");
    assert!(error.to_string().starts_with("unprocessable content:"), "{error}");
    assert_eq!(get(&api, "x").await, created, "a directive is never ignored: it may have meant a delete");
}

async fn rule_2_9_several_providers_share_one_object(api: impl Verbs<Gpu>) {
    const PROVIDERS: usize = 8;
    const WRITES: usize = 8;
    let created = create(&api, &gpu("x")).await;
    let providers: Vec<_> = (0..PROVIDERS)
        .map(|provider| {
            let api = api.clone();
            tokio::spawn(async move {
                for write in 0..WRITES {
                    let own = value!([{
                        "type": format!("Provider{provider}"),
                        "status": if write % 2 == 0 { "False" } else { "True" },
                        "message": format!("write {write}"),
                    }]);
                    patch_status(&api, "x", of_conditions(own)).await;
                }
            })
        })
        .collect();
    for provider in providers {
        provider.await.expect("no provider's patch may fail");
    }
    let last = get(&api, "x").await;
    let expected: Vec<_> = (0..PROVIDERS).map(|provider| format!("Provider{provider}")).collect();
    assert_eq!(conditions(&last), expected.iter().map(|type_| (type_.as_str(), "True")).collect());
    let message = format!("write {}", WRITES - 1);
    assert!(last.status.conditions.iter().all(|condition| condition.message == message), "no write is lost: {last:?}");
    assert_eq!(version(&*last), version(&*created) + (PROVIDERS * WRITES) as u64);
}
