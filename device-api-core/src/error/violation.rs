// SPDX-License-Identifier: Apache-2.0
//! What is wrong with an object, field by field.

use std::fmt;

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path in JSON form, such as `status.conditions[0].type`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl FieldViolation {
    /// A violation of this field.
    #[must_use]
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }

    /// The same violation of a field under this path.
    ///
    /// ```
    /// use device_api_core::error::FieldViolation;
    ///
    /// let violation = FieldViolation::new("name", "must not be empty").under("metadata");
    /// assert_eq!(violation.field, "metadata.name");
    /// ```
    #[must_use]
    pub fn under(mut self, path: &str) -> Self {
        self.field = format!("{path}.{}", self.field);
        self
    }
}

impl fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// Violations in one line, as Kubernetes writes them.
pub(super) struct Joined<'a>(pub(super) &'a [FieldViolation]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("no violation given"),
            [one] => one.fmt(f),
            many => {
                f.write_str("[")?;
                for (index, violation) in many.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{violation}")?;
                }
                f.write_str("]")
            }
        }
    }
}
