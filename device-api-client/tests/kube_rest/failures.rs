// SPDX-License-Identifier: Apache-2.0
//! Failures as Kubernetes' clients know them.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their modules

use serde_json::{Value, json};

use super::node::{GPUS, LEFT, Node, gpu, text};

/// Asserts that an answer is a `Status` of this code, reason and message.
#[track_caller]
fn assert_failed((code, status): &(u16, Value), wanted: u16, reason: &str, message: &str) {
    assert_eq!((*code, &status["code"]), (wanted, &json!(wanted)), "{status}");
    let shape = [&status["kind"], &status["apiVersion"], &status["metadata"], &status["status"]];
    assert_eq!(shape, [&json!("Status"), &json!("v1"), &json!({}), &json!("Failure")]);
    assert_eq!(text(status, "/reason"), reason);
    let said = text(status, "/message");
    assert!(said.starts_with(message), "{said:?}");
}

fn details(kind: &str, name: &str) -> Value {
    json!({"name": name, "group": "device.nvidia.com", "kind": kind})
}

#[tokio::test]
async fn what_the_verbs_refuse_has_the_code_reason_and_details_of_kubernetes() {
    let (node, versions) = Node::with(&["a", "b"]).await;
    let path = format!("{GPUS}/a");

    let answer = node.get(&format!("{GPUS}/x")).await;
    assert_failed(&answer, 404, "NotFound", "gpus \"x\" not found");
    assert_eq!(answer.1["details"], details("gpus", "x"));
    let answer = node.send("DELETE", &format!("{GPUS}/x"), &Value::Null).await;
    assert_failed(&answer, 404, "NotFound", "gpus \"x\" not found");

    let answer = node.send("POST", GPUS, &gpu("a")).await;
    assert_failed(&answer, 409, "AlreadyExists", "gpus \"a\" already exists");
    assert_eq!(answer.1["details"], details("gpus", "a"));

    let mut stale = gpu("a");
    stale["metadata"]["resourceVersion"] = json!("1");
    let answer = node.send("PUT", &path, &stale).await;
    assert_failed(
        &answer,
        409,
        "Conflict",
        "Operation cannot be fulfilled on gpus \"a\": the object has been modified",
    );
    assert_eq!(answer.1["details"], details("gpus", "a"));

    let sick = json!({"status": {"conditions": [{"type": "Healthy", "status": "sick"}]}});
    let answer = node.patch("merge-patch", &format!("{path}/status"), &sick).await;
    assert_failed(&answer, 422, "Invalid", "GPU \"a\" is invalid: ");
    assert_eq!((&answer.1["details"]["kind"], &answer.1["details"]["name"]), (&json!("GPU"), &json!("a")));
    let cause = &answer.1["details"]["causes"][0];
    assert_eq!(
        (text(cause, "/field"), text(cause, "/reason")),
        ("status.conditions[0].status".into(), "FieldValueInvalid".into())
    );

    let answer = node.patch("json-patch", &path, &json!([{"op": "test", "path": "/spec/uuid", "value": "x"}])).await;
    assert_failed(&answer, 422, "Invalid", "unprocessable content: ");

    let token = text(&node.get(&format!("{GPUS}?limit=1")).await.1, "/metadata/continue");
    node.send("DELETE", &format!("{GPUS}/b"), &Value::Null).await;
    node.ledger.forget_history().await.unwrap();
    let answer = node.get(&format!("{GPUS}?limit=1&continue={token}")).await;
    assert_failed(&answer, 410, "Expired", "too old resource version: ");
    let past = format!("{GPUS}?resourceVersion={}&resourceVersionMatch=Exact", versions[0]);
    assert_failed(&node.get(&past).await, 410, "Expired", "too old resource version: ");
}

#[tokio::test(start_paused = true)]
async fn a_version_of_the_future_is_a_timeout_with_its_cause() {
    let node = Node::new().await;
    let answer = node.get(&format!("{GPUS}?resourceVersion={}", u64::MAX)).await;
    assert_failed(&answer, 504, "Timeout", "Too large resource version: ");
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    assert_eq!(answer.1["details"], json!({"causes": [cause], "retryAfterSeconds": 1}));

    let sooner = node.get(&format!("{GPUS}?resourceVersion={}&timeoutSeconds=1", u64::MAX)).await;
    assert_failed(&sooner, 504, "Timeout", "Timeout: request did not complete");
}

#[tokio::test]
async fn a_node_that_is_closed_is_unavailable() {
    let node = Node::new().await;
    node.ledger.close().await.unwrap();
    let answer = node.send("POST", GPUS, &gpu("a")).await;
    assert_failed(&answer, 503, "ServiceUnavailable", "the server is currently unable to handle the request");
}

#[tokio::test]
async fn requests_that_are_not_understood_are_refused_and_say_why() {
    let (node, _) = Node::with(&["a"]).await;
    let path = format!("{GPUS}/a");
    let missing = "the server could not find the requested resource";
    assert_failed(&node.get("/apis/apps/v1/deployments").await, 404, "NotFound", missing);
    let status = format!("{path}/status");
    for (method, path) in [("DELETE", GPUS), ("POST", &path), ("DELETE", &status), ("PUT", "/apis"), ("HEAD", &path)] {
        let answer = node.send(method, path, &Value::Null).await;
        assert_failed(&answer, 405, "MethodNotAllowed", "the server does not allow this method");
    }
    let apply = node.patch("apply-patch", &path, &json!({})).await;
    assert_failed(&apply, 415, "UnsupportedMediaType", "unsupported media type: \"application/apply-patch+json\"");
    let yaml = node.send_as("application/yaml", "POST", GPUS, "kind: GPU".to_owned()).await;
    assert_failed(&yaml, 415, "UnsupportedMediaType", "the body of the request was in an unknown format");
    for (method, path, body, message) in [
        ("POST", GPUS, json!({"kind": "Pod"}), "body: is no GPU: "),
        ("POST", GPUS, json!([]), "body: is no GPU: "),
        ("POST", LEFT, json!({"metadata": {"name": "x", "namespace": "right"}}), "metadata.namespace: "),
        ("PUT", &path, gpu("b"), "metadata.name: the name of the object (b) does not match the name on the URL (a)"),
        ("DELETE", &path, json!({"preconditons": {}}), "body: is no DeleteOptions: unknown field `preconditons`"),
        ("GET", &format!("{GPUS}?lable=x"), Value::Null, "lable: is no parameter of this request"),
        ("GET", &format!("{GPUS}?labelSelector=a%3D%3D%3D"), Value::Null, "labelSelector: "),
    ] {
        assert_failed(&node.send(method, path, &body).await, 400, "BadRequest", message);
    }
    let twice = r#"{"metadata": {"name": "x"}, "spec": {"uuid": "a", "uuid": "b"}}"#;
    let twice = node.send_as("application/json", "POST", GPUS, twice.to_owned()).await;
    assert_failed(&twice, 400, "BadRequest", "body: is no GPU: the member \"uuid\" is there twice");
    let text = "x".repeat((3 << 20) + 1);
    let long = node.send_as("application/json", "POST", GPUS, text).await;
    assert_failed(&long, 413, "RequestEntityTooLarge", "the request is over the limit of 3145728 bytes");
}

#[tokio::test]
async fn metadata_that_nobody_would_act_upon_is_refused_and_not_dropped() {
    let (node, _) = Node::with(&["a"]).await;
    let path = format!("{GPUS}/a");
    let finalizers = json!({"metadata": {"name": "a", "finalizers": ["x/y"]}});
    let owners = json!({"metadata": {"name": "b", "ownerReferences": [{"name": "x"}]}});
    let generated = json!({"metadata": {"generateName": "b-"}});
    // As kube's `finalizer` adds one.
    let add = json!([
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["x/y"]},
    ]);
    for (answer, field) in [
        (node.send("POST", GPUS, &owners).await, "ownerReferences"),
        (node.send("POST", GPUS, &generated).await, "generateName"),
        (node.send("PUT", &path, &finalizers).await, "finalizers"),
        (node.patch("merge-patch", &path, &finalizers).await, "finalizers"),
        (node.patch("json-patch", &path, &add).await, "finalizers"),
    ] {
        assert_failed(&answer, 400, "BadRequest", &format!("metadata.{field}: is not supported"));
    }
    // What says that there is none is no such thing: clients send it with what they have read.
    let mut none = gpu("a");
    none["metadata"]["finalizers"] = json!([]);
    assert_eq!(node.send("PUT", &path, &none).await.0, 200);
}

#[tokio::test]
async fn a_json_patch_of_all_metadata_hides_no_finalizer_in_it() {
    let (node, _) = Node::with(&["a"]).await;
    let path = format!("{GPUS}/a");
    let whole = node.get(&path).await.1;
    let with = |field: &str, value: Value| {
        let mut object = whole.clone();
        object["metadata"][field] = value;
        object
    };
    let finalizers = with("finalizers", json!(["x/y"]));
    let owners = with("ownerReferences", json!([{"name": "x"}]));
    let generated = with("generateName", json!("a-"));
    for operation in ["add", "replace"] {
        for (object, field) in [(&finalizers, "finalizers"), (&owners, "ownerReferences"), (&generated, "generateName")]
        {
            for (pointer, value) in [("", object), ("/metadata", &object["metadata"])] {
                let patch = json!([{"op": operation, "path": pointer, "value": value}]);
                for path in [path.clone(), format!("{path}/status")] {
                    let answer = node.patch("json-patch", &path, &patch).await;
                    assert_failed(&answer, 400, "BadRequest", &format!("metadata.{field}: is not supported"));
                }
            }
        }
    }
    for (below, field) in [
        (json!({"op": "add", "path": "/metadata/finalizers", "value": ["x/y"]}), "finalizers"),
        (json!({"op": "copy", "path": "/metadata/ownerReferences", "from": "/spec"}), "ownerReferences"),
    ] {
        let answer = node.patch("json-patch", &path, &json!([below])).await;
        assert_failed(&answer, 400, "BadRequest", &format!("metadata.{field}: is not supported"));
    }
    // There are none to add one to.
    let append = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "x/y"}]);
    let answer = node.patch("json-patch", &path, &append).await;
    assert_failed(&answer, 422, "Invalid", "unprocessable content: operation 0 (add \"/metadata/finalizers/-\")");
    // What is made elsewhere first.
    for (operation, source, pointer) in
        [("copy", &finalizers, ""), ("move", &finalizers, ""), ("copy", &finalizers["metadata"], "/metadata")]
    {
        let add = json!({"op": "add", "path": "/spec/aside", "value": source});
        let patch = json!([add, {"op": operation, "path": pointer, "from": "/spec/aside"}]);
        let answer = node.patch("json-patch", &path, &patch).await;
        assert_failed(&answer, 400, "BadRequest", "metadata.finalizers: is not supported");
    }
    assert_eq!(node.get(&path).await.1, whole);

    // Without such a field it is a patch like any other.
    let mut labelled = with("labels", json!({"finalizers": "none"}));
    labelled["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    for (pointer, value) in [("", &labelled), ("/metadata", &labelled["metadata"])] {
        let patch = json!([{"op": "replace", "path": pointer, "value": value}]);
        let (code, patched) = node.patch("json-patch", &path, &patch).await;
        assert_eq!((code, &patched["metadata"]["labels"]), (200, &json!({"finalizers": "none"})), "{patched}");
    }
}
