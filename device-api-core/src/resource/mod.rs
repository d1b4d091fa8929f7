// SPDX-License-Identifier: Apache-2.0
//! The resource model: what an object is, and the GPU.
//!
//! A resource type is a struct with metadata, spec and status, and an implementation of
//! [`Resource`]. The registry serves any of them; [`Gpu`] is the one that this crate brings along.

mod action;
pub mod condition;
pub(crate) mod device;
pub mod document;
mod gpu;
pub(crate) mod key;
mod meta;
pub mod object;
mod time;

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::action::RecommendedAction;
pub use self::condition::{Condition, ConditionStatus, Conditions};
pub use self::device::{GpuDevice, GpuTelemetry, MigDevice, XidRecord};
pub use self::gpu::{Gpu, GpuSpec, GpuStatus, GpuStrategy};
pub use self::key::Key;
pub use self::meta::{DEFAULT_NAMESPACE, ListMeta, ObjectMeta};
pub use self::time::{Timestamp, TimestampError};

/// A resource type: a struct with metadata, spec and status.
///
/// [`Gpu`]'s implementation is the pattern; `examples/own_resource.rs` brings one of its own. The
/// `Serialize` and `Deserialize` that a type needs are one line each with [`object::serialize`] and
/// [`object::deserialize`].
///
/// What an object serialises to must deserialise to an equal one: the registry checks it at each write,
/// since one object that does not would keep the whole store from being opened. A float that can be
/// NaN, which JSON cannot hold, is no field of a resource.
pub trait Resource: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The API group, such as `device.nvidia.com`.
    const GROUP: &'static str;
    /// The API version, such as `v1alpha1`.
    const VERSION: &'static str;
    /// The kind, such as `GPU`.
    const KIND: &'static str;
    /// The plural in lower case, such as `gpus`. It names the resource in messages and in storage:
    /// it must never change, and no two types in one store may share it.
    const PLURAL: &'static str;
    /// The lists that a strategic merge patch merges by key: a JSON pointer to the list, and the
    /// field of its items that is the key.
    const MERGE_KEYS: &'static [(&'static str, &'static str)] = &[];
    /// The field selectors beside `metadata.name`, `metadata.namespace` and
    /// `status.conditions[TYPE]`, which every type has.
    const SELECTABLE_FIELDS: &'static [&'static str] = &[];

    /// What the object is to be.
    type Spec: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// How the object is, with the conditions in it.
    type Status: Conditions + Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Puts an object together.
    fn from_parts(metadata: ObjectMeta, spec: Self::Spec, status: Self::Status) -> Self;
    /// The metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// The metadata, to change it.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// The spec.
    fn spec(&self) -> &Self::Spec;
    /// The spec, to change it.
    fn spec_mut(&mut self) -> &mut Self::Spec;
    /// The status.
    fn status(&self) -> &Self::Status;
    /// The status, to change it.
    fn status_mut(&mut self) -> &mut Self::Status;

    /// The form in which names are kept and looked up; the name itself unless overridden.
    #[must_use]
    fn normalize_name(name: &str) -> Cow<'_, str> {
        Cow::Borrowed(name)
    }

    /// The value of one of [`Self::SELECTABLE_FIELDS`].
    #[must_use]
    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        let _ = path;
        None
    }
}
