// SPDX-License-Identifier: Apache-2.0
//! The GPU, its lists and its events.

use std::sync::Arc;

use super::v1alpha1 as wire;
use crate::error::FieldViolation;
use crate::registry::{List, WatchEvent};
use crate::resource::device::{self, MAX_THROTTLE_REASONS, MAX_XIDS};
use crate::resource::{Gpu, GpuSpec, GpuStatus, GpuTelemetry, ObjectMeta, RecommendedAction, condition};
use crate::{Error, Result};

impl From<&Gpu> for wire::Gpu {
    fn from(gpu: &Gpu) -> Self {
        let Gpu { metadata, spec, status } = gpu;
        Self { metadata: Some(metadata.into()), spec: Some(spec.into()), status: Some(status.into()) }
    }
}

/// Absent parts are empty ones. Fails with [`Error::Invalid`], which names every time that is out of
/// range.
impl TryFrom<wire::Gpu> for Gpu {
    type Error = Error;

    fn try_from(message: wire::Gpu) -> Result<Self> {
        let wire::Gpu { metadata, spec, status } = message;
        let metadata = metadata.unwrap_or_default();
        let name = metadata.name.clone();
        let mut violations = Vec::new();

        let metadata = ObjectMeta::try_from(metadata).unwrap_or_else(|violation| {
            violations.push(violation.under("metadata"));
            ObjectMeta::default()
        });
        let status = GpuStatus::try_from(status.unwrap_or_default()).unwrap_or_else(|found| {
            violations.extend(found.into_iter().map(|violation| violation.under("status")));
            GpuStatus::default()
        });
        if violations.is_empty() {
            Ok(Self { metadata, spec: spec.unwrap_or_default().into(), status })
        } else {
            Err(Error::invalid::<Self>(&name, violations))
        }
    }
}

/// The object of a write request, which must have one.
///
/// # Errors
/// [`Error::BadRequest`] when there is none, and as the conversion.
pub fn required(gpu: Option<wire::Gpu>) -> Result<Gpu> {
    gpu.ok_or_else(|| Error::bad_request("gpu", "Required value: the request carries no object"))?.try_into()
}

impl From<&GpuSpec> for wire::GpuSpec {
    fn from(spec: &GpuSpec) -> Self {
        let GpuSpec { uuid } = spec;
        Self { uuid: uuid.clone() }
    }
}

impl From<wire::GpuSpec> for GpuSpec {
    fn from(message: wire::GpuSpec) -> Self {
        let wire::GpuSpec { uuid } = message;
        Self { uuid }
    }
}

impl From<&GpuStatus> for wire::GpuStatus {
    fn from(status: &GpuStatus) -> Self {
        let GpuStatus { conditions, recommended_action, device, telemetry, xids } = status;
        Self {
            conditions: conditions.iter().map(Into::into).collect(),
            recommended_action: action_to_wire(recommended_action.as_ref()),
            device: device.as_ref().map(Into::into),
            telemetry: telemetry.as_ref().map(Into::into),
            xids: xids.iter().map(Into::into).collect(),
        }
    }
}

/// Fails with the violations of paths relative to the status.
impl TryFrom<wire::GpuStatus> for GpuStatus {
    type Error = Vec<FieldViolation>;

    fn try_from(message: wire::GpuStatus) -> Result<Self, Vec<FieldViolation>> {
        let wire::GpuStatus { conditions, recommended_action, device, telemetry, xids } = message;
        let too_many = [
            condition::check_count("conditions", conditions.len()),
            device::check_count("xids", xids.len(), MAX_XIDS),
            telemetry.as_ref().and_then(|telemetry| {
                device::check_count("telemetry.throttleReasons", telemetry.throttle_reasons.len(), MAX_THROTTLE_REASONS)
            }),
        ];
        // Before anything is done about each.
        let mut violations: Vec<_> = too_many.into_iter().flatten().collect();
        if !violations.is_empty() {
            return Err(violations);
        }
        let conditions = read("conditions", conditions, &mut violations);
        let xids = read("xids", xids, &mut violations);
        let telemetry = telemetry.and_then(|telemetry| match GpuTelemetry::try_from(telemetry) {
            Ok(telemetry) => Some(telemetry),
            Err(violation) => {
                violations.push(violation.under("telemetry"));
                None
            }
        });
        if !violations.is_empty() {
            return Err(violations);
        }
        let recommended_action = action_from_wire(&recommended_action);
        Ok(Self { conditions, recommended_action, device: device.map(Into::into), telemetry, xids })
    }
}

/// Reads a list, and notes what is wrong with each item.
fn read<M, T>(path: &str, messages: Vec<M>, violations: &mut Vec<FieldViolation>) -> Vec<T>
where
    T: TryFrom<M, Error = FieldViolation>,
{
    let mut read = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        match T::try_from(message) {
            Ok(item) => read.push(item),
            Err(violation) => violations.push(violation.under(&format!("{path}[{index}]"))),
        }
    }
    read
}

/// No action is an empty text on the wire.
pub(super) fn action_to_wire(action: Option<&RecommendedAction>) -> String {
    action.map(|action| action.as_str().to_owned()).unwrap_or_default()
}

pub(super) fn action_from_wire(text: &str) -> Option<RecommendedAction> {
    (!text.is_empty()).then(|| RecommendedAction::from(text))
}

impl From<&List<Gpu>> for wire::GpuList {
    fn from(list: &List<Gpu>) -> Self {
        let List { metadata, items } = list;
        Self { metadata: Some(metadata.into()), items: items.iter().map(|gpu| gpu.as_ref().into()).collect() }
    }
}

/// Fails as the conversion of its objects.
impl TryFrom<wire::GpuList> for List<Gpu> {
    type Error = Error;

    fn try_from(message: wire::GpuList) -> Result<Self> {
        let wire::GpuList { metadata, items } = message;
        let items = items.into_iter().map(|gpu| Gpu::try_from(gpu).map(Arc::new)).collect::<Result<_>>()?;
        Ok(Self { metadata: metadata.unwrap_or_default().into(), items })
    }
}

impl From<&WatchEvent<Gpu>> for wire::WatchGpusResponse {
    fn from(event: &WatchEvent<Gpu>) -> Self {
        let object = match event {
            WatchEvent::Added(gpu) | WatchEvent::Modified(gpu) | WatchEvent::Deleted(gpu) => gpu.as_ref().into(),
            WatchEvent::Bookmark(bookmark) => {
                wire::Gpu { metadata: Some((&bookmark.to_metadata()).into()), spec: None, status: None }
            }
        };
        Self { r#type: event.wire_type().to_owned(), object: Some(object) }
    }
}

/// Fails as [`WatchEvent::from_wire`] and as the conversion of the object.
impl TryFrom<wire::WatchGpusResponse> for WatchEvent<Gpu> {
    type Error = Error;

    fn try_from(message: wire::WatchGpusResponse) -> Result<Self> {
        let wire::WatchGpusResponse { r#type, object } = message;
        let object = object.ok_or_else(|| Error::internal("the server sent a watch event without an object"))?;
        Self::from_wire(&r#type, object.try_into()?)
    }
}
