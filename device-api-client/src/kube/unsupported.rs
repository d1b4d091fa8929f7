// SPDX-License-Identifier: Apache-2.0
//! Metadata that Kubernetes acts upon and the Device API has not. To ignore it would be to promise what
//! nobody does: a controller that has set a finalizer waits to be asked before the object goes.

use device_api_core::patch::Patch;
use device_api_core::{Error, Result};
use serde_json::Value;

const FIELDS: &[&str] = &["finalizers", "generateName", "ownerReferences"];

/// Refuses an object, or a merge patch of one, that sets such a field.
pub(super) fn refuse_in_object(object: &Value) -> Result<()> {
    refuse_in_metadata(&object["metadata"])
}

/// Refuses a patch of any type that sets such a field.
pub(super) fn refuse_in_patch(patch: &Patch) -> Result<()> {
    // What does not parse gets the error of patches.
    match serde_json::from_slice(patch.data()).unwrap_or_default() {
        Value::Array(operations) => operations.iter().try_for_each(refuse_in_operation),
        patch => refuse_in_object(&patch),
    }
}

/// Refuses an operation of a JSON patch on such a field, or on what it is in.
fn refuse_in_operation(operation: &Value) -> Result<()> {
    let Some(path) = operation["path"].as_str() else { return Ok(()) };
    if let Some(below) = path.strip_prefix("/metadata/") {
        let first = below.split('/').next();
        return FIELDS.iter().find(|field| first == Some(**field)).map_or(Ok(()), |field| Err(unsupported(field)));
    }
    match (operation["op"].as_str(), path) {
        (Some("add" | "replace"), "") => refuse_in_object(&operation["value"]),
        (Some("add" | "replace"), "/metadata") => refuse_in_metadata(&operation["value"]),
        // Earlier operations may have put any field there, and nobody needs this.
        (Some("copy" | "move"), "" | "/metadata") => {
            Err(Error::bad_request("metadata", "cannot be copied or moved as a whole: patch its fields"))
        }
        _ => Ok(()),
    }
}

fn refuse_in_metadata(metadata: &Value) -> Result<()> {
    match FIELDS.iter().find(|field| is_set(&metadata[**field])) {
        Some(field) => Err(unsupported(field)),
        None => Ok(()),
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

fn unsupported(field: &str) -> Error {
    Error::bad_request(format!("metadata.{field}"), "is not supported by the Device API: leave it out")
}
