// SPDX-License-Identifier: Apache-2.0
//! Metadata, times, conditions, and what is common to the watch events of all resources.

use super::v1alpha1 as wire;
use crate::error::FieldViolation;
use crate::registry::{Bookmark, WatchEvent};
use crate::resource::{Condition, ConditionStatus, ListMeta, ObjectMeta, Resource, Timestamp};
use crate::{Error, Result};

impl From<&ObjectMeta> for wire::ObjectMeta {
    fn from(metadata: &ObjectMeta) -> Self {
        let ObjectMeta { name, namespace, uid, resource_version, generation, creation_timestamp, labels, annotations } =
            metadata;
        Self {
            name: name.clone(),
            resource_version: resource_version.clone(),
            namespace: namespace.clone(),
            uid: uid.clone(),
            generation: *generation,
            creation_timestamp: creation_timestamp.map(time_to_wire),
            labels: labels.clone(),
            annotations: annotations.clone(),
        }
    }
}

/// Fails with the violation of a path relative to the metadata.
impl TryFrom<wire::ObjectMeta> for ObjectMeta {
    type Error = FieldViolation;

    fn try_from(message: wire::ObjectMeta) -> Result<Self, FieldViolation> {
        let wire::ObjectMeta {
            name,
            resource_version,
            namespace,
            uid,
            generation,
            creation_timestamp,
            labels,
            annotations,
        } = message;
        let creation_timestamp = time_from_wire("creationTimestamp", creation_timestamp)?;
        Ok(Self { name, namespace, uid, resource_version, generation, creation_timestamp, labels, annotations })
    }
}

impl From<&ListMeta> for wire::ListMeta {
    fn from(metadata: &ListMeta) -> Self {
        let ListMeta { resource_version, continue_token, remaining_item_count } = metadata;
        Self {
            resource_version: resource_version.clone(),
            r#continue: continue_token.clone(),
            remaining_item_count: *remaining_item_count,
        }
    }
}

impl From<wire::ListMeta> for ListMeta {
    fn from(message: wire::ListMeta) -> Self {
        let wire::ListMeta { resource_version, r#continue, remaining_item_count } = message;
        Self { resource_version, continue_token: r#continue, remaining_item_count }
    }
}

impl From<&Condition> for wire::Condition {
    fn from(condition: &Condition) -> Self {
        let Condition { type_, status, observed_generation, last_transition_time, reason, message } = condition;
        Self {
            r#type: type_.clone(),
            status: status.as_str().to_owned(),
            last_transition_time: last_transition_time.map(time_to_wire),
            reason: reason.clone(),
            message: message.clone(),
            observed_generation: *observed_generation,
        }
    }
}

/// Fails with the violation of a path relative to the condition.
impl TryFrom<wire::Condition> for Condition {
    type Error = FieldViolation;

    fn try_from(condition: wire::Condition) -> Result<Self, FieldViolation> {
        let wire::Condition { r#type, status, last_transition_time, reason, message, observed_generation } = condition;
        Ok(Self {
            type_: r#type,
            status: ConditionStatus::from(status.as_str()),
            observed_generation,
            last_transition_time: time_from_wire("lastTransitionTime", last_transition_time)?,
            reason,
            message,
        })
    }
}

pub(super) fn time_to_wire(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.unix_seconds(), nanos: time.subsec_nanos() }
}

/// The first instant that a protobuf timestamp can hold is how Go clients in the field write a time
/// that is not set (the zero value of its `time.Time`).
const GO_ZERO_TIME: prost_types::Timestamp = prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 };

pub(super) fn time_from_wire(
    field: &str,
    message: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, FieldViolation> {
    match message {
        None | Some(GO_ZERO_TIME) => Ok(None),
        Some(prost_types::Timestamp { seconds, nanos }) => Timestamp::from_unix(seconds, nanos)
            .map(Some)
            .map_err(|error| FieldViolation::new(field, format!("Invalid value: {error}"))),
    }
}

const ADDED: &str = "ADDED";
const MODIFIED: &str = "MODIFIED";
const DELETED: &str = "DELETED";
const BOOKMARK: &str = "BOOKMARK";

impl<R: Resource> WatchEvent<R> {
    /// The event's type on the wire.
    #[must_use]
    pub fn wire_type(&self) -> &'static str {
        match self {
            Self::Added(_) => ADDED,
            Self::Modified(_) => MODIFIED,
            Self::Deleted(_) => DELETED,
            Self::Bookmark(_) => BOOKMARK,
        }
    }

    /// The event of a type and an object that came over the wire.
    ///
    /// # Errors
    /// [`Error::Internal`] when the type is none that a server sends: failures come as a status.
    pub fn from_wire(event_type: &str, object: R) -> Result<Self> {
        match event_type {
            ADDED => Ok(Self::Added(object.into())),
            MODIFIED => Ok(Self::Modified(object.into())),
            DELETED => Ok(Self::Deleted(object.into())),
            BOOKMARK => Ok(Self::Bookmark(Bookmark::from_metadata(object.metadata()))),
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(Error::internal(format!("the server sent a watch event of the unknown type {shown:?}")))
            }
        }
    }
}
