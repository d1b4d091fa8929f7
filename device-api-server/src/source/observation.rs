// SPDX-License-Identifier: Apache-2.0
//! What a source knows of its devices: the full state, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use device_api_core::resource::{Condition, Gpu, GpuDevice, GpuTelemetry, RecommendedAction, XidRecord};

/// Everything that a source declares at one moment. The newest one counts; those before it may be skipped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observation {
    /// The [`Stored`] that this was made with knowledge of; 0 is none yet.
    pub(crate) knows: u64,
    /// The devices, by the name of their object.
    pub(crate) devices: BTreeMap<String, Arc<Observed>>,
    /// The objects to delete, if this source made them: of devices that were replaced or reconfigured.
    pub(crate) gone: BTreeSet<String>,
    /// The acknowledgements that it takes into account, by the name of their object: they may be removed.
    pub(crate) heeded: BTreeMap<String, String>,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The device's UUID, as its driver gives it.
    pub(crate) uuid: String,
    /// The labels that the source sets; others stay.
    pub(crate) labels: BTreeMap<String, String>,
    /// The source's conditions, without times; those of other types stay.
    pub(crate) conditions: Vec<Condition>,
    /// What to do about the worst of these conditions.
    pub(crate) recommended_action: Option<RecommendedAction>,
    /// What the device is.
    pub(crate) device: GpuDevice,
    /// What it measured; `None` leaves what is there.
    pub(crate) telemetry: Option<GpuTelemetry>,
    /// The XIDs that it reported.
    pub(crate) xids: Vec<XidRecord>,
}

/// What the API holds, as a source sees it at its start and at every resync.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// Rises by one with each look; 0 is none yet.
    pub(crate) number: u64,
    /// Whether another process of this source may have written since the last look.
    pub(crate) by_others: bool,
    /// All GPUs.
    pub(crate) gpus: Vec<Arc<Gpu>>,
}

/// The name of a device's object: its UUID in lower case.
#[must_use]
pub(crate) fn object_name(uuid: &str) -> String {
    uuid.to_ascii_lowercase()
}
