// SPDX-License-Identifier: Apache-2.0
//! Tests of patches: what all types share here, each type's own in the files below.

mod bounds;
mod json;
mod merge;
mod strategic;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::Reason;
use crate::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta};

const LIMIT: usize = 1 << 20;

/// A GPU with a label, an annotation and two conditions.
fn gpu() -> Gpu {
    let mut gpu = Gpu {
        metadata: ObjectMeta::named("gpu-0").with_namespace("default").with_label("a", "b").with_annotation("c", "d"),
        spec: GpuSpec { uuid: "GPU-0".into() },
        ..Gpu::default()
    };
    gpu.status.conditions = vec![
        Condition::new("Healthy", ConditionStatus::True).with_reason("Fine"),
        Condition::new("Ready", ConditionStatus::False),
    ];
    gpu
}

fn apply(patch_type: PatchType, patch: &Value, object: &Gpu) -> Result<Gpu> {
    Patch::of(patch_type, patch)?.parse()?.apply(object, LIMIT)
}

#[track_caller]
fn refused(outcome: Result<impl fmt::Debug>, reason: Reason, text: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
    assert!(error.to_string().contains(text), "{error} does not say {text:?}");
}

#[test]
fn patch_types_have_a_media_type_and_a_short_name() {
    for (patch_type, media_type, name) in [
        (PatchType::Merge, "application/merge-patch+json", "merge"),
        (PatchType::Json, "application/json-patch+json", "json"),
        (PatchType::Strategic, "application/strategic-merge-patch+json", "strategic"),
    ] {
        assert_eq!(media_type.parse::<PatchType>().unwrap(), patch_type);
        assert_eq!(name.parse::<PatchType>().unwrap(), patch_type);
        assert_eq!(patch_type.as_str(), media_type);
    }
    for other in ["", "Merge", "application/apply-patch+yaml", "application/json"] {
        let error = other.parse::<PatchType>().unwrap_err();
        assert_eq!(error.reason(), Reason::UnsupportedMediaType);
        assert!(error.to_string().starts_with("unsupported media type:"), "{error}");
    }
}

#[test]
fn an_outcome_that_does_not_fit_the_type_is_refused_with_its_field() {
    for (patch, text) in [
        (json!({"spec": {"uuid": 1}}), "spec.uuid: invalid type: integer `1`"),
        (json!({"status": {"conditions": [{"type": "A", "status": []}]}}), "].status: invalid type: sequence"),
        (json!({"metadata": {"labels": {"a": true}}}), "metadata.labels.a: "),
        (json!({"kind": "Pod"}), "kind is \"Pod\", not \"GPU\""),
        (json!({"apiVersion": "v1"}), "apiVersion is \"v1\""),
    ] {
        for patch_type in [PatchType::Merge, PatchType::Strategic] {
            let outcome = apply(patch_type, &patch, &gpu());
            assert!(outcome.clone().unwrap_err().to_string().starts_with("unprocessable content: "));
            refused(outcome, Reason::UnprocessableEntity, text);
        }
    }
}

#[test]
fn both_kinds_of_json_patches_serialise() {
    let value = json!([{"op": "replace", "path": "/spec/uuid", "value": "x"}]);
    let typed: json_patch::Patch = serde_json::from_value(value.clone()).unwrap();
    for patch in [Patch::json(&value).unwrap(), Patch::json(&typed).unwrap()] {
        assert_eq!(patch.parse().unwrap().apply(&gpu(), LIMIT).unwrap().spec.uuid, "x");
    }
}

/// JSON with the names that mean something to a patch or an object.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "conditions",
        "labels",
        "uuid",
        "type",
        "op",
        "path",
        "from",
        "value",
        "$patch",
        "$setElementOrder/conditions",
        "$retainKeys",
        "a",
        "",
    ]);
    let text = prop::sample::select(vec![
        "add",
        "copy",
        "move",
        "test",
        "remove",
        "replace",
        "delete",
        "",
        "/status",
        "/status/conditions/0",
        "/status/conditions/-",
        "/spec/uuid",
        "/a",
        "/a/a",
        "True",
        "Ready",
        "~2",
        "a",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

fn any_type() -> impl Strategy<Value = PatchType> {
    prop::sample::select(vec![PatchType::Merge, PatchType::Json, PatchType::Strategic])
}

proptest! {
    #[test]
    fn parsing_any_bytes_never_panics(patch_type in any_type(), data in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = Patch::new(patch_type, data).parse();
    }

    #[test]
    fn applying_any_json_never_panics_and_what_comes_out_reads_back(patch_type in any_type(), patch in any_json()) {
        if let Ok(patched) = apply(patch_type, &patch, &gpu()) {
            let text = serde_json::to_string(&patched).unwrap();
            prop_assert!(!text.contains("$"), "{}", text);
            prop_assert_eq!(serde_json::from_str::<Gpu>(&text).unwrap(), patched);
        }
    }

    #[test]
    fn a_merge_patch_applied_twice_does_what_it_does_once(patch in any_json()) {
        if let Ok(once) = apply(PatchType::Merge, &patch, &gpu()) {
            prop_assert_eq!(apply(PatchType::Merge, &patch, &once).unwrap(), once);
        }
    }
}
