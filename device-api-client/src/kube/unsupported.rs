// SPDX-License-Identifier: Apache-2.0
//! Metadata that Kubernetes acts upon and the Device API has not. To ignore it would be to promise what
//! nobody does: a controller that has set a finalizer waits to be asked before the object goes.

use device_api_core::patch::Patch;
use device_api_core::{Error, Result};
use serde_json::Value;

const FIELDS: &[&str] = &["finalizers", "generateName", "ownerReferences"];

/// Refuses an object, or a merge patch of one, that sets such a field.
pub(super) fn refuse_in_object(object: &Value) -> Result<()> {
    match FIELDS.iter().find(|field| is_set(&object["metadata"][**field])) {
        Some(field) => Err(unsupported(field)),
        None => Ok(()),
    }
}

/// Refuses a patch of any type that sets such a field.
pub(super) fn refuse_in_patch(patch: &Patch) -> Result<()> {
    // What does not parse gets the error of patches.
    let patch = serde_json::from_slice(patch.data()).unwrap_or_default();
    let Value::Array(operations) = patch else { return refuse_in_object(&patch) };
    for operation in &operations {
        let path = operation["path"].as_str().and_then(|path| path.strip_prefix("/metadata/")).unwrap_or_default();
        let first = path.split('/').next().unwrap_or_default();
        if let Some(field) = FIELDS.iter().find(|field| **field == first) {
            return Err(unsupported(field));
        }
    }
    Ok(())
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
