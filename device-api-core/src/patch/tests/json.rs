// SPDX-License-Identifier: Apache-2.0
//! Tests of JSON patches.

use super::*;

fn run(document: &Value, operations: &Value) -> Result<Value> {
    let mut document = document.clone();
    let operations = super::super::json::parse(operations.to_string().as_bytes())?;
    super::super::json::apply(&mut document, &operations, LIMIT)?;
    Ok(document)
}

#[test]
fn the_examples_of_rfc_6902_hold() {
    let cases = [
        ("A.1", json!({"f": 1}), json!([{"op": "add", "path": "/b", "value": 2}]), json!({"f": 1, "b": 2})),
        ("A.2", json!({"f": [1, 3]}), json!([{"op": "add", "path": "/f/1", "value": 2}]), json!({"f": [1, 2, 3]})),
        ("A.3", json!({"f": 1, "b": 2}), json!([{"op": "remove", "path": "/b"}]), json!({"f": 1})),
        ("A.4", json!({"f": [1, 2, 3]}), json!([{"op": "remove", "path": "/f/1"}]), json!({"f": [1, 3]})),
        ("A.5", json!({"f": 1, "b": 2}), json!([{"op": "replace", "path": "/b", "value": 3}]), json!({"f": 1, "b": 3})),
        (
            "A.6",
            json!({"f": {"w": 1, "b": 2}, "q": {"c": 3}}),
            json!([{"op": "move", "from": "/f/w", "path": "/q/t"}]),
            json!({"f": {"b": 2}, "q": {"c": 3, "t": 1}}),
        ),
        (
            "A.7",
            json!({"f": [1, 2, 3, 4]}),
            json!([{"op": "move", "from": "/f/1", "path": "/f/3"}]),
            json!({"f": [1, 3, 4, 2]}),
        ),
        (
            "A.8",
            json!({"b": "q", "f": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/b", "value": "q"}, {"op": "test", "path": "/f/1", "value": 2}]),
            json!({"b": "q", "f": ["a", 2, "c"]}),
        ),
        (
            "A.10",
            json!({"f": 1}),
            json!([{"op": "add", "path": "/c", "value": {"g": {}}}]),
            json!({"f": 1, "c": {"g": {}}}),
        ),
        ("A.11", json!({"f": 1}), json!([{"op": "add", "path": "/b", "value": 2, "xyz": 3}]), json!({"f": 1, "b": 2})),
        (
            "A.14",
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            json!({"/": 9, "~1": 10}),
        ),
        (
            "A.16",
            json!({"f": ["b"]}),
            json!([{"op": "add", "path": "/f/-", "value": ["a", "d"]}]),
            json!({"f": ["b", ["a", "d"]]}),
        ),
        ("copy", json!({"f": [1]}), json!([{"op": "copy", "from": "/f", "path": "/g"}]), json!({"f": [1], "g": [1]})),
    ];
    for (name, document, operations, expected) in cases {
        assert_eq!(run(&document, &operations).unwrap(), expected, "{name}");
    }
}

#[test]
fn the_examples_of_rfc_6902_that_fail_are_refused() {
    let add_and_remove = br#"[{"op": "add", "path": "/b", "value": 1, "op": "remove"}]"#;
    let failing = [
        ("A.9", json!({"b": "q"}), json!([{"op": "test", "path": "/b", "value": "z"}])),
        ("A.12", json!({"f": 1}), json!([{"op": "add", "path": "/b/c", "value": 2}])),
        ("A.13", json!({"f": 1}), serde_json::from_slice(add_and_remove).unwrap()),
        ("A.15", json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": "10"}])),
        ("into itself", json!({"a": {}}), json!([{"op": "move", "from": "/a", "path": "/a/b"}])),
        ("beyond the end", json!([]), json!([{"op": "add", "path": "/1", "value": 2}])),
        ("leading zero", json!([1, 2]), json!([{"op": "remove", "path": "/01"}])),
        ("no item", json!([1]), json!([{"op": "remove", "path": "/-"}])),
    ];
    for (name, document, operations) in failing {
        let error = run(&document, &operations).unwrap_err();
        assert_eq!(error.reason(), Reason::UnprocessableEntity, "{name}");
        assert!(error.to_string().contains("operation 0 ("), "{name}: {error}");
    }
}

#[test]
fn a_test_compares_numbers_by_value() {
    let document = json!({"f": 1, "g": [0, {"h": 9_007_199_254_740_993_u64}], "half": 0.5, "big": u64::MAX});
    for (path, value) in [
        ("/f", json!(1.0)),
        ("/g", json!([-0.0, {"h": 9_007_199_254_740_993_i64}])),
        ("/half", json!(5e-1)),
        ("/big", json!(u64::MAX)),
        ("", document.clone()),
    ] {
        let test = json!([{"op": "test", "path": path, "value": value}]);
        assert_eq!(run(&document, &test).unwrap(), document, "{path}");
    }
    for (path, value) in [
        ("/f", json!("1")),
        ("/f", json!(true)),
        ("/f", json!(1.000_000_1)),
        // The nearest double is another integer.
        ("/g/1/h", json!(9_007_199_254_740_992.0)),
        ("/big", json!(18_446_744_073_709_551_616.0)),
        ("/g", json!([0.0])),
    ] {
        let test = json!([{"op": "test", "path": path, "value": value}]);
        let error = run(&document, &test).unwrap_err().to_string();
        assert!(error.contains("the value there is another"), "{path} {value}: {error}");
    }
}

#[test]
fn a_test_for_null_holds_where_an_object_has_no_such_member() {
    let document = json!({"f": {}, "g": []});
    for path in ["/f/a", "/b"] {
        assert!(run(&document, &json!([{"op": "test", "path": path, "value": null}])).is_ok(), "{path}");
    }
    for (path, value) in [("/f", json!(null)), ("/f/a/b", json!(null)), ("/g/0", json!(null)), ("/f/a", json!(0))] {
        assert!(run(&document, &json!([{"op": "test", "path": path, "value": value}])).is_err(), "{path}");
    }
}

#[test]
fn an_error_names_the_operation_by_its_index_and_path() {
    let test = json!([
        {"op": "test", "path": "/spec/uuid", "value": "GPU-0"},
        {"op": "test", "path": "/spec/uuid", "value": "GPU-1"},
    ]);
    let text = "operation 1 (test \"/spec/uuid\"): the value there is another";
    refused(apply(PatchType::Json, &test, &gpu()), Reason::UnprocessableEntity, text);
    let copy = json!([{"op": "copy", "from": "/absent", "path": "/spec/uuid"}]);
    let text = "operation 0 (copy \"/spec/uuid\"): \"from\" path is invalid";
    refused(apply(PatchType::Json, &copy, &gpu()), Reason::UnprocessableEntity, text);
}

#[test]
fn operations_that_do_not_parse_are_refused_with_their_index() {
    for (operations, text) in [
        (json!({}), "a list of operations: "),
        (json!([{"op": "remove", "path": ""}, 1]), "operation 1: "),
        (json!([{"op": "merge", "path": "/a"}]), "operation 0: unknown variant `merge`"),
        (json!([{"op": "add", "path": "/a"}]), "operation 0: missing field `value`"),
        (json!([{"op": "move", "path": "/a"}]), "operation 0: missing field `from`"),
        (json!([{"op": "remove"}]), "operation 0: missing field `path`"),
        (json!([{"op": "remove", "path": "a"}]), "operation 0: "),
        (json!([{"op": "remove", "path": "/~2"}]), "operation 0: "),
    ] {
        refused(Patch::json(&operations).unwrap().parse(), Reason::UnprocessableEntity, text);
    }
}

#[test]
fn operations_change_an_object_in_their_order() {
    let operations = json!([
        {"op": "add", "path": "/metadata/labels/e", "value": "f"},
        {"op": "move", "from": "/metadata/labels/a", "path": "/spec/uuid"},
        {"op": "remove", "path": "/status/conditions/0"},
        {"op": "add", "path": "/status/conditions/-", "value": {"type": "Other", "status": "True"}},
        {"op": "replace", "path": "/status/conditions/0/status", "value": "Unknown"},
    ]);
    let patched = apply(PatchType::Json, &operations, &gpu()).unwrap();
    let mut expected = gpu();
    expected.metadata.labels = [("e".to_owned(), "f".to_owned())].into();
    expected.spec.uuid = "b".into();
    expected.status.conditions =
        vec![Condition::new("Ready", ConditionStatus::Unknown), Condition::new("Other", ConditionStatus::True)];
    assert_eq!(patched, expected);
}
