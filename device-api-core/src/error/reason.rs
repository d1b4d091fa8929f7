// SPDX-License-Identifier: Apache-2.0
//! Kubernetes' reasons.

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
