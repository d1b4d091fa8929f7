// SPDX-License-Identifier: Apache-2.0
//! One rule, every door: what a client means is stored alike, or refused alike, whether it comes as a message, as one
//! of the three kinds of patch or as the body of a request to the API server of kube's clients.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use device_api_client::kube::Apiserver;
use device_api_core::Error;
use device_api_core::patch::Patch;
use device_api_core::proto::status::to_status;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_server::GpuService as _;
use device_api_core::registry::{Ledger, LedgerOptions, Part, PostParams, Registry};
use device_api_core::resource::{
    Condition, ConditionStatus, Gpu, GpuSpec, GpuStrategy, ObjectMeta, Timestamp, document,
};
use device_api_core::testing::ManualClock;
use device_api_server::GpuApi;
use device_api_store_memory::Memory;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use proptest::sample::select;
use prost::bytes::Bytes;
use serde_json::{Map, Value, json};
use tonic::Code;
use tower_service::Service as _;

/// Stands for what the object has.
const SAME: &str = "$same";
const ZERO: &str = "0001-01-01T00:00:00Z";

/// What a client means: the whole part of an object, and what it says of the identity beside it. A
/// member may be absent, `null`, empty, the same, another, or wrong.
#[derive(Clone, Debug)]
struct Intent {
    part: Part,
    metadata: Map<String, Value>,
    /// The spec, or the status.
    body: Map<String, Value>,
}

/// What came of it, without what differs between any two objects.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Stored(Value),
    Refused(Code),
}

/// An object of these members: each absent, `null` or one of these values.
fn object(members: Vec<(&'static str, Vec<Value>)>) -> impl Strategy<Value = Map<String, Value>> {
    let member = |(name, values): (&'static str, Vec<Value>)| {
        let known = values.into_iter().map(Some);
        let values: Vec<_> = [None, None, Some(Value::Null)].into_iter().chain(known).collect();
        select(values).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let members: Vec<_> = members.into_iter().map(member).collect();
    members.prop_map(|members| members.into_iter().flatten().collect())
}

fn condition() -> impl Strategy<Value = Value> {
    // Most are whole, or hardly any would be stored.
    let whole =
        select(vec![json!({}), json!({"type": "A", "status": "True"}), json!({"type": "B", "status": "False"})]);
    let rest = object(vec![
        ("type", vec![json!("A"), json!("B"), json!("no type"), json!("")]),
        ("status", vec![json!("True"), json!("Unknown"), json!("Yes"), json!("")]),
        ("reason", vec![json!(""), json!("48.1"), json!("no reason")]),
        ("message", vec![json!(""), json!("a text")]),
        ("lastTransitionTime", vec![json!(ZERO), json!("1970-01-01T00:16:40.5Z")]),
        ("observedGeneration", vec![json!(0), json!(1), json!(-1)]),
        ("state", vec![json!(""), json!("x")]),
    ]);
    (whole, rest, any::<[bool; 8]>()).prop_map(|(whole, rest, taken)| {
        let mut condition = whole.as_object().cloned().unwrap();
        let taken = rest.into_iter().zip(taken).filter(|(_, taken)| *taken || condition.is_empty());
        let taken: Vec<_> = taken.map(|(member, _)| member).collect();
        condition.extend(taken);
        condition.into()
    })
}

/// What a client says of the identity of what it writes.
fn identity() -> impl Strategy<Value = Map<String, Value>> {
    object(vec![
        ("namespace", vec![json!(""), json!("default")]),
        ("uid", vec![json!(""), json!(SAME), json!(SAME), json!("another")]),
        ("creationTimestamp", vec![json!(ZERO), json!(SAME), json!(SAME), json!("1970-01-01T00:00:01Z")]),
        ("resourceVersion", vec![json!(""), json!(SAME), json!(SAME), json!("1")]),
        ("generation", vec![json!(0), json!(7)]),
        ("finalizers", vec![json!([]), json!([]), json!(["x/y"])]),
    ])
}

fn main_part() -> impl Strategy<Value = Intent> {
    let labels = object(vec![
        ("labels", vec![json!({}), json!({"a": "1"}), json!({"a": "no label"})]),
        ("annotations", vec![json!({}), json!({"a": "any text"})]),
    ]);
    let spec = object(vec![
        ("uuid", vec![json!(""), json!("other"), json!("u".repeat(254))]),
        ("uid", vec![json!(""), json!({}), json!("x")]),
    ]);
    (identity(), labels, spec).prop_map(|(mut metadata, labels, body)| {
        metadata.extend(labels);
        Intent { part: Part::Main, metadata, body }
    })
}

fn status_part() -> impl Strategy<Value = Intent> {
    let status = object(vec![
        ("recommendedAction", vec![json!(""), json!("CUSTOM"), json!("WAIT")]),
        ("device", vec![json!({}), json!({"index": 0}), json!({"serial": ""})]),
        ("telemetry", vec![json!({}), json!({"sampledAt": ZERO}), json!({"processes": 0, "sampledAt": null})]),
        ("xids", vec![json!([]), json!([{"xid": 13, "count": 1, "firstSeen": ZERO, "recommendedAction": ""}])]),
    ]);
    let conditions = prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        6 => prop::collection::vec(condition(), 0..3).prop_map(|conditions| Some(conditions.into())),
    ];
    (identity(), status, conditions).prop_map(|(metadata, mut body, conditions)| {
        body.extend(conditions.map(|conditions| ("conditions".to_owned(), conditions)));
        Intent { part: Part::Status, metadata, body }
    })
}

fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![main_part(), status_part()]
}

/// A time as clients in Go write it into a message.
fn time(value: &Value) -> Option<prost_types::Timestamp> {
    let at: Timestamp = value.as_str()?.parse().unwrap();
    Some(prost_types::Timestamp { seconds: at.unix_seconds(), nanos: at.subsec_nanos() })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn map(value: &Value) -> std::collections::BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Intent {
    /// The intent for the object that this is.
    fn of(&self, object: &Gpu) -> Self {
        let mut intent = self.clone();
        let document = serde_json::to_value(object).unwrap();
        for (name, value) in &mut intent.metadata {
            if *value == SAME {
                *value = document["metadata"][name].clone();
            }
        }
        intent
    }

    fn part_name(&self) -> &'static str {
        if self.part == Part::Main { "spec" } else { "status" }
    }

    /// Every member that replaces something, by `null` where it is absent.
    fn explicit(&self) -> (Map<String, Value>, Map<String, Value>) {
        let (mut metadata, mut body) = (self.metadata.clone(), self.body.clone());
        let members: (&[&str], &[&str]) = match self.part {
            Part::Main => (&["labels", "annotations"], &["uuid"]),
            _ => (&[], &["conditions", "recommendedAction", "device", "telemetry", "xids"]),
        };
        for (object, names) in [(&mut metadata, members.0), (&mut body, members.1)] {
            for name in names {
                object.entry(*name).or_insert(Value::Null);
            }
        }
        (metadata, body)
    }

    fn merge(&self) -> Value {
        let (metadata, body) = self.explicit();
        json!({"metadata": metadata, self.part_name(): body})
    }

    fn strategic(&self) -> Value {
        let mut patch = json!({"metadata": self.explicit().0, self.part_name(): self.body});
        patch[self.part_name()]["$patch"] = json!("replace");
        patch
    }

    fn operations(&self) -> Value {
        let (metadata, _) = self.explicit();
        let add = |path: String, value: &Value| json!({"op": "add", "path": path, "value": value});
        let mut operations: Vec<_> =
            metadata.iter().map(|(name, value)| add(format!("/metadata/{name}"), value)).collect();
        operations.push(add(format!("/{}", self.part_name()), &self.body.clone().into()));
        operations.into()
    }

    fn document(&self, name: &str) -> Value {
        let mut document = json!({"apiVersion": "device.nvidia.com/v1alpha1", "kind": "GPU"});
        document["metadata"] = self.metadata.clone().into();
        document["metadata"]["name"] = json!(name);
        document[self.part_name()] = self.body.clone().into();
        document
    }

    /// The message that says the same; `None` where none can: it has no such field.
    fn message(&self, name: &str) -> Option<wire::Gpu> {
        let (metadata, body) = (Value::from(self.metadata.clone()), Value::from(self.body.clone()));
        let set = |value: &Value| *value == json!("x") || *value == json!(["x/y"]);
        if set(&metadata["finalizers"])
            || set(&body["uid"])
            || items(&body["conditions"]).iter().any(|c| set(&c["state"]))
        {
            return None;
        }
        let metadata = wire::ObjectMeta {
            name: name.to_owned(),
            resource_version: text(&metadata["resourceVersion"]),
            namespace: text(&metadata["namespace"]),
            uid: text(&metadata["uid"]),
            generation: metadata["generation"].as_i64().unwrap_or_default(),
            creation_timestamp: time(&metadata["creationTimestamp"]),
            labels: map(&metadata["labels"]),
            annotations: map(&metadata["annotations"]),
        };
        let condition = |condition: &Value| wire::Condition {
            r#type: text(&condition["type"]),
            status: text(&condition["status"]),
            last_transition_time: time(&condition["lastTransitionTime"]),
            reason: text(&condition["reason"]),
            message: text(&condition["message"]),
            observed_generation: condition["observedGeneration"].as_i64(),
        };
        let xid = |record: &Value| wire::XidRecord {
            xid: record["xid"].as_u64().unwrap() as u32,
            count: record["count"].as_u64().unwrap(),
            first_seen: time(&record["firstSeen"]),
            recommended_action: text(&record["recommendedAction"]),
            ..wire::XidRecord::default()
        };
        let status = wire::GpuStatus {
            conditions: items(&body["conditions"]).iter().map(condition).collect(),
            recommended_action: text(&body["recommendedAction"]),
            device: body["device"].as_object().map(|device| wire::GpuDevice {
                index: device.get("index").map(|index| index.as_u64().unwrap() as u32),
                serial: device.get("serial").map(text),
                ..wire::GpuDevice::default()
            }),
            telemetry: body["telemetry"].as_object().map(|telemetry| wire::GpuTelemetry {
                sampled_at: telemetry.get("sampledAt").and_then(time),
                processes: telemetry.get("processes").map(|number| number.as_u64().unwrap() as u32),
                ..wire::GpuTelemetry::default()
            }),
            xids: items(&body["xids"]).iter().map(xid).collect(),
        };
        let spec = wire::GpuSpec { uuid: text(&body["uuid"]) };
        Some(wire::Gpu { metadata: Some(metadata), spec: Some(spec), status: Some(status) })
    }
}

/// A server without a socket.
struct Doors {
    gpus: Registry<Gpu>,
}

impl Doors {
    async fn open() -> Self {
        let storage = Memory::new().open().unwrap();
        let options = LedgerOptions::default().with_clock(Arc::new(ManualClock::default()));
        let ledger = Ledger::open(Box::new(storage), options).await.unwrap();
        Self { gpus: ledger.registry(GpuStrategy).await.unwrap() }
    }

    /// An object that has a spec and a condition, and the intent for it.
    async fn object(&self, name: &str, intent: &Intent) -> Intent {
        let condition = Condition {
            last_transition_time: Some(Timestamp::from_unix(7, 0).unwrap()),
            ..Condition::new("A", ConditionStatus::True).with_reason("Before")
        };
        let mut gpu =
            Gpu { metadata: ObjectMeta::named(name), spec: GpuSpec { uuid: "before".into() }, ..Gpu::default() };
        gpu.status.conditions.push(condition);
        intent.of(&self.gpus.create(&PostParams::default(), &gpu).await.unwrap())
    }

    /// What has become of the object.
    async fn outcome(&self, name: &str, answer: Result<(), Code>) -> Outcome {
        let mut stored = serde_json::to_value(&*self.gpus.get(name).await.unwrap()).unwrap();
        for own in ["name", "uid", "resourceVersion"] {
            stored["metadata"].as_object_mut().unwrap().remove(own);
        }
        answer.map_or_else(Outcome::Refused, |()| Outcome::Stored(stored))
    }

    async fn by_message(&self, intent: &Intent) -> Option<Outcome> {
        let gpu = self.object("message", intent).await.message("message")?;
        let api = GpuApi::new(self.gpus.clone());
        // It replaces the whole part, as the other doors do.
        let opts = Some(wire::UpdateOptions { clear_absent: vec!["*".to_owned()], ..wire::UpdateOptions::default() });
        let answer = match intent.part {
            Part::Main => {
                let request = wire::UpdateGpuRequest { gpu: Some(gpu), opts };
                api.update_gpu(tonic::Request::new(request)).await
            }
            _ => {
                let request = wire::UpdateGpuStatusRequest { gpu: Some(gpu), opts };
                api.update_gpu_status(tonic::Request::new(request)).await
            }
        };
        Some(self.outcome("message", answer.map(drop).map_err(|status| status.code())).await)
    }

    async fn by_patch(&self, name: &str, intent: &Intent, patch: impl FnOnce(&Intent) -> Patch) -> Outcome {
        let patch = patch(&self.object(name, intent).await);
        let post = PostParams::default();
        let answer = match intent.part {
            Part::Main => self.gpus.patch(name, &post, &patch).await,
            _ => self.gpus.patch_status(name, &post, &patch).await,
        };
        self.outcome(name, answer.map(drop).map_err(|error: Error| to_status(&error).code())).await
    }

    /// By the API server of kube's clients.
    async fn by_request(&self, name: &str, intent: &Intent, patch: bool) -> Outcome {
        let intent = self.object(name, intent).await;
        let subresource = if intent.part == Part::Main { "" } else { "/status" };
        let path = format!("/{name}{subresource}");
        let answer = match patch {
            true => self.send("PATCH", &path, "application/merge-patch+json", &intent.merge()).await,
            false => self.send("PUT", &path, "application/json", &intent.document(name)).await,
        };
        self.outcome(name, answer).await
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Result<(), Code> {
        let path = format!("/apis/device.nvidia.com/v1alpha1/namespaces/default/gpus{path}");
        let body = Full::new(Bytes::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
        let answer = Apiserver::<Gpu, _>::new(self.gpus.clone()).call(request).await.unwrap();
        let code = answer.status().as_u16();
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        match code {
            200 | 201 => Ok(()),
            400 | 422 => Err(Code::InvalidArgument),
            409 => Err(Code::Aborted),
            other => panic!("{other}: {}", String::from_utf8_lossy(&said)),
        }
    }
}

async fn check(intent: &Intent) {
    let doors = Doors::open().await;
    let merge = doors.by_patch("merge", intent, |intent| Patch::merge(&intent.merge()).unwrap()).await;
    let others = [
        ("a message", doors.by_message(intent).await),
        (
            "a JSON patch",
            Some(doors.by_patch("json", intent, |intent| Patch::json(&intent.operations()).unwrap()).await),
        ),
        (
            "a strategic patch",
            Some(doors.by_patch("strategic", intent, |intent| Patch::strategic(&intent.strategic()).unwrap()).await),
        ),
        ("kube's replace", Some(doors.by_request("put", intent, false).await)),
        ("kube's patch", Some(doors.by_request("patch", intent, true).await)),
    ];
    for (door, outcome) in others.into_iter().filter_map(|(door, outcome)| Some((door, outcome?))) {
        // Where a stale version is not all that is wrong, a door may say the other first.
        let stale = intent.metadata.get("resourceVersion") == Some(&json!("1"));
        let both_refused = matches!((&outcome, &merge), (Outcome::Refused(_), Outcome::Refused(_)));
        let alike = outcome == merge || (stale && both_refused);
        assert_ne!(outcome, Outcome::Refused(Code::Internal), "by {door}: {intent:?}");
        assert!(alike, "{outcome:?} by {door}, {merge:?} by a merge patch: {intent:?}");
    }
}

/// A whole object, made by each of the doors that make one.
async fn check_create(main: &Intent, status: &Intent) {
    let mut main = main.clone();
    main.metadata.retain(|_, value| *value != SAME);
    let doors = Doors::open().await;
    let stored = async |name: &str, answer: Result<(), Code>| match answer {
        Ok(()) => doors.outcome(name, Ok(())).await,
        Err(code) => Outcome::Refused(code),
    };

    let mut document = main.document("request");
    document["status"] = status.body.clone().into();
    let by_request = stored("request", doors.send("POST", "", "application/json", &document).await).await;

    document["metadata"]["name"] = json!("process");
    let by_process = match document::read::<Gpu>(document) {
        Ok(gpu) => doors.gpus.create(&PostParams::default(), &gpu).await.map(drop),
        Err(error) => Err(error),
    };
    let by_process = stored("process", by_process.map_err(|error| to_status(&error).code())).await;
    assert_eq!(by_process, by_request, "in process, and then by a request: {main:?} {status:?}");

    let whole =
        Intent { body: main.body.iter().chain(&status.body).map(|(k, v)| (k.clone(), v.clone())).collect(), ..main };
    if let Some(gpu) = whole.message("message") {
        let request = wire::CreateGpuRequest { gpu: Some(gpu), opts: None };
        let answer = GpuApi::new(doors.gpus.clone()).create_gpu(tonic::Request::new(request)).await;
        let by_message = stored("message", answer.map(drop).map_err(|status| status.code())).await;
        assert_eq!(by_message, by_request, "by a message, and then by a request: {whole:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_creates_ends_alike_through_every_door(main in main_part(), status in status_part()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check_create(&main, &status));
    }

    #[test]
    fn what_a_client_means_ends_alike_through_every_door(intent in intent()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(check(&intent));
    }
}

#[tokio::test]
async fn what_is_tried_is_stored_in_some_cases_and_refused_in_others() {
    // Or the test above would prove nothing.
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut stored, mut refused) = (0, 0);
    for _ in 0..200 {
        let intent = intent().new_tree(&mut runner).unwrap().current();
        let doors = Doors::open().await;
        match doors.by_message(&intent).await {
            Some(Outcome::Stored(_)) => stored += 1,
            Some(Outcome::Refused(_)) => refused += 1,
            None => {}
        }
    }
    assert!(stored > 20 && refused > 20, "{stored} stored, {refused} refused");
}
