// SPDX-License-Identifier: Apache-2.0
//! Rule 2.9: patches of labels, annotations and spec, and what holds for every patch.

use serde_json::json as value;

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{PostParams, Verbs, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{Events, refused, refused_as_invalid};
use crate::testing::given::{
    create, get, gpu, json, labelled, latest, merge, patch, patch_status, replace, strategic, version, with_conditions,
    with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_9_a_merge_patch_sets_replaces_and_removes,
        rule_2_9_a_json_patch_runs_its_operations_in_order,
        rule_2_9_a_json_patch_runs_as_a_whole_or_not_at_all,
        rule_2_9_a_strategic_patch_merges_labels_and_spec_as_a_merge_patch_does,
        rule_2_9_a_patch_of_the_main_part_ignores_the_status,
        rule_2_9_a_patch_of_the_spec_raises_the_generation,
        rule_2_9_a_patch_that_changes_nothing_commits_nothing,
        rule_2_9_a_patch_of_what_does_not_exist_is_not_found,
        rule_2_9_a_patch_that_names_the_version_conflicts_when_it_is_stale,
        rule_2_9_a_json_patch_that_names_the_version_conflicts_when_it_is_stale,
        rule_2_9_a_patch_that_names_no_version_retries_by_itself,
        rule_2_9_a_test_compares_numbers_by_value,
        rule_2_9_a_patch_sees_kubernetes_json,
        rule_2_9_the_outcome_of_a_patch_is_validated,
    ]
}

async fn rule_2_9_a_merge_patch_sets_replaces_and_removes(api: impl Verbs<Gpu>) {
    let created = create(&api, &labelled("x", "gone", "1")).await;
    let change = value!({
        "metadata": {"labels": {"gone": null, "new": "2"}, "annotations": {"note": "3"}},
        "spec": {"uuid": "changed"},
    });
    let patched = patch(&api, "x", merge(change)).await;
    assert_eq!(patched.metadata.labels, [("new".to_owned(), "2".to_owned())].into());
    assert_eq!(patched.metadata.annotations["note"], "3");
    assert_eq!(patched.spec.uuid, "changed");
    assert_eq!(patched.metadata.uid, created.metadata.uid);
    assert_eq!(version(&*patched), version(&*created) + 1);
    assert_eq!(get(&api, "x").await, patched, "what patch returned is what was stored");
    let patched = patch(&api, "x", merge(value!({"metadata": {"labels": null}, "spec": {"uuid": null}}))).await;
    assert!(patched.metadata.labels.is_empty(), "null removes");
    assert_eq!(patched.spec.uuid, "");
}

async fn rule_2_9_a_json_patch_runs_its_operations_in_order(api: impl Verbs<Gpu>) {
    create(&api, &labelled("x", "a", "1")).await;
    let operations = value!([
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels/nvidia.com~1b", "value": "2"},
        {"op": "copy", "from": "/metadata/labels/a", "path": "/metadata/labels/c"},
        {"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/d"},
        {"op": "replace", "path": "/spec/uuid", "value": "first"},
        {"op": "replace", "path": "/spec/uuid", "value": "second"},
        {"op": "remove", "path": "/metadata/labels/c"},
    ]);
    let patched = patch(&api, "x", json(operations)).await;
    let labels = [("d", "1"), ("nvidia.com/b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(patched.metadata.labels, labels.into());
    assert_eq!(patched.spec.uuid, "second");
    assert_eq!(patched.metadata.generation, 2, "one patch is one write");
}

async fn rule_2_9_a_json_patch_runs_as_a_whole_or_not_at_all(api: impl Verbs<Gpu>) {
    let created = create(&api, &labelled("x", "a", "1")).await;
    for last in [
        value!({"op": "test", "path": "/metadata/labels/a", "value": "other"}),
        value!({"op": "remove", "path": "/metadata/labels/none"}),
        value!({"op": "replace", "path": "/metadata/labels/none", "value": "1"}),
        value!({"op": "move", "from": "/metadata/labels/none", "path": "/metadata/labels/b"}),
        value!({"op": "nonsense", "path": "/spec/uuid"}),
    ] {
        let operations = value!([{"op": "replace", "path": "/spec/uuid", "value": "changed"}, last]);
        let outcome = api.patch("x", &PostParams::default(), &json(operations)).await;
        let error = refused_as_invalid(outcome, &format!("a JSON patch that ends in {last}"));
        assert!(error.to_string().starts_with("unprocessable content:"), "{last}: {error}");
        assert_eq!(get(&api, "x").await, created, "nothing of a failed patch is stored");
    }
}

async fn rule_2_9_a_strategic_patch_merges_labels_and_spec_as_a_merge_patch_does(api: impl Verbs<Gpu>) {
    create(&api, &labelled("x", "gone", "1")).await;
    let change = value!({"metadata": {"labels": {"gone": null, "new": "2"}}, "spec": {"uuid": "changed"}});
    let patched = patch(&api, "x", strategic(change)).await;
    assert_eq!(patched.metadata.labels, [("new".to_owned(), "2".to_owned())].into());
    assert_eq!(patched.spec.uuid, "changed");
}

async fn rule_2_9_a_patch_of_the_main_part_ignores_the_status(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    let status = value!({"conditions": [{"type": "Ready", "status": "False"}], "recommendedAction": "CUSTOM"});
    let remove = value!([
        {"op": "remove", "path": "/status/conditions/0"},
        {"op": "add", "path": "/metadata/labels", "value": {"c": "3"}},
    ]);
    for change in [
        merge(value!({"metadata": {"labels": {"a": "1"}}, "status": status})),
        strategic(value!({"metadata": {"labels": {"b": "2"}}, "status": status})),
        json(remove),
    ] {
        assert_eq!(patch(&api, "x", change).await.status, created.status);
    }
    assert_eq!(get(&api, "x").await.metadata.labels["c"], "3");
}

async fn rule_2_9_a_patch_of_the_spec_raises_the_generation(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let labelled = patch(&api, "x", merge(value!({"metadata": {"labels": {"a": "1"}}}))).await;
    assert_eq!(labelled.metadata.generation, 1, "labels alone keep it");
    let status = strategic(value!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    assert_eq!(patch_status(&api, "x", status).await.metadata.generation, 1, "a status patch keeps it");
    assert_eq!(patch(&api, "x", merge(value!({"spec": {"uuid": "u"}}))).await.metadata.generation, 2);
}

async fn rule_2_9_a_patch_that_changes_nothing_commits_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&labelled("x", "a", "1"), [ready("True")])).await;
    let mut events = Events::of(&api, WatchParams::default().at(&created.metadata.resource_version)).await;
    let same = value!({"metadata": {"labels": {"a": "1", "none": null}}, "spec": {"uuid": "x"}});
    for change in [
        merge(value!({})),
        merge(same.clone()),
        strategic(same),
        json(value!([])),
        json(value!([{"op": "test", "path": "/spec/uuid", "value": "x"}])),
    ] {
        assert_eq!(patch(&api, "x", change.clone()).await, created, "{change:?}");
    }
    let same = strategic(value!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    assert_eq!(patch_status(&api, "x", same).await, created);
    assert_eq!(latest(&api).await, version(&*created));
    create(&api, &gpu("marker")).await;
    events.added::<Gpu>("marker").await;
}

async fn rule_2_9_a_patch_of_what_does_not_exist_is_not_found(api: impl Verbs<Gpu>) {
    let post = PostParams::default();
    for change in [merge(value!({"spec": {"uuid": "u"}})), json(value!([])), strategic(value!({}))] {
        refused(api.patch("x", &post, &change).await, Reason::NotFound, "a patch of what does not exist");
        refused(api.patch_status("x", &post, &change).await, Reason::NotFound, "a status patch of the same");
    }
    assert_eq!(api.get_opt("x").await, Ok(None));
}

async fn rule_2_9_a_patch_that_names_the_version_conflicts_when_it_is_stale(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    let naming = |version: &str| value!({"metadata": {"resourceVersion": version, "labels": {"a": "1"}}});
    let post = PostParams::default();
    for stale in [&created.metadata.resource_version, "1"] {
        for change in [merge(naming(stale)), strategic(naming(stale))] {
            refused(api.patch("x", &post, &change).await, Reason::Conflict, "a patch that names a stale version");
            let outcome = api.patch_status("x", &post, &change).await;
            refused(outcome, Reason::Conflict, "a status patch that names a stale version");
        }
    }
    assert_eq!(get(&api, "x").await, current);
    let patched = patch(&api, "x", merge(naming(&current.metadata.resource_version))).await;
    assert_eq!(patched.metadata.labels["a"], "1", "the current version does not conflict");
}

async fn rule_2_9_a_json_patch_that_names_the_version_conflicts_when_it_is_stale(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    let naming = |op: &str, version: &str| {
        json(value!([
            {"op": op, "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/spec/uuid", "value": "patched"},
        ]))
    };
    let stale = &created.metadata.resource_version;
    let outcome = api.patch("x", &PostParams::default(), &naming("replace", stale)).await;
    refused(outcome, Reason::Conflict, "a JSON patch that sets a stale version");
    let outcome = api.patch("x", &PostParams::default(), &naming("test", stale)).await;
    let error = refused_as_invalid(outcome, "a JSON patch that tests for a stale version");
    assert!(error.to_string().starts_with("unprocessable content:"), "a failed `test`: {error}");
    assert_eq!(get(&api, "x").await, current);
    let patched = patch(&api, "x", naming("test", &current.metadata.resource_version)).await;
    assert_eq!(patched.spec.uuid, "patched");
}

async fn rule_2_9_a_patch_that_names_no_version_retries_by_itself(api: impl Verbs<Gpu>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 8;
    // `add` of a member needs its parent, so the object has annotations from the start.
    let mut object = gpu("x");
    object.metadata = object.metadata.with_annotation("seed", "1");
    let created = create(&api, &object).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let api = api.clone();
            tokio::spawn(async move {
                for write in 0..WRITES {
                    let (key, text) = (format!("writer-{writer}"), write.to_string());
                    let change = match writer % 3 {
                        0 => merge(value!({"metadata": {"annotations": {key: text}}})),
                        1 => strategic(value!({"metadata": {"annotations": {key: text}}})),
                        _ => {
                            let path = format!("/metadata/annotations/{key}");
                            json(value!([{"op": "add", "path": path, "value": text}]))
                        }
                    };
                    patch(&api, "x", change).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no patch without a version may fail");
    }
    let last = get(&api, "x").await;
    for writer in 0..WRITERS {
        let found = last.metadata.annotations.get(&format!("writer-{writer}"));
        assert_eq!(found, Some(&(WRITES - 1).to_string()), "no patch is lost");
    }
    assert_eq!(version(&*last), version(&*created) + (WRITERS * WRITES) as u64);
}

async fn rule_2_9_a_test_compares_numbers_by_value(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let test =
        |value: serde_json::Value| json(value!([{"op": "test", "path": "/metadata/generation", "value": value}]));
    for one in [value!(1), value!(1.0), value!(1e0)] {
        assert_eq!(patch(&api, "x", test(one)).await, created, "RFC 6902, 4.6");
    }
    for other in [value!(1.5), value!("1"), value!(true), value!(null)] {
        let outcome = api.patch("x", &PostParams::default(), &test(other.clone())).await;
        refused_as_invalid(outcome, &format!("a test for {other}"));
    }
}

async fn rule_2_9_a_patch_sees_kubernetes_json(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&labelled("x", "a", "b"), [ready("True")])).await;
    let metadata = &created.metadata;
    let at = metadata.creation_timestamp.expect("create sets it").to_string();
    let since = created.status.conditions[0].last_transition_time.expect("create sets it").to_string();
    assert!(at.ends_with('Z') && at.len() == "1970-01-01T00:00:00Z".len(), "RFC 3339 in UTC: {at}");
    let test = |path: &str, expected: serde_json::Value| value!({"op": "test", "path": path, "value": expected});
    let operations = value!([
        test("/apiVersion", value!("device.nvidia.com/v1alpha1")),
        test("/kind", value!("GPU")),
        test("/metadata/name", value!("x")),
        test("/metadata/namespace", value!("default")),
        test("/metadata/uid", value!(metadata.uid)),
        test("/metadata/resourceVersion", value!(metadata.resource_version)),
        test("/metadata/generation", value!(1)),
        test("/metadata/creationTimestamp", value!(at)),
        test("/metadata/labels", value!({"a": "b"})),
        test("/spec", value!({"uuid": "x"})),
        test("/status/conditions", value!([{"type": "Ready", "status": "True", "lastTransitionTime": since}])),
    ]);
    assert_eq!(patch(&api, "x", json(operations)).await, created);
}

async fn rule_2_9_the_outcome_of_a_patch_is_validated(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    for change in [
        value!({"metadata": {"labels": {"a": "no spaces"}}}),
        value!({"metadata": {"annotations": {"no spaces": "a"}}}),
        value!({"spec": {"uuid": "u".repeat(254)}}),
    ] {
        for change in [merge(change.clone()), strategic(change)] {
            let outcome = api.patch("x", &PostParams::default(), &change).await;
            let error = refused(outcome, Reason::Invalid, "a patch whose outcome is not valid");
            assert!(!error.violations().is_empty(), "the violations are named: {error}");
        }
    }
    assert_eq!(get(&api, "x").await, created);
}
