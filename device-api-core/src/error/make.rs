// SPDX-License-Identifier: Apache-2.0
//! The texts that clients see: how each error is made.

use super::{Cause, Error, FieldViolation, short};
use crate::resource::Resource;

impl Error {
    /// There is no object of this name.
    #[must_use]
    pub fn not_found<R: Resource>(name: &str) -> Self {
        Self::NotFound { resource: R::PLURAL.to_owned(), name: name.to_owned() }
    }

    /// The name is taken.
    #[must_use]
    pub fn already_exists<R: Resource>(name: &str) -> Self {
        Self::AlreadyExists { resource: R::PLURAL.to_owned(), name: name.to_owned() }
    }

    /// The object is not at the version that the writer saw.
    #[must_use]
    pub fn modified<R: Resource>(name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::Conflict { resource: R::PLURAL.to_owned(), name: name.to_owned(), why: why.to_owned() }
    }

    /// A precondition does not hold.
    #[must_use]
    pub fn precondition<R: Resource>(name: &str, field: &str, wanted: &str, found: &str) -> Self {
        let wanted = short(wanted);
        let why = format!("Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}");
        Self::Conflict { resource: R::PLURAL.to_owned(), name: name.to_owned(), why }
    }

    /// The object is not valid.
    #[must_use]
    pub fn invalid<R: Resource>(name: &str, violations: Vec<FieldViolation>) -> Self {
        Self::Invalid { kind: R::KIND.to_owned(), name: short(name), violations }
    }

    /// An option is not valid.
    #[must_use]
    pub fn bad_request(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::BadRequest { field: field.into(), why: why.into() }
    }

    /// The patch does not parse or apply.
    #[must_use]
    pub fn unprocessable(why: impl Into<String>) -> Self {
        Self::UnprocessablePatch { why: why.into() }
    }

    /// A bug, of which no more is known.
    #[must_use]
    pub fn internal(why: impl Into<String>) -> Self {
        Self::Internal { why: why.into(), cause: Cause::unknown() }
    }
}
