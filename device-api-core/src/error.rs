// SPDX-License-Identifier: Apache-2.0
//! The one error of the API, in process and over gRPC, and the texts that clients see.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::resource::Resource;

/// A result with the API's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed.
///
/// The same value comes from the registry in process and, rebuilt from the gRPC status, from the
/// client. Messages follow Kubernetes' wording. Two errors are equal when they say the same; causes,
/// which do not travel, are not compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no object of that name.
    #[error("{resource} {name:?} not found")]
    NotFound {
        /// The resource's plural, such as `gpus`.
        resource: String,
        /// The object's name.
        name: String,
    },
    /// The name is taken.
    #[error("{resource} {name:?} already exists")]
    AlreadyExists {
        /// The resource's plural.
        resource: String,
        /// The object's name.
        name: String,
    },
    /// A resource version or a precondition does not hold.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {why}")]
    Conflict {
        /// The resource's plural.
        resource: String,
        /// The object's name.
        name: String,
        /// What does not hold, and what to do.
        why: String,
    },
    /// The object is not valid; all that is wrong with it.
    #[error("{kind} {name:?} is invalid: {}", Joined(.violations))]
    Invalid {
        /// The resource's kind, such as `GPU`.
        kind: String,
        /// The object's name.
        name: String,
        /// What is wrong, each with its field.
        violations: Vec<FieldViolation>,
    },
    /// An option of the request is not valid.
    #[error("{field}: {why}")]
    BadRequest {
        /// The option, such as `labelSelector`.
        field: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The patch type is not one of the three (HTTP's 415).
    #[error(
        "unsupported media type: {patch_type:?}; use application/merge-patch+json, application/json-patch+json or \
         application/strategic-merge-patch+json"
    )]
    UnsupportedMediaType {
        /// The patch type asked for.
        patch_type: String,
    },
    /// The patch does not parse, does not apply, or its outcome does not fit the type (HTTP's 422).
    #[error("unprocessable content: {why}")]
    UnprocessablePatch {
        /// What is wrong and where.
        why: String,
    },
    /// The resource version or continue token is older than history.
    #[error("too old resource version: {requested} ({oldest}): list again")]
    Expired {
        /// The version asked for.
        requested: u64,
        /// The oldest version that a watch can start after.
        oldest: u64,
    },
    /// The resource version lies in the future.
    #[error("Too large resource version: {requested}, current: {current}: list again")]
    ResourceVersionTooLarge {
        /// The version asked for.
        requested: u64,
        /// The latest version.
        current: u64,
    },
    /// A request, an object or a reply is over a limit.
    #[error("{what} is over the limit of {limit}: {hint}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, with its unit.
        limit: String,
        /// What to do.
        hint: String,
    },
    /// The server has too much to do.
    #[error("too many requests: {why}")]
    TooManyRequests {
        /// What there is too much of.
        why: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store cannot be reached, is full or is shutting down.
    #[error("the server is currently unable to handle the request: {why}")]
    Unavailable {
        /// What is wrong.
        why: String,
        /// When to try again; `None` where that would not help.
        retry_after: Option<Duration>,
        /// What it came from.
        #[source]
        cause: Cause,
    },
    /// The caller may not do this.
    #[error("forbidden: {why}")]
    Forbidden {
        /// What is not allowed to whom.
        why: String,
    },
    /// The caller did not say who it is.
    #[error("unauthorized: {why}")]
    Unauthorized {
        /// What is missing.
        why: String,
    },
    /// A bug. The message holds nothing secret.
    #[error("internal error: {why}")]
    Internal {
        /// What went wrong.
        why: String,
        /// What it came from.
        #[source]
        cause: Cause,
    },
}

/// Kubernetes' reason of an error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There is no such object.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A version or precondition does not hold.
    Conflict,
    /// The object is not valid.
    Invalid,
    /// An option is not valid.
    BadRequest,
    /// The patch type is not one of the three.
    UnsupportedMediaType,
    /// The patch does not apply.
    UnprocessableEntity,
    /// Older than history.
    Expired,
    /// A version of the future.
    ResourceVersionTooLarge,
    /// Over a limit.
    RequestEntityTooLarge,
    /// Too much to do.
    TooManyRequests,
    /// Out of reach, full or shutting down.
    ServiceUnavailable,
    /// Not allowed.
    Forbidden,
    /// Nobody knows who asks.
    Unauthorized,
    /// A bug.
    InternalError,
}

impl Reason {
    /// The reason as it stands in `google.rpc.ErrorInfo`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Invalid => "Invalid",
            Self::BadRequest => "BadRequest",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::UnprocessableEntity => "UnprocessableEntity",
            Self::Expired => "Expired",
            Self::ResourceVersionTooLarge => "ResourceVersionTooLarge",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::TooManyRequests => "TooManyRequests",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Forbidden => "Forbidden",
            Self::Unauthorized => "Unauthorized",
            Self::InternalError => "InternalError",
        }
    }
}

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

/// What an error came from, where anything is known. It does not travel over the wire, so any two
/// are equal.
#[derive(Clone, Default)]
pub struct Cause(Option<Arc<dyn std::error::Error + Send + Sync>>);

impl Cause {
    /// Nothing is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Self(None)
    }

    /// What it came from.
    #[must_use]
    pub fn of(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(error)))
    }
}

impl PartialEq for Cause {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cause {}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("the cause is unknown"),
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().and_then(|error| error.source())
    }
}

impl Error {
    /// The error's reason, for programs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } => Reason::NotFound,
            Self::AlreadyExists { .. } => Reason::AlreadyExists,
            Self::Conflict { .. } => Reason::Conflict,
            Self::Invalid { .. } => Reason::Invalid,
            Self::BadRequest { .. } => Reason::BadRequest,
            Self::UnsupportedMediaType { .. } => Reason::UnsupportedMediaType,
            Self::UnprocessablePatch { .. } => Reason::UnprocessableEntity,
            Self::Expired { .. } => Reason::Expired,
            Self::ResourceVersionTooLarge { .. } => Reason::ResourceVersionTooLarge,
            Self::TooLarge { .. } => Reason::RequestEntityTooLarge,
            Self::TooManyRequests { .. } => Reason::TooManyRequests,
            Self::Unavailable { .. } => Reason::ServiceUnavailable,
            Self::Forbidden { .. } => Reason::Forbidden,
            Self::Unauthorized { .. } => Reason::Unauthorized,
            Self::Internal { .. } => Reason::InternalError,
        }
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.reason() == Reason::NotFound
    }

    /// Whether the name is taken.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.reason() == Reason::AlreadyExists
    }

    /// Whether a resource version or a precondition does not hold: read again, then retry.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.reason() == Reason::Conflict
    }

    /// Whether the object or an option is not valid, or the patch does not apply: no retry helps.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(
            self.reason(),
            Reason::Invalid | Reason::BadRequest | Reason::UnsupportedMediaType | Reason::UnprocessableEntity
        )
    }

    /// Whether the version or token asked for is not in history (any more, or yet): list again.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self.reason(), Reason::Expired | Reason::ResourceVersionTooLarge)
    }

    /// Whether something is over a limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.reason() == Reason::RequestEntityTooLarge
    }

    /// Whether the server is out of reach, full, shutting down or has too much to do.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.reason(), Reason::ServiceUnavailable | Reason::TooManyRequests)
    }

    /// Whether the caller may not do this.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.reason(), Reason::Forbidden | Reason::Unauthorized)
    }

    /// Whether the same request may succeed later. After an [`Error::Unavailable`] a write may still
    /// have happened: retry it with a resource version or a precondition.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retry_after().is_some()
    }

    /// When to try again, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } => Some(*retry_after),
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What is wrong with which field; empty where the error is of another kind.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        match self {
            Self::Invalid { violations, .. } => violations,
            _ => &[],
        }
    }

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

/// What a message may repeat of a client's text, which may be of any length: as much as a name has.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(253).collect()
}

/// Violations in one line, as Kubernetes writes them.
struct Joined<'a>(&'a [FieldViolation]);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Gpu;

    #[test]
    fn messages_have_kubernetes_wording() {
        assert_eq!(Error::not_found::<Gpu>("x").to_string(), r#"gpus "x" not found"#);
        assert_eq!(Error::already_exists::<Gpu>("x").to_string(), r#"gpus "x" already exists"#);
        assert_eq!(
            Error::modified::<Gpu>("x").to_string(),
            "Operation cannot be fulfilled on gpus \"x\": the object has been modified; please apply your changes to \
             the latest version and try again"
        );
        let violations = vec![FieldViolation::new("a", "b"), FieldViolation::new("c", "d")];
        assert_eq!(Error::invalid::<Gpu>("x", violations).to_string(), r#"GPU "x" is invalid: [a: b, c: d]"#);
    }

    #[test]
    fn the_cause_is_kept_as_the_source_and_left_out_of_the_message() {
        let error = Error::Internal { why: "w".into(), cause: Cause::of(std::io::Error::other("disk")) };
        assert_eq!(error.to_string(), "internal error: w");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "disk");
        assert_eq!(error, Error::internal("w"));
    }
}
