// SPDX-License-Identifier: Apache-2.0
//! The GPU, its lists and its events.

use std::sync::Arc;

use super::v1alpha1 as wire;
use crate::error::FieldViolation;
use crate::registry::{List, WatchEvent};
use crate::resource::{Condition, Gpu, GpuSpec, GpuStatus, ObjectMeta, RecommendedAction, condition};
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
        let GpuStatus { conditions, recommended_action, .. } = status;
        Self {
            conditions: conditions.iter().map(Into::into).collect(),
            recommended_action: recommended_action
                .as_ref()
                .map(|action| action.as_str().to_owned())
                .unwrap_or_default(),
        }
    }
}

/// Fails with the violations of paths relative to the status.
impl TryFrom<wire::GpuStatus> for GpuStatus {
    type Error = Vec<FieldViolation>;

    fn try_from(message: wire::GpuStatus) -> Result<Self, Vec<FieldViolation>> {
        let wire::GpuStatus { conditions, recommended_action } = message;
        if let Some(violation) = condition::check_count("conditions", conditions.len()) {
            return Err(vec![violation]);
        }
        let mut violations = Vec::new();
        let mut read = Vec::with_capacity(conditions.len());
        for (index, condition) in conditions.into_iter().enumerate() {
            match Condition::try_from(condition) {
                Ok(condition) => read.push(condition),
                Err(violation) => violations.push(violation.under(&format!("conditions[{index}]"))),
            }
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let recommended_action =
            (!recommended_action.is_empty()).then(|| RecommendedAction::from(recommended_action.as_str()));
        Ok(Self { conditions: read, recommended_action, ..Self::default() })
    }
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
