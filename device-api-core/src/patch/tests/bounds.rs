// SPDX-License-Identifier: Apache-2.0
//! Tests of what a patch may cost.

use super::*;

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(0), |inner, _| json!({"a": inner}))
}

#[test]
fn patches_over_64_kib_are_refused_before_they_are_parsed() {
    for patch_type in [PatchType::Merge, PatchType::Json, PatchType::Strategic] {
        let garbage = vec![b'x'; MAX_PATCH];
        refused(Patch::new(patch_type, garbage.clone()).parse(), Reason::UnprocessableEntity, "line 1");
        refused(Patch::new(patch_type, [garbage, vec![b'x']].concat()).parse(), Reason::RequestEntityTooLarge, "65537");
    }
}

#[test]
fn patches_of_over_1000_operations_are_refused() {
    let operations = |count| vec![json!({"op": "test", "path": "/spec", "value": 0}); count];
    assert!(Patch::json(&operations(1_000)).unwrap().parse().is_ok());
    refused(Patch::json(&operations(1_001)).unwrap().parse(), Reason::RequestEntityTooLarge, "1001 operations");
}

#[test]
fn patches_of_over_32_levels_are_refused() {
    for patch_type in [PatchType::Merge, PatchType::Strategic] {
        assert!(apply(patch_type, &nested(32), &gpu()).is_ok());
        refused(apply(patch_type, &nested(33), &gpu()), Reason::RequestEntityTooLarge, "32 levels");
        let deep = "[".repeat(MAX_PATCH / 2) + &"]".repeat(MAX_PATCH / 2);
        refused(Patch::new(patch_type, deep).parse(), Reason::UnprocessableEntity, "recursion limit");
    }
    let add = |levels| json!([{"op": "add", "path": "/x", "value": nested(levels)}]);
    assert!(apply(PatchType::Json, &add(31), &gpu()).is_ok());
    refused(Patch::json(&add(32)).unwrap().parse(), Reason::RequestEntityTooLarge, "operation 0");
}

#[test]
fn nested_adds_moves_and_copies_cannot_make_a_deep_object() {
    let adds: Vec<Value> =
        (1..200).map(|level| json!({"op": "add", "path": "/x".repeat(level), "value": {}})).collect();
    refused(apply(PatchType::Json, &json!(adds), &gpu()), Reason::RequestEntityTooLarge, "operation 31");

    let mut moves = vec![json!({"op": "add", "path": "/x0", "value": {}})];
    for level in 1..200 {
        moves.push(json!({"op": "add", "path": format!("/x{level}"), "value": {}}));
        moves.push(json!({"op": "move", "from": format!("/x{}", level - 1), "path": format!("/x{level}/y")}));
    }
    refused(apply(PatchType::Json, &json!(moves), &gpu()), Reason::RequestEntityTooLarge, "operation 62 (move");

    let copies: Vec<Value> = (0..200).map(|_| json!({"op": "copy", "from": "", "path": "/metadata"})).collect();
    refused(apply(PatchType::Json, &json!(copies), &gpu()), Reason::RequestEntityTooLarge, "(copy \"/metadata\")");
}

#[test]
fn twenty_copies_that_double_the_object_are_refused_before_they_are_made() {
    let copies: Vec<Value> =
        ('a'..='t').map(|name| json!({"op": "copy", "from": "", "path": format!("/{name}")})).collect();
    let patch = Patch::json(&copies).unwrap();
    assert!(patch.data().len() < 1_000);
    refused(patch.parse().unwrap().apply(&gpu(), LIMIT), Reason::RequestEntityTooLarge, "the growth by what is copied");
}

#[test]
fn what_is_removed_gives_copies_nothing_back() {
    let mut operations = Vec::new();
    for _ in 0..400 {
        operations.push(json!({"op": "copy", "from": "/status", "path": "/x"}));
        operations.push(json!({"op": "remove", "path": "/x"}));
    }
    let patch = Patch::json(&operations).unwrap().parse().unwrap();
    refused(patch.apply(&gpu(), 4 * 1024), Reason::RequestEntityTooLarge, "growth");
    assert_eq!(patch.apply(&gpu(), LIMIT).unwrap(), gpu());
}

#[test]
fn moving_much_to_and_fro_is_refused_and_moving_little_is_not() {
    let mut operations = Vec::new();
    for _ in 0..500 {
        operations.push(json!({"op": "move", "from": "/status", "path": "/x"}));
        operations.push(json!({"op": "move", "from": "/x", "path": "/status"}));
    }
    let patch = Patch::json(&operations).unwrap().parse().unwrap();
    assert_eq!(patch.apply(&gpu(), LIMIT).unwrap(), gpu());
    let mut large = gpu();
    large.status.conditions[0].message = "m".repeat(LIMIT / 2);
    refused(patch.apply(&large, LIMIT), Reason::RequestEntityTooLarge, "operation 7 (move \"/status\")");
}

#[test]
fn shifting_a_long_list_again_and_again_is_refused() {
    let mut large = gpu();
    large.status.conditions = vec![Condition::new("A", ConditionStatus::True); 20_000];
    let mut operations = Vec::new();
    for _ in 0..500 {
        operations.push(json!({"op": "add", "path": "/status/conditions/0", "value": {}}));
        operations.push(json!({"op": "remove", "path": "/status/conditions/0"}));
    }
    let patch = Patch::json(&operations).unwrap().parse().unwrap();
    refused(patch.apply(&large, LIMIT), Reason::RequestEntityTooLarge, "operation 209 ");
    assert_eq!(patch.apply(&gpu(), LIMIT).unwrap(), gpu());
}

#[test]
fn the_object_after_a_patch_is_within_its_limit() {
    let size = encoded_size(&gpu()).unwrap();
    let longer = json!({"spec": {"uuid": "GPU-01"}});
    for patch in [
        Patch::merge(&longer).unwrap(),
        Patch::strategic(&longer).unwrap(),
        Patch::json(&json!([{"op": "replace", "path": "/spec/uuid", "value": "GPU-01"}])).unwrap(),
    ] {
        let patch = patch.parse().unwrap();
        assert!(patch.apply(&gpu(), size + 1).is_ok());
        refused(patch.apply(&gpu(), size), Reason::RequestEntityTooLarge, "after the patch");
    }
}

#[test]
fn an_object_over_its_limit_can_be_patched_smaller() {
    let shorter = json!([{"op": "remove", "path": "/status/conditions"}]);
    let patched = Patch::json(&shorter).unwrap().parse().unwrap().apply(&gpu(), encoded_size(&gpu()).unwrap() - 1);
    assert!(patched.unwrap().status.conditions.is_empty());
}

#[test]
fn errors_stay_short_whatever_they_are_about() {
    let long = "x".repeat(60_000);
    for (patch_type, patch) in [
        (PatchType::Merge, json!({"kind": long})),
        (PatchType::Json, json!([{"op": long, "path": ""}])),
        (PatchType::Json, json!([{"op": "remove", "path": format!("/{long}")}])),
        (PatchType::Strategic, json!({format!("${long}"): 1})),
    ] {
        let error = apply(patch_type, &patch, &gpu()).unwrap_err();
        assert!(error.to_string().len() < 1024, "{error}");
    }
    let error = long.parse::<PatchType>().unwrap_err();
    assert!(error.to_string().len() < 1024, "{error}");
}
