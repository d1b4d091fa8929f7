// SPDX-License-Identifier: Apache-2.0
//! The GPU resource.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::device;
use super::{
    Condition, Conditions, GpuDevice, GpuTelemetry, ObjectMeta, RecommendedAction, Resource, XidRecord, condition,
    object,
};
use crate::error::FieldViolation;
use crate::registry::{Strategy, WriteContext};

/// One GPU of this node.
///
/// ```
/// use device_api_core::resource::{Gpu, GpuSpec, ObjectMeta};
///
/// let gpu = Gpu {
///     metadata: ObjectMeta::named("gpu-0a1b"),
///     spec: GpuSpec { uuid: "GPU-0a1b".into() },
///     ..Gpu::default()
/// };
/// let json = serde_json::to_value(&gpu)?;
/// assert_eq!(json["apiVersion"], "device.nvidia.com/v1alpha1");
/// assert_eq!(json["kind"], "GPU");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// What every object has.
    pub metadata: ObjectMeta,
    /// What the device is.
    pub spec: GpuSpec,
    /// How the device is.
    pub status: GpuStatus,
}

/// What a GPU is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpuSpec {
    /// The device's identity as its provider names it: at most 253 bytes, may be empty. For a
    /// physical NVIDIA GPU it is NVML's `GPU-<hex>`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
}

/// How a GPU is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpuStatus {
    /// A map by type: each type at most once.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "object::null_is_default")]
    pub conditions: Vec<Condition>,
    /// What to do about the worst standing condition; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended_action: Option<RecommendedAction>,
    /// What the device is and where it sits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<GpuDevice>,
    /// What it measured last; absent where nobody samples it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<GpuTelemetry>,
    /// The XIDs that it reported, the latest last: at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "object::null_is_default")]
    pub xids: Vec<XidRecord>,
}

impl Conditions for GpuStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut [Condition] {
        &mut self.conditions
    }
}

impl Resource for Gpu {
    const GROUP: &'static str = "device.nvidia.com";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "GPU";
    const PLURAL: &'static str = "gpus";
    const MERGE_KEYS: &'static [(&'static str, &'static str)] = &[("/status/conditions", "type")];
    const SELECTABLE_FIELDS: &'static [&'static str] = &["spec.uuid"];

    type Spec = GpuSpec;
    type Status = GpuStatus;

    fn from_parts(metadata: ObjectMeta, spec: GpuSpec, status: GpuStatus) -> Self {
        Self { metadata, spec, status }
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn spec(&self) -> &GpuSpec {
        &self.spec
    }

    fn spec_mut(&mut self) -> &mut GpuSpec {
        &mut self.spec
    }

    fn status(&self) -> &GpuStatus {
        &self.status
    }

    fn status_mut(&mut self) -> &mut GpuStatus {
        &mut self.status
    }

    /// Clients in the field use both `GPU-…` and `gpu-…` for one device.
    fn normalize_name(name: &str) -> Cow<'_, str> {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }

    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        (path == "spec.uuid").then_some(Cow::Borrowed(self.spec.uuid.as_str()))
    }
}

impl Serialize for Gpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Gpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object::deserialize(deserializer)
    }
}

/// How GPUs are prepared and validated.
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuStrategy;

impl Strategy<Gpu> for GpuStrategy {
    fn prepare_for_create(&self, context: &WriteContext<'_>, gpu: &mut Gpu) {
        prepare_status(context, &mut gpu.status, &GpuStatus::default());
    }

    fn prepare_for_status_update(&self, context: &WriteContext<'_>, gpu: &mut Gpu, old: &Gpu) {
        prepare_status(context, &mut gpu.status, &old.status);
    }

    fn validate(&self, _context: &WriteContext<'_>, gpu: &Gpu) -> Vec<FieldViolation> {
        let mut violations = condition::validate("status.conditions", &gpu.status.conditions);
        let mut text = |path: &str, text: &str| violations.extend(device::check_text(path, text));
        text("spec.uuid", &gpu.spec.uuid);
        text("status.recommendedAction", gpu.status.recommended_action.as_ref().map_or("", RecommendedAction::as_str));
        violations.extend(device::validate(&gpu.status));
        violations
    }
}

fn prepare_status(context: &WriteContext<'_>, new: &mut GpuStatus, old: &GpuStatus) {
    condition::settle_transition_times(&mut new.conditions, &old.conditions, context.now.truncated_to_seconds());
    let seen = new.xids.iter_mut().flat_map(|record| [&mut record.first_seen, &mut record.last_seen]);
    for time in seen.chain(new.telemetry.iter_mut().map(|telemetry| &mut telemetry.sampled_at)) {
        time.take_if(|at| at.is_unset());
    }
    // Absent and empty are one on the wire, so they are one in the store.
    let actions = new.xids.iter_mut().map(|record| &mut record.recommended_action);
    for action in actions.chain([&mut new.recommended_action]) {
        action.take_if(|action| action.as_str().is_empty());
    }
}
