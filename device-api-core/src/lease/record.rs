// SPDX-License-Identifier: Apache-2.0
//! A lease as it is stored: an object of a kind of its own, which renewals do not write.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AcquireLease;
use crate::error::FieldViolation;
use crate::registry::{Strategy, WriteContext};
use crate::resource::{ObjectMeta, Resource, Timestamp, object};

/// A lease as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LeaseRecord {
    metadata: ObjectMeta,
    spec: LeaseSpec,
    status: (),
}

/// Who holds a lease, or held it last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LeaseSpec {
    pub(super) id: String,
    /// Empty: the holder did not say.
    pub(super) holder_identity: String,
    pub(super) duration: Duration,
    pub(super) condition_types: Vec<String>,
    /// Whether its expiry was noted.
    pub(super) expired: bool,
    pub(super) acquired_at: Timestamp,
    /// When the record was written: renewals leave it as it is.
    pub(super) renewed_at: Timestamp,
}

impl Default for LeaseSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            holder_identity: String::new(),
            duration: Duration::ZERO,
            condition_types: Vec::new(),
            expired: false,
            acquired_at: Timestamp::UNIX_EPOCH,
            renewed_at: Timestamp::UNIX_EPOCH,
        }
    }
}

impl LeaseSpec {
    /// Whether a request is this holder's: by the id or, where it has none, by the identity.
    pub(super) fn is_held_by(&self, request: &AcquireLease) -> bool {
        match &request.id {
            Some(id) => *id == self.id,
            None => !request.holder_identity.is_empty() && request.holder_identity == self.holder_identity,
        }
    }

    /// Whether a request of this holder asks for what it has: then it is no write.
    pub(super) fn is_as_asked(&self, request: &AcquireLease) -> bool {
        let is_same_holder = request.holder_identity.is_empty() || request.holder_identity == self.holder_identity;
        is_same_holder && request.duration == self.duration && request.condition_types == self.condition_types
    }
}

impl LeaseRecord {
    pub(super) fn name(&self) -> &str {
        &self.metadata.name
    }
}

impl Resource for LeaseRecord {
    const GROUP: &'static str = "device.nvidia.com";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "Lease";
    const PLURAL: &'static str = "leases";

    type Spec = LeaseSpec;
    type Status = ();

    fn from_parts(metadata: ObjectMeta, spec: LeaseSpec, status: ()) -> Self {
        Self { metadata, spec, status }
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn spec(&self) -> &LeaseSpec {
        &self.spec
    }

    fn spec_mut(&mut self) -> &mut LeaseSpec {
        &mut self.spec
    }

    fn status(&self) -> &() {
        &self.status
    }

    fn status_mut(&mut self) -> &mut () {
        &mut self.status
    }
}

impl Serialize for LeaseRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for LeaseRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object::deserialize(deserializer)
    }
}

/// Records come from requests that were checked.
pub(super) struct LeaseStrategy;

impl Strategy<LeaseRecord> for LeaseStrategy {
    fn validate(&self, _context: &WriteContext<'_>, _record: &LeaseRecord) -> Vec<FieldViolation> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_before_there_were_identities_is_nobodys() {
        let stored = r#"{"apiVersion":"device.nvidia.com/v1alpha1","kind":"Lease",
            "metadata":{"name":"nvml","resourceVersion":"7","uid":"u","creationTimestamp":"2026-01-01T00:00:00Z"},
            "spec":{"id":"1","duration":{"secs":30,"nanos":0},"conditionTypes":["NVMLReady"],"expired":false,
                "acquiredAt":"2026-01-01T00:00:00Z","renewedAt":"2026-01-01T00:00:00Z"}}"#;
        let record: LeaseRecord = serde_json::from_str(stored).unwrap();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let expected = LeaseSpec {
            id: "1".to_owned(),
            holder_identity: String::new(),
            duration: Duration::from_secs(30),
            condition_types: vec!["NVMLReady".to_owned()],
            expired: false,
            acquired_at: at,
            renewed_at: at,
        };
        assert_eq!(record.spec, expected);
        let request = AcquireLease::new("nvml");
        assert!(!record.spec.is_held_by(&request) && record.spec.is_held_by(&request.with_id("1")));
    }
}
