// SPDX-License-Identifier: Apache-2.0
//! Tests of merge patches.

use super::*;

/// The cases of RFC 7386's appendix A: original, patch, result.
fn appendix() -> Vec<(Value, Value, Value)> {
    vec![
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ]
}

#[test]
fn the_examples_of_rfc_7386_hold_for_merge_and_strategic_patches() {
    for (original, patch, expected) in appendix() {
        let mut merged = original.clone();
        json_patch::merge(&mut merged, &super::super::merge::parse(patch.to_string().as_bytes()).unwrap());
        assert_eq!(merged, expected, "{original} {patch}");
        // Without keys and directives, a strategic merge patch is a merge patch.
        let mut merged = original.clone();
        super::super::strategic::apply(&mut merged, &patch, &[]).unwrap();
        assert_eq!(merged, expected, "{original} {patch}");
    }
}

#[test]
fn the_examples_of_rfc_7386_that_are_no_objects_are_refused() {
    for patch in [json!(["c"]), json!(null), json!("bar"), json!(1)] {
        for patch_type in [PatchType::Merge, PatchType::Strategic] {
            refused(apply(patch_type, &patch, &gpu()), Reason::UnprocessableEntity, "must be a JSON object");
        }
    }
}

#[test]
fn a_merge_patch_replaces_lists_removes_by_null_and_keeps_the_rest() {
    let patch = json!({
        "metadata": {"labels": {"a": null, "e": "f"}},
        "status": {"conditions": [{"type": "Other", "status": "Unknown"}]},
    });
    let patched = apply(PatchType::Merge, &patch, &gpu()).unwrap();
    let mut expected = gpu();
    expected.metadata.labels = [("e".to_owned(), "f".to_owned())].into();
    expected.status.conditions = vec![Condition::new("Other", ConditionStatus::Unknown)];
    assert_eq!(patched, expected);
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for patch_type in [PatchType::Merge, PatchType::Json, PatchType::Strategic] {
        for data in ["", "{", "{}x", "\"\\ud800\"", "\u{feff}{}"] {
            refused(Patch::new(patch_type, data).parse(), Reason::UnprocessableEntity, "line 1 column");
        }
    }
}
