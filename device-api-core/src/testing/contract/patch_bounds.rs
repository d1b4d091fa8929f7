// SPDX-License-Identifier: Apache-2.0
//! Rule 2.9: patches that cannot be read, and patches that ask for too much.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Value, json as value};

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::patch::{Patch, PatchType};
use crate::registry::{PostParams, Verbs};
use crate::resource::Gpu;
use crate::testing::expect::{refused_as_invalid, within};
use crate::testing::given::{
    create, get, gpu, json, labelled, latest, merge, raw, strategic, try_patch, try_patch_status, version,
    with_conditions,
};
use crate::{Error, Result};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_9_a_patch_that_does_not_parse_is_unprocessable_content,
        rule_2_9_a_patch_with_a_member_twice_is_unprocessable_content,
        rule_2_9_a_patch_that_does_not_fit_the_type_is_unprocessable_content,
        rule_2_9_any_other_patch_type_is_an_unsupported_media_type,
        rule_2_9_each_patch_type_has_two_names,
        rule_2_9_a_patch_is_64_kib_at_most,
        rule_2_9_a_json_patch_has_1000_operations_at_most,
        rule_2_9_a_patch_nests_32_levels_at_most,
        rule_2_9_a_patch_nested_without_end_is_refused,
        rule_2_9_a_json_patch_cannot_grow_an_object_by_copying,
        rule_2_9_many_small_patches_cannot_grow_an_object_past_its_limit,
    ]
}

const TYPES: [PatchType; 3] = [PatchType::Merge, PatchType::Json, PatchType::Strategic];

#[track_caller]
fn unprocessable<T: Debug>(outcome: Result<T>, what: &str) {
    let error = refused_as_invalid(outcome, what);
    assert!(error.to_string().starts_with("unprocessable content:"), "{what}: clients tell 422 by it: {error}");
}

/// What asks for too much is refused as a bad patch, or as what is over a limit.
#[track_caller]
fn over_a_bound<T: Debug>(outcome: Result<T>, what: &str) -> Error {
    match outcome {
        Err(error) if error.is_invalid() || error.is_too_large() => error,
        Err(error) => panic!("{what}: expected a refusal as invalid or too large, got {:?}: {error}", error.reason()),
        Ok(value) => panic!("{what}: expected a refusal, but it succeeded: {value:?}"),
    }
}

/// After any refused patch the object is as it was and the server goes on.
async fn nothing_happened(api: &impl Verbs<Gpu>, created: &Arc<Gpu>) {
    assert_eq!(get(api, "x").await, *created);
    assert_eq!(latest(api).await, version(&**created), "a refused patch uses no revision");
}

async fn rule_2_9_a_patch_that_does_not_parse_is_unprocessable_content(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    for patch_type in TYPES {
        for bytes in [&b""[..], b"{", b"nonsense", b"{\"a\":1}{\"b\":2}", b"{\"spec\":{\"uuid\":\"\xff\"}}", b"\0"] {
            let what = format!("{patch_type:?} of {:?}", String::from_utf8_lossy(bytes));
            unprocessable(try_patch(&api, "x", raw(patch_type, bytes)).await, &what);
            unprocessable(try_patch_status(&api, "x", raw(patch_type, bytes)).await, &what);
        }
    }
    for text in
        ["{}", "[1]", "[{}]", "[{\"op\":\"add\"}]", "[{\"op\":\"add\",\"path\":\"no-slash\",\"value\":1}]", "null"]
    {
        unprocessable(try_patch(&api, "x", raw(PatchType::Json, text)).await, &format!("a JSON patch {text}"));
    }
    nothing_happened(&api, &created).await;
}

async fn rule_2_9_a_patch_with_a_member_twice_is_unprocessable_content(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    // Of two that contradict each other, one would be dropped in silence.
    let twice = r#"{"spec": {"uuid": "a", "uuid": "b"}}"#;
    let operation = r#"[{"op": "replace", "path": "/spec/uuid", "value": "a", "value": "b"}]"#;
    for (patch_type, text) in [(PatchType::Merge, twice), (PatchType::Strategic, twice), (PatchType::Json, operation)] {
        unprocessable(try_patch(&api, "x", raw(patch_type, text)).await, &format!("{patch_type:?} of {text}"));
    }
    nothing_happened(&api, &created).await;
}

async fn rule_2_9_a_patch_that_does_not_fit_the_type_is_unprocessable_content(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    for change in [
        value!({"spec": {"uuid": 7}}),
        value!({"spec": []}),
        value!({"spec": "text"}),
        value!({"metadata": {"labels": {"a": 1}}}),
        value!({"metadata": {"labels": ["a"]}}),
        value!({"metadata": 1}),
        value!({"metadata": []}),
        value!([]),
        value!("text"),
        value!(1),
    ] {
        for patch_type in [PatchType::Merge, PatchType::Strategic] {
            let outcome = try_patch(&api, "x", raw(patch_type, change.to_string())).await;
            unprocessable(outcome, &format!("{patch_type:?} of {change}"));
        }
    }
    for change in [
        value!({"status": []}),
        value!({"status": {"conditions": "text"}}),
        value!({"status": {"conditions": [["Ready", "True"]]}}),
        value!({"status": {"conditions": [{"type": "Ready", "status": 1}]}}),
        value!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "yesterday"}]}}),
        value!({"status": {"recommendedAction": []}}),
    ] {
        for patch_type in [PatchType::Merge, PatchType::Strategic] {
            let outcome = try_patch_status(&api, "x", raw(patch_type, change.to_string())).await;
            unprocessable(outcome, &format!("a status patch, {patch_type:?}, of {change}"));
        }
    }
    for operations in [
        value!([{"op": "replace", "path": "", "value": []}]),
        value!([{"op": "replace", "path": "/spec", "value": 1}]),
        value!([{"op": "replace", "path": "/spec/uuid", "value": {}}]),
    ] {
        let outcome = try_patch(&api, "x", raw(PatchType::Json, operations.to_string())).await;
        unprocessable(outcome, &format!("a JSON patch {operations}"));
    }
    nothing_happened(&api, &created).await;
}

async fn rule_2_9_any_other_patch_type_is_an_unsupported_media_type(_api: impl Verbs<Gpu>) {
    for name in ["", "application/apply-patch+yaml", "application/json", "text/plain", "Merge", "merge ", "apply"] {
        let error = refused_as_invalid(name.parse::<PatchType>(), &format!("the patch type {name:?}"));
        assert!(error.to_string().starts_with("unsupported media type:"), "clients tell 415 by it: {error}");
    }
}

async fn rule_2_9_each_patch_type_has_two_names(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    for (long, short, patch_type) in [
        ("application/merge-patch+json", "merge", PatchType::Merge),
        ("application/json-patch+json", "json", PatchType::Json),
        ("application/strategic-merge-patch+json", "strategic", PatchType::Strategic),
    ] {
        assert_eq!(long.parse(), Ok(patch_type));
        assert_eq!(short.parse(), Ok(patch_type));
    }
    for (index, patch_type) in TYPES.into_iter().enumerate() {
        let uuid = format!("changed-{index}");
        let change = match patch_type {
            PatchType::Json => value!([{"op": "replace", "path": "/spec/uuid", "value": uuid}]),
            _ => value!({"spec": {"uuid": uuid}}),
        };
        let patched = try_patch(&api, "x", raw(patch_type, change.to_string())).await.expect("each type works");
        assert_eq!(patched.spec.uuid, uuid);
    }
}

async fn rule_2_9_a_patch_is_64_kib_at_most(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let of_size = |size: usize| {
        let empty = value!({"metadata": {"annotations": {"a": ""}}}).to_string().len();
        value!({"metadata": {"annotations": {"a": "v".repeat(size - empty)}}}).to_string()
    };
    let limit = 64 * 1024;
    for patch_type in [PatchType::Merge, PatchType::Strategic] {
        over_a_bound(try_patch(&api, "x", raw(patch_type, of_size(limit + 1))).await, "a byte more than 64 KiB");
    }
    let operations = value!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "v".repeat(limit)}}]);
    let outcome = try_patch(&api, "x", raw(PatchType::Json, operations.to_string())).await;
    over_a_bound(outcome, "a JSON patch of more than 64 KiB");
    nothing_happened(&api, &created).await;
    let outcome = try_patch(&api, "x", raw(PatchType::Merge, of_size(limit))).await;
    outcome.expect("64 KiB exactly are not too much");
}

async fn rule_2_9_a_json_patch_has_1000_operations_at_most(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let of_length = |length: usize| {
        let mut operations = vec![value!({"op": "test", "path": "/kind", "value": "GPU"}); length - 1];
        operations.push(value!({"op": "replace", "path": "/spec/uuid", "value": "changed"}));
        raw(PatchType::Json, Value::Array(operations).to_string())
    };
    over_a_bound(try_patch(&api, "x", of_length(1_001)).await, "1,001 operations");
    nothing_happened(&api, &created).await;
    try_patch(&api, "x", of_length(1_000)).await.expect("1,000 operations are not too many");
}

async fn rule_2_9_a_patch_nests_32_levels_at_most(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let nested = |levels: usize| (0..levels).fold(value!("leaf"), |inner, _| value!({"a": inner}));
    for levels in [33, 64, 100] {
        let what = format!("{levels} levels");
        over_a_bound(try_patch(&api, "x", Ok(merge(value!({"spec": nested(levels)})))).await, &what);
        over_a_bound(try_patch(&api, "x", Ok(strategic_spec(nested(levels)))).await, &what);
        let add = value!([{"op": "add", "path": "/spec/a", "value": nested(levels)}]);
        over_a_bound(try_patch(&api, "x", Ok(json(add))).await, &what);
    }
    let deeper = |_| value!({"op": "copy", "from": "/spec", "path": "/spec/a"});
    let operations: Vec<Value> = (0..40).map(deeper).collect();
    over_a_bound(try_patch(&api, "x", Ok(json(Value::Array(operations)))).await, "levels that operations pile up");
    nothing_happened(&api, &created).await;
}

fn strategic_spec(spec: Value) -> Patch {
    strategic(value!({"spec": spec}))
}

async fn rule_2_9_a_patch_nested_without_end_is_refused(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    for patch_type in TYPES {
        for open in ["[", "{\"a\":", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":"] {
            let bytes = open.repeat(60_000 / open.len());
            let outcome = within("a refusal", try_patch(&api, "x", raw(patch_type, bytes.clone()))).await;
            over_a_bound(outcome, &format!("{patch_type:?} of {open:?} again and again"));
        }
        let closed = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        over_a_bound(try_patch(&api, "x", raw(patch_type, closed)).await, "a list nested 30,000 times");
    }
    nothing_happened(&api, &created).await;
}

async fn rule_2_9_a_json_patch_cannot_grow_an_object_by_copying(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&labelled("x", "a", "b"), [ready("True")])).await;
    // Each copies the whole of what is there, so that the size doubles 24 times.
    let mut bomb = vec![value!({"op": "add", "path": "/spec/0", "value": "x".repeat(64)})];
    bomb.extend((1..24).map(|index| value!({"op": "copy", "from": "/spec", "path": format!("/spec/{index}")})));
    let wide: Vec<Value> = (0..900)
        .map(|index| value!({"op": "copy", "from": "/metadata/annotations/a", "path": format!("/spec/{index}")}))
        .collect();
    let mut fed = vec![value!({"op": "add", "path": "/metadata/annotations", "value": {"a": "v".repeat(8_000)}})];
    fed.extend(wide);
    for operations in [bomb, fed] {
        let patch = json(Value::Array(operations));
        let outcome = within("a refusal", try_patch(&api, "x", Ok(patch.clone()))).await;
        over_a_bound(outcome, "copies of copies");
        let outcome = within("a refusal", try_patch_status(&api, "x", Ok(patch))).await;
        over_a_bound(outcome, "copies of copies, of the status");
    }
    nothing_happened(&api, &created).await;
}

async fn rule_2_9_many_small_patches_cannot_grow_an_object_past_its_limit(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let message = "m".repeat(30 * 1024);
    let mut refusal = None;
    for index in 0..64 {
        let own = value!([{"type": format!("Type{index}"), "status": "True", "message": message}]);
        let change = strategic(value!({"status": {"conditions": own}}));
        if let Err(error) = api.patch_status("x", &PostParams::default(), &change).await {
            refusal = Some(error);
            break;
        }
    }
    let error = refusal.expect("1.9 MiB of conditions are over an object's limit");
    over_a_bound(Err::<(), _>(error), "a patch past the object's limit");
    get(&api, "x").await;
}
