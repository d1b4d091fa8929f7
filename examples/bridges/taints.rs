// SPDX-License-Identifier: Apache-2.0
//! The health of devices for the scheduler: taints in a DRA driver's ResourceSlices (KEP-5055).
//!
//! A taint keeps new claims off a device, and with the effect `NoExecute` evicts the pods that have it, unless they tolerate it.
//! To lift it, take [`taints`] into what makes the slices of your driver; [`Pool`] stands for that.

use device_api_client::core::health::Verdict;
use device_api_client::core::resource::{Condition, ConditionStatus, RecommendedAction};
use serde::Serialize;
use serde_json::{Value, json};

use super::devices::Device;

/// The driver, whose domain the keys of its taints have.
pub(crate) const DRIVER: &str = "gpu.example.com";
/// How many taints a device may have, by Kubernetes' validation.
const MAX_TAINTS: usize = 16;
/// How many devices a slice may have if one of them has a taint.
const MAX_DEVICES: usize = 64;
/// How long a value of a taint may be, as one of a label, in bytes.
const MAX_VALUE: usize = 63;
/// How long an attribute may be, in bytes.
const MAX_ATTRIBUTE: usize = 64;

/// `resource.k8s.io`'s DeviceTaint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceTaint {
    pub(crate) key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) value: String,
    pub(crate) effect: &'static str,
    /// Since when: a toleration that ends counts from here. The API server sets it where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_added: Option<String>,
}

/// A taint for each condition that stands against the device, named after its type.
///
/// New claims stay away from a device that is not known to be healthy. Work that runs is evicted only where something is to be
/// done that ends it anyway.
pub(crate) fn taints(device: &Device) -> Vec<DeviceTaint> {
    let evicts = device.gpu.status.recommended_action.as_ref().is_some_and(ends_work)
        || device
            .reasons
            .iter()
            .any(|reason| reason.type_ == "DrainRequired" && reason.status == ConditionStatus::True);
    let taint = |reason: &Condition| DeviceTaint {
        key: format!("{DRIVER}/{}", reason.type_.rsplit('/').next().unwrap_or_default()),
        value: if is_label_value(&reason.reason) { reason.reason.clone() } else { String::new() },
        effect: if evicts && reason.status != ConditionStatus::Unknown { "NoExecute" } else { "NoSchedule" },
        time_added: reason.last_transition_time.map(|time| time.truncated_to_seconds().to_string()),
    };
    match (device.verdict, device.reasons.as_slice()) {
        (Verdict::Healthy, _) => Vec::new(),
        // Nobody says anything, or nobody can be asked.
        (_, []) => {
            let (key, value) = (format!("{DRIVER}/Unknown"), String::new());
            vec![DeviceTaint { key, value, effect: "NoSchedule", time_added: None }]
        }
        (_, reasons) => reasons.iter().take(MAX_TAINTS).map(taint).collect(),
    }
}

fn ends_work(action: &RecommendedAction) -> bool {
    use RecommendedAction::{ComponentReset, ReplaceVm, RestartBm, RestartVm, RunDcgmEud, RunFieldDiag};
    matches!(action, ComponentReset | RestartVm | RestartBm | RunDcgmEud | RunFieldDiag | ReplaceVm)
}

/// A condition's reason starts and ends as a label's value does, and may be longer and hold `,` and `:`.
fn is_label_value(reason: &str) -> bool {
    reason.len() <= MAX_VALUE
        && !reason.ends_with('_')
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a slice says of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SliceDevice {
    pub(crate) name: String,
    pub(crate) attributes: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) taints: Vec<DeviceTaint>,
}

/// The devices as slices have them.
pub(crate) fn tell(devices: &[Device]) -> Vec<SliceDevice> {
    let device = |device: &Device| {
        let uuid = &device.gpu.spec.uuid;
        let is_attribute = !uuid.is_empty() && uuid.len() <= MAX_ATTRIBUTE;
        SliceDevice {
            name: device.label(),
            attributes: if is_attribute { json!({"uuid": {"string": uuid}}) } else { json!({}) },
            taints: taints(device),
        }
    };
    devices.iter().map(device).collect()
}

/// The slices of one node, as a driver hands them to the API server.
#[derive(Debug)]
pub(crate) struct Pool {
    node: String,
    /// It tells the slices of one state of the pool from those of an earlier one.
    generation: i64,
    names: Vec<String>,
}

impl Pool {
    /// A pool whose generations begin above this one: those of an earlier run must be lower.
    pub(crate) fn new(node: &str, generation: i64) -> Self {
        Self { node: node.to_owned(), generation, names: Vec::new() }
    }

    /// The slices with these devices. Another set of devices is another generation; another taint is not, so that only the
    /// slice that has it needs to be written.
    pub(crate) fn slices(&mut self, devices: &[SliceDevice]) -> Vec<Value> {
        let names: Vec<_> = devices.iter().map(|device| device.name.clone()).collect();
        if self.names != names {
            self.names = names;
            self.generation += 1;
        }
        // A pool without devices has a slice that says so: without one, the slices of an earlier state would go on to count.
        let parts: Vec<&[SliceDevice]> =
            if devices.is_empty() { vec![devices] } else { devices.chunks(MAX_DEVICES).collect() };
        let pool = json!({"name": self.node, "generation": self.generation, "resourceSliceCount": parts.len()});
        let slice = |(index, devices): (usize, &&[SliceDevice])| {
            json!({
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": format!("{}-{DRIVER}-{index}", self.node)},
                "spec": {"driver": DRIVER, "nodeName": self.node, "pool": pool, "devices": devices},
            })
        };
        parts.iter().enumerate().map(slice).collect()
    }
}
