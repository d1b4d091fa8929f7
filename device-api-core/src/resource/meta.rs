// SPDX-License-Identifier: Apache-2.0
//! Object and list metadata, as in Kubernetes' `meta/v1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::object::null_is_default;

/// The namespace that an empty one stands for in a request for one object.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What every object has.
///
/// Writers set `name`, `namespace`, `labels` and `annotations`; the registry sets the rest and
/// refuses or ignores what a writer puts there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// A DNS-1123 subdomain of at most 253 bytes, unique within the namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A DNS-1123 label. Empty in a request for one object means [`DEFAULT_NAMESPACE`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// A random UUID that tells this object from an earlier one of the same name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The revision of the last write to this object, in decimal. Opaque to clients.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Starts at 1 and rises by one with each change of the spec.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// When the object was created, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// What label selectors select by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Free text by key: at most 256 KiB in total.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl ObjectMeta {
    /// The metadata of an object of this name in [`DEFAULT_NAMESPACE`].
    ///
    /// ```
    /// use device_api_core::resource::ObjectMeta;
    ///
    /// let meta = ObjectMeta::named("gpu-0").with_label("zone", "left");
    /// assert_eq!(meta.labels["zone"], "left");
    /// ```
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The same metadata in another namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The same metadata with one more label, or another value for it.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The same metadata with one more annotation, or another value for it.
    #[must_use]
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }
}

/// What every list has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// The revision of the snapshot that the list shows: start a watch from it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Where the next page starts; empty on the last page. Opaque.
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
    /// How many items follow this page; `None` where unknown, which it is with a selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<i64>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}
