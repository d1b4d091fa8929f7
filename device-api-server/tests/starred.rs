// SPDX-License-Identifier: Apache-2.0
//! A client that was generated before most fields were there, on the real binary: what it does not know it does not erase.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use device_api_client::Client;
use device_api_core::patch::Patch;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::registry::{PatchParams, PostParams, WatchEvent, WatchParams};
use device_api_core::resource::{
    Condition, ConditionStatus, Gpu, GpuDevice, GpuSpec, GpuTelemetry, ObjectMeta, XidRecord,
};
use prost::Message;
use serde_json::json;
use support::{Daemon, raw};

/// What is generated from a `.proto` with nothing but the fields that docs/api.md marks with a star.
mod starred {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Gpu {
        #[prost(message, optional, tag = "1")]
        pub(super) metadata: Option<ObjectMeta>,
        #[prost(message, optional, tag = "2")]
        pub(super) spec: Option<GpuSpec>,
        #[prost(message, optional, tag = "3")]
        pub(super) status: Option<GpuStatus>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ObjectMeta {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) resource_version: String,
        #[prost(string, tag = "3")]
        pub(super) namespace: String,
        #[prost(string, tag = "4")]
        pub(super) uid: String,
        #[prost(int64, tag = "5")]
        pub(super) generation: i64,
        #[prost(message, optional, tag = "6")]
        pub(super) creation_timestamp: Option<prost_types::Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GpuSpec {
        #[prost(string, tag = "1")]
        pub(super) uuid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GpuStatus {
        #[prost(message, repeated, tag = "1")]
        pub(super) conditions: Vec<Condition>,
        #[prost(string, tag = "2")]
        pub(super) recommended_action: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Condition {
        #[prost(string, tag = "1")]
        pub(super) r#type: String,
        #[prost(string, tag = "2")]
        pub(super) status: String,
        #[prost(message, optional, tag = "3")]
        pub(super) last_transition_time: Option<prost_types::Timestamp>,
        #[prost(string, tag = "4")]
        pub(super) reason: String,
        #[prost(string, tag = "5")]
        pub(super) message: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GetGpuRequest {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GetGpuResponse {
        #[prost(message, optional, tag = "1")]
        pub(super) gpu: Option<Gpu>,
    }

    /// `UpdateGpuRequest` and `UpdateGpuStatusRequest`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct UpdateRequest {
        #[prost(message, optional, tag = "1")]
        pub(super) gpu: Option<Gpu>,
    }
}

/// Calls as such a client makes them.
struct Starred(Client);

impl Starred {
    async fn call<A: Message + Default>(&self, method: &str, request: &impl Message) -> A {
        let method = format!("/nvidia.nvsentinel.v1alpha1.GpuService/{method}");
        let answer = raw::call(&self.0, &method, request.encode_to_vec()).await.unwrap();
        A::decode(answer.as_slice()).unwrap()
    }

    async fn get(&self, name: &str) -> starred::Gpu {
        let request = starred::GetGpuRequest { name: name.to_owned() };
        self.call::<starred::GetGpuResponse>("GetGpu", &request).await.gpu.unwrap()
    }

    async fn update(&self, method: &str, gpu: starred::Gpu) -> starred::Gpu {
        self.call(method, &starred::UpdateRequest { gpu: Some(gpu) }).await
    }
}

/// A GPU that has all that there is.
fn full(name: &str) -> Gpu {
    let mut gpu = Gpu { spec: GpuSpec { uuid: "GPU-1".to_owned() }, ..Gpu::default() };
    gpu.metadata = ObjectMeta::named(name).with_label("zone", "left").with_annotation("ticket", "4711");
    let ready = Condition::new("NVMLReady", ConditionStatus::True).with_reason("Healthy");
    gpu.status.conditions = vec![Condition { observed_generation: Some(1), ..ready }];
    gpu.status.device = Some(GpuDevice { index: Some(3), serial: Some("0815".to_owned()), ..GpuDevice::default() });
    gpu.status.telemetry = Some(GpuTelemetry { temperature_celsius: Some(40), ..GpuTelemetry::default() });
    gpu.status.xids = vec![XidRecord { xid: 79, count: 1, standing: true, ..XidRecord::default() }];
    gpu
}

async fn server() -> (Daemon, Starred) {
    let daemon = Daemon::start(&["--datastore-endpoint=memory://"]);
    daemon.api().create(&PostParams::default(), &full("a")).await.unwrap();
    let client = daemon.client();
    (daemon, Starred(client))
}

#[tokio::test]
async fn what_a_client_does_not_know_it_does_not_erase_when_it_writes_the_status() {
    let (daemon, client) = server().await;
    let before = daemon.api().get("a").await.unwrap();
    let mut read = client.get("a").await;
    let status = read.status.as_mut().unwrap();
    status.conditions[0].status = "False".to_owned();
    status.conditions[0].reason = "Xid79".to_owned();
    status.conditions.push(starred::Condition {
        r#type: "Own".to_owned(),
        status: "True".to_owned(),
        ..Default::default()
    });
    status.recommended_action = "RESTART_BM".to_owned();
    let answer = client.update("UpdateGpuStatus", read.clone()).await;
    assert_eq!(answer.status.unwrap().conditions.len(), 2);

    let after = daemon.api().get("a").await.unwrap();
    let says = |gpu: &Gpu| {
        let conditions = gpu.status.conditions.iter();
        conditions.map(|one| (one.type_.clone(), one.status.to_string(), one.observed_generation)).collect::<Vec<_>>()
    };
    let [changed, own] = says(&after).try_into().unwrap();
    assert_eq!(changed, ("NVMLReady".to_owned(), "False".to_owned(), Some(1)));
    assert_eq!(own, ("Own".to_owned(), "True".to_owned(), None), "there was nothing to keep");
    assert_eq!(
        (&after.status.device, &after.status.telemetry, &after.status.xids),
        (&before.status.device, &before.status.telemetry, &before.status.xids)
    );
    assert_eq!((&after.metadata.labels, &after.spec), (&before.metadata.labels, &before.spec));

    // What it does know it empties.
    let mut read = client.get("a").await;
    *read.status.as_mut().unwrap() = starred::GpuStatus::default();
    client.update("UpdateGpuStatus", read).await;
    let emptied = daemon.api().get("a").await.unwrap();
    assert_eq!((emptied.status.conditions.len(), &emptied.status.recommended_action), (0, &None));
    assert_eq!(emptied.status.device, before.status.device);
}

#[tokio::test]
async fn what_a_client_does_not_know_it_does_not_erase_when_it_writes_the_rest() {
    let (daemon, client) = server().await;
    let before = daemon.api().get("a").await.unwrap();
    let mut read = client.get("a").await;
    read.spec.as_mut().unwrap().uuid = "GPU-2".to_owned();
    client.update("UpdateGpu", read).await;
    let after = daemon.api().get("a").await.unwrap();
    assert_eq!((after.spec.uuid.as_str(), after.metadata.generation), ("GPU-2", 2));
    assert_eq!(
        (&after.metadata.labels, &after.metadata.annotations, &after.status),
        (&before.metadata.labels, &before.metadata.annotations, &before.status)
    );
    // What was read and is written back is no change, by either call.
    let read = client.get("a").await;
    for method in ["UpdateGpu", "UpdateGpuStatus"] {
        client.update(method, read.clone()).await;
        assert_eq!(daemon.api().get("a").await.unwrap(), after, "{method}");
    }
}

#[tokio::test]
async fn what_a_client_names_as_empty_is_emptied_and_nothing_else() {
    let (daemon, _) = server().await;
    let names = [
        "metadata.labels",
        "metadata.annotations",
        "status.device",
        "status.telemetry",
        "status.xids",
        "status.conditions.observed_generation",
    ];
    /// Which of the fields are empty, in the order of their names.
    fn empty(gpu: &Gpu) -> [bool; 6] {
        [
            gpu.metadata.labels.is_empty(),
            gpu.metadata.annotations.is_empty(),
            gpu.status.device.is_none(),
            gpu.status.telemetry.is_none(),
            gpu.status.xids.is_empty(),
            gpu.status.conditions.iter().all(|condition| condition.observed_generation.is_none()),
        ]
    }
    let rounds = names.iter().map(|name| vec![*name]).chain([vec!["*"], vec![], vec!["status.later", "status"]]);
    for (round, clears) in rounds.enumerate() {
        let name = format!("x-{round}");
        daemon.api().create(&PostParams::default(), &full(&name)).await.unwrap();
        let opts = wire::UpdateOptions {
            clear_absent: clears.iter().map(|&field| field.to_owned()).collect(),
            ..Default::default()
        };
        let condition = wire::Condition { r#type: "NVMLReady".into(), status: "True".into(), ..Default::default() };
        let gpu = wire::Gpu {
            metadata: Some(wire::ObjectMeta { name: name.clone(), ..Default::default() }),
            spec: None,
            status: Some(wire::GpuStatus { conditions: vec![condition], ..Default::default() }),
        };
        let (gpu, opts) = (Some(gpu), Some(opts));
        let mut stub = daemon.stub();
        stub.update_gpu(wire::UpdateGpuRequest { gpu: gpu.clone(), opts: opts.clone() }).await.unwrap();
        stub.update_gpu_status(wire::UpdateGpuStatusRequest { gpu, opts }).await.unwrap();
        let expected = names.map(|name| clears.contains(&name) || clears.contains(&"*"));
        assert_eq!(empty(&daemon.api().get(&name).await.unwrap()), expected, "{clears:?}");
    }
}

/// The one who knows a field raises it, while others who do not know it write the same status: it never goes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_another_writes_at_the_same_time_is_never_taken_back() {
    let (daemon, client) = server().await;
    let mut events = daemon.api().watch(&WatchParams::default()).await.unwrap();
    let gpus = daemon.api();
    let knowing = tokio::spawn(async move {
        for index in 100..200 {
            // It names no version, so nobody is in its way.
            let patch = Patch::merge(&json!({"status": {"device": {"index": index}}})).unwrap();
            let stored = gpus.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
            assert_eq!(stored.status.device.as_ref().unwrap().index, Some(index));
        }
    });
    let mut rounds = 0;
    while !knowing.is_finished() {
        let mut read = client.get("a").await;
        read.metadata.as_mut().unwrap().resource_version.clear();
        read.status.as_mut().unwrap().conditions[0].message = format!("round {rounds}");
        client.update("UpdateGpuStatus", read).await;
        rounds += 1;
    }
    knowing.await.unwrap();
    assert!(rounds > 0);
    let mut last = 0;
    while last < 199 {
        let (WatchEvent::Added(gpu) | WatchEvent::Modified(gpu)) = events.next().await.unwrap().unwrap() else {
            panic!("nothing is deleted")
        };
        let index = gpu.status.device.as_ref().unwrap().index.unwrap();
        assert!(index >= last, "{index} after {last}");
        last = index;
    }
    assert_eq!(daemon.api().get("a").await.unwrap().status.xids.len(), 1);
}
