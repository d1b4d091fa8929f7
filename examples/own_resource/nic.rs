// SPDX-License-Identifier: Apache-2.0
//! The network adapter: what it is, and what the registry is to check.

use std::borrow::Cow;

use device_api_core::error::FieldViolation;
use device_api_core::registry::{Strategy, WriteContext};
use device_api_core::resource::{Condition, Conditions, ObjectMeta, Resource, condition, object};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One network adapter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Nic {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: NicSpec,
    pub(crate) status: NicStatus,
}

/// What an adapter is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NicSpec {
    pub(crate) address: String,
}

/// How an adapter is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NicStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
}

// A provider that dies must not be believed any more: the keeper of leases sets these to Unknown.
impl Conditions for NicStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut [Condition] {
        &mut self.conditions
    }
}

impl Resource for Nic {
    const GROUP: &'static str = "example.com";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "NIC";
    const PLURAL: &'static str = "nics";
    // So that several providers can each patch a condition of their own.
    const MERGE_KEYS: &'static [(&'static str, &'static str)] = &[("/status/conditions", "type")];
    const SELECTABLE_FIELDS: &'static [&'static str] = &["spec.address"];

    type Spec = NicSpec;
    type Status = NicStatus;

    fn from_parts(metadata: ObjectMeta, spec: NicSpec, status: NicStatus) -> Self {
        Self { metadata, spec, status }
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn spec(&self) -> &NicSpec {
        &self.spec
    }

    fn spec_mut(&mut self) -> &mut NicSpec {
        &mut self.spec
    }

    fn status(&self) -> &NicStatus {
        &self.status
    }

    fn status_mut(&mut self) -> &mut NicStatus {
        &mut self.status
    }

    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        (path == "spec.address").then_some(Cow::Borrowed(self.spec.address.as_str()))
    }
}

impl Serialize for Nic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Nic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object::deserialize(deserializer)
    }
}

/// How adapters are prepared and validated. Versions, uids, conflicts and metadata are the registry's part.
#[derive(Debug)]
pub(crate) struct NicStrategy;

impl Strategy<Nic> for NicStrategy {
    fn prepare_for_create(&self, context: &WriteContext<'_>, nic: &mut Nic) {
        condition::settle_transition_times(&mut nic.status.conditions, &[], context.now.truncated_to_seconds());
    }

    fn prepare_for_status_update(&self, context: &WriteContext<'_>, nic: &mut Nic, old: &Nic) {
        let now = context.now.truncated_to_seconds();
        condition::settle_transition_times(&mut nic.status.conditions, &old.status.conditions, now);
    }

    fn validate(&self, _context: &WriteContext<'_>, nic: &Nic) -> Vec<FieldViolation> {
        let mut violations = condition::validate("status.conditions", &nic.status.conditions);
        if !is_address(&nic.spec.address) {
            violations
                .push(FieldViolation::new("spec.address", "must be a hardware address such as 02:00:00:0a:1b:2c"));
        }
        violations
    }

    /// An adapter with another address is another adapter.
    fn validate_update(&self, _context: &WriteContext<'_>, nic: &Nic, old: &Nic) -> Vec<FieldViolation> {
        let changed = nic.spec.address != old.spec.address;
        changed.then(|| FieldViolation::new("spec.address", "field is immutable")).into_iter().collect()
    }
}

fn is_address(text: &str) -> bool {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(is_pair)
}
