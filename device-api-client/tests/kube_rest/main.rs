// SPDX-License-Identifier: Apache-2.0
//! What the Kubernetes side of a handle answers, request by request.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod failures;
mod node;

use serde_json::{Value, json};

use self::node::{GPUS, LEFT, Node, gpu, text};

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| text(item, "/metadata/name")).collect()
}

/// The type and the name, or the code, of each line.
fn told(lines: &[Value]) -> Vec<String> {
    let told = |line: &Value| match line["type"].as_str().unwrap() {
        "BOOKMARK" => format!("BOOKMARK {}", line["object"]["metadata"]["annotations"]),
        "ERROR" => format!("ERROR {}", line["object"]["code"]),
        other => format!("{other} {}", text(line, "/object/metadata/name")),
    };
    lines.iter().map(told).collect()
}

#[tokio::test]
async fn discovery_names_the_one_resource_and_its_status() {
    let node = Node::new().await;
    let (_, groups) = node.get("/apis").await;
    assert_eq!(groups["groups"][0]["preferredVersion"]["groupVersion"], "device.nvidia.com/v1alpha1");
    assert_eq!(node.get("/apis/device.nvidia.com").await.1["kind"], "APIGroup");
    assert_eq!(node.get("/api").await.1["versions"], json!([]));
    let (_, resources) = node.get("/apis/device.nvidia.com/v1alpha1").await;
    assert_eq!(resources["groupVersion"], "device.nvidia.com/v1alpha1");
    let found: Vec<_> = resources["resources"].as_array().unwrap().iter().map(|one| text(one, "/name")).collect();
    assert_eq!(found, ["gpus", "gpus/status"]);
}

#[tokio::test]
async fn lists_come_whole_in_pages_and_selected() {
    let (node, versions) = Node::with(&["a", "b", "c"]).await;
    let mut other = gpu("d");
    other["metadata"]["labels"] = json!({"zone": "left"});
    assert_eq!(node.send("POST", LEFT, &other).await.0, 201);

    let (_, all) = node.get(GPUS).await;
    assert_eq!(
        (text(&all, "/kind"), text(&all, "/apiVersion")),
        ("GPUList".into(), "device.nvidia.com/v1alpha1".into())
    );
    assert_eq!(names(&all), ["a", "b", "c", "d"]);
    assert_eq!(all["items"][3]["metadata"]["namespace"], "left");
    assert_eq!(all["items"][3]["kind"], "GPU");

    let (_, first) = node.get(&format!("{GPUS}?limit=3")).await;
    assert_eq!(names(&first), ["a", "b", "c"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = text(&first, "/metadata/continue");
    let (_, rest) = node.get(&format!("{GPUS}?limit=3&continue={token}")).await;
    assert_eq!((names(&rest), rest["metadata"].get("continue")), (vec!["d".to_owned()], None));

    assert_eq!(names(&node.get(LEFT).await.1), ["d"]);
    assert_eq!(names(&node.get(&format!("{GPUS}?labelSelector=zone%3Dleft")).await.1), ["d"]);
    assert_eq!(names(&node.get(&format!("{GPUS}?fieldSelector=metadata.name%3Db")).await.1), ["b"]);
    let past = format!("{GPUS}?resourceVersion={}&resourceVersionMatch=Exact", versions[1]);
    assert_eq!(names(&node.get(&past).await.1), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_sends_what_is_there_then_what_happens_and_bookmarks() {
    let (node, versions) = Node::with(&["a", "b"]).await;
    let resumed = node.watch(&format!("resourceVersion={}", versions[0])).await;
    assert_eq!(told(&resumed), ["ADDED b"]);
    assert_eq!(resumed[0]["object"]["spec"]["uuid"], "GPU-b");

    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let lines = node.watch(query).await;
    let end = format!("BOOKMARK {}", json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(told(&lines), ["ADDED a", "ADDED b", end.as_str(), "BOOKMARK null"]);
    assert_eq!(lines[3]["object"]["kind"], "GPU");
    assert_eq!(text(&lines[3], "/object/metadata/resourceVersion"), versions[1]);

    node.send("DELETE", &format!("{GPUS}/a"), &Value::Null).await;
    assert_eq!(told(&node.watch(&format!("resourceVersion={}", versions[1])).await), ["DELETED a"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_version_that_is_not_in_history_ends_with_410_in_the_stream() {
    let (node, versions) = Node::with(&["a", "b"]).await;
    node.ledger.forget_history().await.unwrap();
    let lines = node.watch(&format!("resourceVersion={}", versions[0])).await;
    assert_eq!(told(&lines), ["ERROR 410"]);
    assert_eq!(lines[0]["object"]["reason"], "Expired");
    let future = u64::MAX.to_string();
    assert_eq!(told(&node.watch(&format!("resourceVersion={future}")).await), ["ERROR 410"]);
    // A bad argument is no matter of versions: the request fails.
    assert_eq!(node.get(&format!("{GPUS}?watch=true&labelSelector=%21%21")).await.0, 400);
}

#[tokio::test]
async fn writes_store_what_they_may_touch_and_answer_with_what_was_stored() {
    let (node, versions) = Node::with(&["a"]).await;
    let (path, status) = (format!("{GPUS}/a"), format!("{GPUS}/a/status"));
    let condition = json!({"type": "Healthy", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z",
                           "reason": "Xid", "message": ""});
    let mut changed = gpu("a");
    changed["spec"]["uuid"] = json!("GPU-new");
    changed["status"] = json!({"conditions": [condition]});

    let (code, replaced) = node.send("PUT", &path, &changed).await;
    assert_eq!((code, &replaced["spec"]["uuid"], &replaced["status"]), (200, &json!("GPU-new"), &json!({})));
    let (code, replaced) = node.send("PUT", &status, &changed).await;
    assert_eq!((code, &replaced["status"]["conditions"][0]["type"]), (200, &json!("Healthy")));
    assert_eq!(node.get(&status).await, (200, replaced));

    let labels = json!({"metadata": {"labels": {"zone": "left"}}});
    assert_eq!(node.patch("merge-patch", &path, &labels).await.1["metadata"]["labels"]["zone"], "left");
    let replace = json!([{"op": "replace", "path": "/spec/uuid", "value": "GPU-json"}]);
    assert_eq!(node.patch("json-patch", &path, &replace).await.1["spec"]["uuid"], "GPU-json");
    let other = json!({"status": {"conditions": [{"type": "Cool", "status": "True"}]}});
    let (_, patched) = node.patch("strategic-merge-patch", &status, &other).await;
    assert_eq!(patched["status"]["conditions"].as_array().unwrap().len(), 2);

    let (code, dry) = node.send("POST", &format!("{GPUS}?dryRun=All&fieldManager=me"), &gpu("b")).await;
    assert_eq!((code, text(&dry, "/metadata/name")), (201, "b".to_owned()));
    assert_eq!(node.get(&format!("{GPUS}/b")).await.0, 404);
    assert_ne!(text(&patched, "/metadata/resourceVersion"), versions[0]);
}

#[tokio::test]
async fn a_delete_says_which_object_it_was_and_keeps_its_preconditions() {
    let (node, versions) = Node::with(&["a"]).await;
    let path = format!("{GPUS}/a");
    let uid = text(&node.get(&path).await.1, "/metadata/uid");
    for preconditions in [json!({"uid": "another"}), json!({"resourceVersion": "1"})] {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions});
        let (code, status) = node.send("DELETE", &path, &options).await;
        assert_eq!((code, text(&status, "/reason")), (409, "Conflict".to_owned()), "{options}");
    }
    let dry = json!({"dryRun": ["All"], "propagationPolicy": "Foreground", "gracePeriodSeconds": 0});
    assert_eq!(node.send("DELETE", &path, &dry).await.0, 200);
    assert_eq!(node.get(&path).await.0, 200, "a dry run deletes nothing");

    let options = json!({"preconditions": {"uid": uid, "resourceVersion": versions[0]}});
    let details = json!({"name": "a", "group": "device.nvidia.com", "kind": "gpus", "uid": uid});
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200,
                        "details": details});
    assert_eq!(node.send("DELETE", &path, &options).await, (200, status));
    assert_eq!(node.get(&path).await.0, 404);
}
