// SPDX-License-Identifier: Apache-2.0
//! What every type's metadata must be like.

use crate::error::FieldViolation;
use crate::resource::ObjectMeta;
use crate::resource::key::{check_label_value, check_qualified_name};

/// How many violations are listed: whoever has so many does not read on.
const MAX_VIOLATIONS: usize = 64;
/// How many bytes all annotations of an object may have together, as in Kubernetes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Everything that is wrong with labels and annotations. Name and namespace were checked when the
/// object's key was made.
pub(super) fn metadata(metadata: &ObjectMeta) -> Vec<FieldViolation> {
    let mut violations = Vec::new();
    for (key, value) in &metadata.labels {
        if violations.len() >= MAX_VIOLATIONS {
            break;
        }
        if let Err(why) = check_qualified_name(key) {
            violations.push(FieldViolation::new("metadata.labels", format!("Invalid value: {:?}: {why}", short(key))));
        }
        if let Err(why) = check_label_value(value) {
            violations
                .push(FieldViolation::new("metadata.labels", format!("Invalid value: {:?}: {why}", short(value))));
        }
    }
    let mut total = 0;
    for (key, value) in &metadata.annotations {
        total += key.len() + value.len();
        if violations.len() >= MAX_VIOLATIONS {
            continue;
        }
        // Kubernetes takes annotation keys without regard to case.
        if let Err(why) = check_qualified_name(&key.to_ascii_lowercase()) {
            let why = format!("Invalid value: {:?}: {why}", short(key));
            violations.push(FieldViolation::new("metadata.annotations", why));
        }
    }
    if total > MAX_ANNOTATIONS {
        let why = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        violations.push(FieldViolation::new("metadata.annotations", why));
    }
    violations
}

/// A hostile key may be of any length, and the message carries it.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
