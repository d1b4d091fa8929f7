// SPDX-License-Identifier: Apache-2.0
//! The JSON shape that every kind shares: `apiVersion`, `kind`, `metadata`, `spec`, `status`.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serializer, de};

use super::{ObjectMeta, Resource};

/// Serialises an object in Kubernetes' shape; the body of a kind's `impl Serialize`.
///
/// # Errors
/// The serialiser's own.
pub fn serialize<R: Resource, S: Serializer>(object: &R, serializer: S) -> Result<S::Ok, S::Error> {
    let mut out = serializer.serialize_struct(R::KIND, 5)?;
    out.serialize_field("apiVersion", &format_args!("{}/{}", R::GROUP, R::VERSION))?;
    out.serialize_field("kind", R::KIND)?;
    out.serialize_field("metadata", object.metadata())?;
    out.serialize_field("spec", object.spec())?;
    out.serialize_field("status", object.status())?;
    out.end()
}

/// Deserialises an object from Kubernetes' shape; the body of a kind's `impl Deserialize`. Absent
/// parts are the default ones, unknown fields are ignored.
///
/// # Errors
/// When a field does not fit, or `apiVersion` or `kind` is there and names another type.
pub fn deserialize<'de, R: Resource, D: Deserializer<'de>>(deserializer: D) -> Result<R, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", bound = "Spec: Deserialize<'de> + Default, Status: Deserialize<'de> + Default")]
    struct Shape<Spec, Status> {
        api_version: Option<String>,
        kind: Option<String>,
        #[serde(default, deserialize_with = "null_is_default")]
        metadata: ObjectMeta,
        #[serde(default, deserialize_with = "null_is_default")]
        spec: Spec,
        #[serde(default, deserialize_with = "null_is_default")]
        status: Status,
    }

    let shape = Shape::<R::Spec, R::Status>::deserialize(deserializer)?;
    if let Some(kind) = shape.kind.filter(|kind| kind != R::KIND) {
        return Err(de::Error::custom(format_args!("kind is {kind:?}, not {:?}", R::KIND)));
    }
    let expected = format!("{}/{}", R::GROUP, R::VERSION);
    if let Some(version) = shape.api_version.filter(|version| *version != expected) {
        return Err(de::Error::custom(format_args!("apiVersion is {version:?}, not {expected:?}")));
    }
    Ok(R::from_parts(shape.metadata, shape.spec, shape.status))
}

/// Deserialises `null` as the default, since Kubernetes' clients write `null` for what is empty.
///
/// # Errors
/// The deserialiser's own.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
