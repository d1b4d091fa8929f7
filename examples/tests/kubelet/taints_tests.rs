// SPDX-License-Identifier: Apache-2.0
//! What the scheduler and the controller of evictions read in ResourceSlices.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use device_api_client::core::health::{Polarities, Polarity, health};
use device_api_client::core::registry::{DeleteParams, Part, PostParams, Verbs as _};
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu, ObjectMeta, RecommendedAction, Timestamp};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::devices::Device;
use crate::node::Node;
use crate::taints::{self, Pool};

fn device(name: &str, conditions: &[Condition], action: Option<RecommendedAction>) -> Device {
    let mut gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
    gpu.status.conditions = conditions.to_vec();
    gpu.status.recommended_action = action;
    let health = health(&gpu);
    Device { verdict: health.verdict, why: health.to_string(), reasons: health.reasons, gpu: Arc::new(gpu) }
}

fn sick() -> Condition {
    let mut condition = Condition::new("XidHealthy", ConditionStatus::False).with_reason("Xid79");
    condition.last_transition_time = Some(Timestamp::from_unix(1_767_225_600, 0).unwrap());
    condition
}

fn taints(device: &Device) -> Value {
    serde_json::to_value(taints::taints(device)).unwrap()
}

#[test]
fn a_healthy_device_has_no_taint() {
    let ready = Condition::new("NVMLReady", ConditionStatus::True);
    assert_eq!(taints(&device("a", &[ready], None)), json!([]));
}

#[test]
fn a_fault_keeps_new_work_away_and_says_since_when() {
    let taint = json!({"key": "gpu.example.com/XidHealthy", "value": "Xid79", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"});
    assert_eq!(taints(&device("a", &[sick()], None)), json!([taint]));
    assert_eq!(taints(&device("a", &[sick()], Some(RecommendedAction::ContactSupport))), json!([taint]));
}

#[test]
fn work_is_evicted_where_what_is_to_be_done_ends_it() {
    let effects = |conditions: &[Condition], action| {
        let taints = taints::taints(&device("a", conditions, action));
        taints.iter().map(|taint| taint.effect).collect::<Vec<_>>()
    };
    let unknown = Condition::new("NVMLReady", ConditionStatus::Unknown);
    let drain = Condition::new("DrainRequired", ConditionStatus::True);
    let reset = Some(RecommendedAction::ComponentReset);
    assert_eq!(effects(&[unknown.clone(), sick()], reset.clone()), ["NoExecute", "NoSchedule"]);
    assert_eq!(effects(&[drain], None), ["NoExecute"]);
    // Nobody knows that it is sick.
    assert_eq!(effects(&[unknown], reset), ["NoSchedule"]);
}

#[test]
fn a_device_of_which_nobody_says_anything_takes_no_new_work() {
    assert_eq!(taints(&device("a", &[], None)), json!([{"key": "gpu.example.com/Unknown", "effect": "NoSchedule"}]));
}

#[test]
fn taints_are_such_that_kubernetes_takes_them() {
    for reason in ["A,b:c", "a_", &"a".repeat(64)] {
        let sick = Condition::new("vendor.example.com/Healthy", ConditionStatus::False).with_reason(reason);
        let polarities = Polarities::default().with(&sick.type_, Polarity::TrueIsGood);
        let health = polarities.judge(std::slice::from_ref(&sick));
        let mut device = device("a", &[sick], None);
        (device.verdict, device.reasons) = (health.verdict, health.reasons);
        assert_eq!(taints(&device), json!([{"key": "gpu.example.com/Healthy", "effect": "NoSchedule"}]), "{reason}");
    }
    let many: Vec<_> = std::iter::repeat_with(sick).take(40).collect();
    assert_eq!(taints::taints(&device("a", &many, None)).len(), 16);
}

#[test]
fn a_name_that_is_no_dns_label_becomes_one_and_stays_apart_from_others() {
    let is_label = |name: &str| {
        let inner = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&name.len()) && inner && !name.starts_with('-') && !name.ends_with('-')
    };
    let longest = "a".repeat(63);
    let kept = ["gpu-0", "gpu-0-left", &longest];
    let (too_long, cut_at_a_dot) = (format!("{longest}a"), format!("{}.b", "a".repeat(250)));
    let mapped = ["gpu-0.left", "gpu.0-left", "gpu.0.left", "0.0", &too_long, &cut_at_a_dot, &"a.".repeat(100)[..199]];
    let names: Vec<_> = kept.iter().chain(&mapped).map(|name| device(name, &[], None).label()).collect();
    assert_eq!(names[..kept.len()], kept);
    assert!(names.iter().all(|name| is_label(name)), "{names:#?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:#?}");
    // Claims have it: it is the same for ever.
    assert_eq!(names[3], "gpu-0-left-d7ed1dd86f9ca01f");
    let [told] = &taints::tell(&[device("gpu-0.left", &[], None)])[..] else { panic!("it is one device") };
    assert_eq!(told.name, names[3]);
}

#[test]
fn a_pool_whose_devices_have_gone_says_so() {
    let mut pool = Pool::new("node-a", 7);
    pool.slices(&taints::tell(&[device("gpu-0", &[], None)]));
    let slices = pool.slices(&[]);
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["spec"]["pool"], json!({"name": "node-a", "generation": 9, "resourceSliceCount": 1}));
    assert_eq!(slices[0]["spec"]["devices"], json!([]));
}

#[test]
fn another_set_of_devices_is_another_generation_of_slices_of_64_and_another_taint_is_not() {
    let devices = |count: usize, conditions: &[Condition]| {
        let devices: Vec<_> = (0..count).map(|number| device(&format!("gpu-{number}"), conditions, None)).collect();
        taints::tell(&devices)
    };
    let mut pool = Pool::new("node-a", 7);
    let mut pools = |devices: &[taints::SliceDevice]| {
        let slices = pool.slices(devices);
        slices.iter().map(|slice| slice["spec"]["pool"].clone()).collect::<Vec<_>>()
    };
    let of = |generation: i64, count: usize| json!({"name": "node-a", "generation": generation, "resourceSliceCount": count});
    assert_eq!(pools(&devices(64, &[])), [of(8, 1)]);
    assert_eq!(pools(&devices(64, &[sick()])), [of(8, 1)]);
    assert_eq!(pools(&devices(65, &[])), [of(9, 2), of(9, 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_slices_follow_the_devices() {
    let node = Node::start().await;
    let mut lists = pin!(node.devices().follow(None, taints::tell));
    let mut pool = Pool::new("node-a", 0);
    let slices = pool.slices(&lists.next().await.unwrap());
    let sick = json!([{"key": "gpu.example.com/NVMLReady", "value": "Tested", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"}]);
    let silent = json!([{"key": "gpu.example.com/Unknown", "effect": "NoSchedule"}]);
    let uuid = |number: u8| json!({"uuid": {"string": format!("GPU-00000000-0000-0000-0000-00000000000{number}")}});
    let mut devices = [
        json!({"name": "gpu-0", "attributes": uuid(0)}),
        json!({"name": "gpu-1", "attributes": uuid(1), "taints": sick}),
        json!({"name": "gpu-2", "attributes": uuid(2), "taints": silent}),
    ];
    let spec = |devices: &[Value]| {
        let pool = json!({"name": "node-a", "generation": 1, "resourceSliceCount": 1});
        json!({"driver": "gpu.example.com", "nodeName": "node-a", "pool": pool, "devices": devices})
    };
    assert_eq!(slices.iter().map(|slice| &slice["spec"]).collect::<Vec<_>>(), [&spec(&devices)]);

    node.set("gpu-1", ConditionStatus::True).await;
    devices[1] = json!({"name": "gpu-1", "attributes": uuid(1)});
    let slices = pool.slices(&lists.next().await.unwrap());
    assert_eq!(slices[0]["spec"], spec(&devices));
    // What a slice does not tell changes none: the next one is that of the GPU's end.
    let label = |gpu: &mut Gpu| {
        gpu.metadata.labels.insert("zone".into(), "left".into());
        Ok(())
    };
    node.server.gpus().modify(Part::Main, "gpu-1", &PostParams::default(), label).await.unwrap();
    node.server.registry().delete("gpu-2", &DeleteParams::default()).await.unwrap();
    assert_eq!(lists.next().await.unwrap().len(), 2);
}
