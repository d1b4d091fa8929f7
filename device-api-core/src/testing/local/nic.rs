// SPDX-License-Identifier: Apache-2.0
//! A second resource type, as small as one can be, whose strategy has a bug on demand.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::FieldViolation;
use crate::registry::{Strategy, WriteContext};
use crate::resource::{Condition, Conditions, ObjectMeta, Resource, object};

/// A network adapter: what a second resource type costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// What every object has.
    pub metadata: ObjectMeta,
    /// What it is.
    pub spec: NicSpec,
    /// How it is.
    pub status: NicStatus,
}

/// What an adapter is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NicSpec {
    /// Free text, but for [`NicSpec::PANIC`] and [`NicSpec::LOSSY`].
    #[serde(deserialize_with = "lossy")]
    pub address: String,
}

/// The other bug: one address does not read back, as a NaN would not.
fn lossy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let address = String::deserialize(deserializer)?;
    if address == NicSpec::LOSSY { Err(serde::de::Error::custom("a bug, on purpose")) } else { Ok(address) }
}

/// How an adapter is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NicStatus {
    /// Whether its link is up.
    pub up: bool,
    /// What is said of it.
    pub conditions: Vec<Condition>,
}

impl NicSpec {
    /// The address at which the strategy panics: the bug that no write of another may notice.
    pub const PANIC: &'static str = "panic";
    /// The address that serialises and does not deserialise.
    pub const LOSSY: &'static str = "lossy";
}

impl Nic {
    /// An adapter of this name and address.
    #[must_use]
    pub fn new(name: &str, address: &str) -> Self {
        let spec = NicSpec { address: address.to_owned() };
        Self { metadata: ObjectMeta::named(name), spec, status: NicStatus::default() }
    }
}

impl Conditions for NicStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut [Condition] {
        &mut self.conditions
    }
}

impl Resource for Nic {
    const GROUP: &'static str = "testing.device.nvidia.com";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "NIC";
    const PLURAL: &'static str = "nics";
    const MERGE_KEYS: &'static [(&'static str, &'static str)] = &[("/status/conditions", "type")];

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

/// How adapters are validated: they always are, or the strategy panics.
#[derive(Clone, Copy, Debug)]
pub struct NicStrategy;

impl Strategy<Nic> for NicStrategy {
    fn validate(&self, _context: &WriteContext<'_>, nic: &Nic) -> Vec<FieldViolation> {
        assert_ne!(nic.spec.address, NicSpec::PANIC, "the strategy has a bug, on purpose; secret: hunter2");
        Vec::new()
    }
}
