// SPDX-License-Identifier: Apache-2.0
//! Objects that a client wrote as JSON: the bodies of requests, and what a patch leaves behind.
//!
//! What is decided here is about JSON alone: `null` is what is not set, and nothing is dropped that says
//! something. All else is for the registry, which every way to write an object leads to.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Resource;
use crate::error::short;
use crate::{Error, Result};

/// The object that a client's JSON text is, which is [`read`] like any other. A member twice in one object is
/// refused: one of the two would be dropped.
///
/// # Errors
/// As [`read`], and [`Error::UnprocessablePatch`] when the text is no JSON.
pub fn parse<R: Resource>(text: &[u8]) -> Result<R> {
    let Unique(document) = serde_json::from_slice(text).map_err(unreadable)?;
    read(document)
}

/// The object that a client's JSON is.
///
/// A `null` anywhere is as good as absent, as in Kubernetes. A member that the type does not have is refused, unless it says
/// nothing (`null`, `false`, `0`, an empty text, list or object): whoever sets a finalizer, an owner or a
/// field of a later version shall not think that it is kept.
///
/// The document must not be nested deeper than serde_json parses: 128 levels.
///
/// ```
/// use device_api_core::resource::{Gpu, document};
/// use serde_json::json;
///
/// let gpu: Gpu = document::read(json!({"metadata": {"name": "gpu-0", "uid": null, "finalizers": []}}))?;
/// assert_eq!(gpu.metadata.name, "gpu-0");
/// let error = document::read::<Gpu>(json!({"spec": {"uid": "GPU-0"}})).unwrap_err();
/// assert_eq!(error.to_string(), "spec.uid: is not supported by the Device API: leave it out");
/// # Ok::<(), device_api_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::UnprocessablePatch`] when the document does not fit the type, and [`Error::BadRequest`] that names
/// a member which the type does not have.
pub fn read<R: Resource>(mut document: Value) -> Result<R> {
    drop_nulls(&mut document);
    let object: R = serde_path_to_error::deserialize(&document).map_err(unreadable)?;
    let kept = serde_json::to_value(&object)
        .map_err(|error| Error::internal(format!("an object does not serialise: {error}")))?;
    compare(&document, &kept, String::new())?;
    Ok(object)
}

/// A JSON value in whose objects each member is there once.
pub(crate) struct Unique(pub(crate) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, _>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the member {:?} is there twice", short(&name))));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// Removes the members that are `null`. Those of lists stay: their places mean something.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Checks that all of a document was read: every member is in what was kept of it, and no list became an
/// object, whose fields serde takes from a list in their order.
fn compare(document: &Value, kept: &Value, path: String) -> Result<()> {
    match (document, kept) {
        (Value::Array(_), Value::Object(_)) => {
            let path = if path.is_empty() { "the document" } else { &path };
            Err(unreadable(format_args!("{path}: a list stands where an object is expected")))
        }
        (Value::Array(items), Value::Array(kept)) => {
            let mut pairs = items.iter().zip(kept).enumerate();
            pairs.try_for_each(|(index, (item, kept))| compare(item, kept, format!("{path}[{index}]")))
        }
        (Value::Object(members), Value::Object(kept)) => members.iter().try_for_each(|(name, member)| {
            let separator = if path.is_empty() { "" } else { "." };
            let below = format!("{path}{separator}{name}");
            match kept.get(name) {
                Some(kept) => compare(member, kept, below),
                None if says_nothing(member) => Ok(()),
                None => Err(Error::bad_request(short(&below), "is not supported by the Device API: leave it out")),
            }
        }),
        _ => Ok(()),
    }
}

/// Whether a member is what it would be if it were absent.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(says_nothing),
    }
}

/// The document does not fit. It may repeat what the client sent.
fn unreadable(why: impl fmt::Display) -> Error {
    Error::unprocessable(why.to_string().chars().take(512).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta};

    #[test]
    fn null_is_what_is_not_set() {
        let document = json!({
            "metadata": {"name": "x", "uid": null, "creationTimestamp": null, "generation": null, "labels": {"a": null}},
            "spec": {"uuid": null},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "observedGeneration": null}],
                "telemetry": null,
                "xids": null,
            },
        });
        let conditions = vec![Condition::new("Ready", ConditionStatus::True)];
        let mut expected = Gpu { metadata: ObjectMeta::named("x"), spec: GpuSpec::default(), ..Gpu::default() };
        expected.status.conditions = conditions;
        assert_eq!(read::<Gpu>(document).unwrap(), expected);
    }

    #[test]
    fn what_the_type_does_not_have_is_refused_by_its_path_unless_it_says_nothing() {
        for (document, field) in [
            (json!({"metadata": {"finalizers": ["x/y"]}}), "metadata.finalizers"),
            (json!({"metadata": {"generateName": "x-"}}), "metadata.generateName"),
            (json!({"spec": {"uid": "x"}}), "spec.uid"),
            (json!({"status": {"conditions": [{}, {"type": "A", "state": "True"}]}}), "status.conditions[1].state"),
            (json!({"status": {"device": {"mig": {"size": 1}}}}), "status.device.mig.size"),
            (json!({"data": {"a": [false]}}), "data"),
        ] {
            let error = read::<Gpu>(document).unwrap_err();
            assert!(matches!(&error, Error::BadRequest { field: found, .. } if found == field), "{field}: {error}");
        }
        for nothing in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({}), json!({"a": {"b": ""}})] {
            assert_eq!(read::<Gpu>(json!({"metadata": {"managedFields": nothing}})).unwrap(), Gpu::default());
        }
    }

    #[test]
    fn a_member_twice_is_refused_and_all_else_is_as_serde_json_reads_it() {
        for text in
            [r#"{"spec": {"uuid": "a", "uuid": "b"}}"#, r#"{"status": {"conditions": [{"type": "A", "type": "A"}]}}"#]
        {
            let error = parse::<Gpu>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("is there twice"), "{error}");
        }
        let text = r#"[null, true, -1, 18446744073709551615, 0.1, 1e300, "a\u00e4\n", [], {"a": {"b": []}}]"#;
        let Unique(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_list_is_no_object() {
        for document in [json!([]), json!({"spec": ["GPU-0"]}), json!({"status": {"device": [1]}})] {
            let error = read::<Gpu>(document.clone()).unwrap_err();
            assert!(matches!(error, Error::UnprocessablePatch { .. }), "{document}: {error}");
        }
    }
}
