// SPDX-License-Identifier: Apache-2.0
//! Tests of strategic merge patches, after the cases that Kubernetes' documentation describes.

use super::*;

/// Applies a patch of conditions, and shows each condition as `type=status/reason`.
fn conditions(patch: &Value, object: &Gpu) -> Result<Vec<String>> {
    let patched = apply(PatchType::Strategic, &json!({"status": {"conditions": patch}}), object)?;
    assert_eq!((&patched.metadata, &patched.spec), (&object.metadata, &object.spec));
    let show = |condition: &Condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason);
    Ok(patched.status.conditions.iter().map(show).collect())
}

#[test]
fn keyed_lists_merge_item_by_item() {
    let delete = |type_| json!({"$patch": "delete", "type": type_});
    let item = |type_, status| json!({"type": type_, "status": status});
    let none: [&str; 0] = [];
    for (patch, expected) in [
        (json!([]), &["Healthy=True/Fine", "Ready=False/"][..]),
        (json!([item("Healthy", "False")]), &["Healthy=False/Fine", "Ready=False/"]),
        (json!([{"type": "Healthy", "reason": null}]), &["Healthy=True/", "Ready=False/"]),
        (json!([item("New", "True")]), &["Healthy=True/Fine", "Ready=False/", "New=True/"]),
        (json!([{"type": "New", "reason": null}]), &["Healthy=True/Fine", "Ready=False/", "New=/"]),
        (json!([delete("Healthy")]), &["Ready=False/"]),
        (json!([delete("Absent")]), &["Healthy=True/Fine", "Ready=False/"]),
        (json!([item("Healthy", "False"), delete("Healthy")]), &["Ready=False/", "Healthy=False/"]),
        (json!([{"$patch": "replace"}]), &none),
        (json!([item("New", "True"), {"$patch": "replace"}]), &["New=True/"]),
        (json!([{"$patch": "replace"}, item("Healthy", "False"), delete("Ready")]), &["Healthy=False/"]),
        (json!(null), &none),
    ] {
        assert_eq!(conditions(&patch, &gpu()).unwrap(), expected, "{patch}");
    }
}

#[test]
fn a_keyed_list_that_is_absent_is_made() {
    let mut bare = gpu();
    bare.status.conditions.clear();
    let item = json!({"type": "New", "status": "True"});
    for patch in [json!([item]), json!([{"$patch": "replace"}, item]), json!([{"$patch": "delete", "type": "A"}, item])]
    {
        assert_eq!(conditions(&patch, &bare).unwrap(), ["New=True/"], "{patch}");
    }
}

#[test]
fn items_that_cannot_be_merged_are_refused_with_their_place() {
    for (patch, text) in [
        (json!([{"status": "True"}]), "/status/conditions/0: must have \"type\""),
        (json!([{"type": null}]), "/status/conditions/0: must have \"type\""),
        (json!([{"type": "A"}, {"type": "B"}, {"type": "A"}]), "/status/conditions/2: type \"A\" is there twice"),
        (json!([{"type": "A"}, {"$patch": "delete"}]), "/status/conditions/1: must have \"type\""),
        (json!([1]), "/status/conditions/0: must be an object"),
        (json!([null]), "/status/conditions/0: must be an object"),
        (json!([{"$patch": "replace", "type": "A"}]), "/status/conditions/0: $patch: replace must be alone"),
        (json!([{"$patch": "merge", "type": "A"}]), "/status/conditions/0: $patch: merge is not supported"),
    ] {
        refused(conditions(&patch, &gpu()), Reason::UnprocessableEntity, text);
    }
}

#[test]
fn directives_in_objects_replace_delete_or_merge() {
    let labels = |patch: &Value| {
        let patched = apply(PatchType::Strategic, &json!({"metadata": {"labels": patch}}), &gpu()).unwrap();
        assert_eq!(patched.metadata.name, "gpu-0");
        serde_json::to_value(&patched.metadata.labels).unwrap()
    };
    assert_eq!(labels(&json!({"x": "y"})), json!({"a": "b", "x": "y"}));
    assert_eq!(labels(&json!({"x": "y", "$patch": "merge"})), json!({"a": "b", "x": "y"}));
    assert_eq!(labels(&json!({"x": "y", "$patch": "replace"})), json!({"x": "y"}));
    assert_eq!(labels(&json!({"x": "y", "$patch": "delete"})), json!({}));
    // Inside of what is replaced, directives and nulls are carried out too, and never stored.
    let patch = json!({"$patch": "replace", "conditions": [{"$patch": "delete", "type": "Ready"}, {"type": "A", "status": "Unknown"}]});
    let patched = apply(PatchType::Strategic, &json!({"status": patch}), &gpu()).unwrap();
    assert_eq!(patched.status.conditions, [Condition::new("A", ConditionStatus::Unknown)]);
}

#[test]
fn the_order_directive_is_accepted_and_ignored() {
    let order = json!([{"type": "Ready"}, {"type": "Healthy"}]);
    let patch =
        json!({"status": {"$setElementOrder/conditions": order, "conditions": [{"type": "Ready", "status": "True"}]}});
    let mut expected = gpu();
    expected.status.conditions[1].status = ConditionStatus::True;
    assert_eq!(apply(PatchType::Strategic, &patch, &gpu()).unwrap(), expected);
    let patch = json!({"status": {"$setElementOrder/conditions": "Ready"}});
    refused(apply(PatchType::Strategic, &patch, &gpu()), Reason::UnprocessableEntity, "must be a list");
}

#[test]
fn directives_that_are_not_supported_are_refused_by_name() {
    for (patch, text) in [
        (json!({"$retainKeys": ["a"]}), "the patch: the directive $retainKeys"),
        (json!({"spec": {"$deleteFromPrimitiveList/a": []}}), "/spec: the directive $deleteFromPrimitiveList/a"),
        (json!({"spec": {"$patch": "upsert"}}), "/spec: $patch must be"),
        (json!({"spec": {"$patch": null}}), "/spec: $patch must be"),
        (json!({"status": {"conditions": [{"type": "A", "$other": 1}]}}), "/status/conditions/0: the directive $other"),
        (json!({"spec": {"$patch": "delete", "a~/b": {"$x": 1}}}), "/spec/a~0~1b: the directive $x"),
        (json!({"spec": {"plain": [[{"$patch": "delete"}]]}}), "/spec/plain: $patch means nothing"),
    ] {
        refused(apply(PatchType::Strategic, &patch, &gpu()), Reason::UnprocessableEntity, text);
    }
}

#[test]
fn keys_of_any_json_type_are_compared_as_values() {
    let mut document = json!({"ports": [{"port": 1, "name": "a"}, {"port": "1", "name": "b"}, "stray"]});
    let patch = json!({"ports": [{"port": 1, "name": "c"}, {"$patch": "delete", "port": "1"}]});
    super::super::strategic::apply(&mut document, &patch, &[("/ports", "port")]).unwrap();
    assert_eq!(document, json!({"ports": [{"port": 1, "name": "c"}, "stray"]}));
}
