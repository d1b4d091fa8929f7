// SPDX-License-Identifier: Apache-2.0
//! The one error of the API, in process and over gRPC, and the texts that clients see.

mod cause;
mod make;
mod reason;
mod violation;

use std::time::Duration;

pub use self::cause::Cause;
pub use self::reason::Reason;
pub use self::violation::FieldViolation;
use self::violation::Joined;

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
}

/// What a message may repeat of a client's text, which may be of any length: as much as a name has.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(253).collect()
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
