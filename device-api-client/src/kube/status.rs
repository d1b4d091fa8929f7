// SPDX-License-Identifier: Apache-2.0
//! Failures in Kubernetes' form, `metav1.Status`, with the codes and reasons of its `api/errors`.

use std::time::Duration;

use device_api_core::Error;
use device_api_core::resource::Resource;
use serde::Serialize;

/// Why a request gets no answer of its own.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What the verbs said.
    Api(Error),
    /// The path names nothing here.
    NoSuchPath,
    /// The path names something on which this method does nothing.
    MethodNotAllowed,
    /// A body that is no JSON.
    UnknownFormat,
    /// The time that the client gave is over.
    Timeout,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

/// A `metav1.Status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    details: Details,
    code: u16,
}

#[derive(Debug, Serialize)]
struct Empty {}

/// A `metav1.StatusDetails`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

/// A `metav1.StatusCause`.
#[derive(Debug, Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
}

impl Refusal {
    pub(super) fn to_status<R: Resource>(&self) -> Status {
        let (code, reason, message) = match self {
            Self::Api(error) => return Status::of::<R>(error),
            Self::NoSuchPath => (404, "NotFound", "the server could not find the requested resource"),
            Self::MethodNotAllowed => {
                (405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            }
            Self::UnknownFormat => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                               application/json";
                (415, "UnsupportedMediaType", message)
            }
            Self::Timeout => (504, "Timeout", "Timeout: request did not complete within the requested timeout"),
        };
        Status::failure(code, reason, message.to_owned(), Details::default())
    }
}

impl Status {
    /// The failure that this error is.
    pub(super) fn of<R: Resource>(error: &Error) -> Self {
        let (code, reason) = code_and_reason(error);
        let named = |kind: &str, name: &str| Details {
            name: name.to_owned(),
            group: R::GROUP,
            kind: kind.to_owned(),
            ..Details::default()
        };
        let mut details = match error {
            Error::NotFound { resource, name }
            | Error::AlreadyExists { resource, name }
            | Error::Conflict { resource, name, .. } => named(resource, name),
            Error::Invalid { kind, name, .. } => named(kind, name),
            _ => Details::default(),
        };
        details.causes = causes(error);
        details.retry_after_seconds = match error {
            // As Kubernetes says it, whose clients then ask again.
            Error::ResourceVersionTooLarge { .. } => Some(1),
            _ => error.retry_after().map(whole_seconds),
        };
        Self::failure(code, reason, error.to_string(), details)
    }

    /// The failure that ends a watch. Watchers list again after 410 alone, and so they must where a
    /// version is one of another server's future.
    pub(super) fn ending_watch<R: Resource>(error: &Error) -> Self {
        let status = Self::of::<R>(error);
        if error.is_expired() { Self { code: 410, reason: "Expired", ..status } } else { status }
    }

    /// The success of a delete.
    pub(super) fn deleted<R: Resource>(name: &str, uid: String) -> Self {
        let kind = R::PLURAL.to_owned();
        let details = Details { name: name.to_owned(), group: R::GROUP, kind, uid, ..Details::default() };
        Self { status: "Success", ..Self::failure(200, "", String::new(), details) }
    }

    /// The HTTP status of an answer that is this.
    pub(super) fn code(&self) -> u16 {
        self.code
    }

    /// When to try again, in seconds, where that helps.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.details.retry_after_seconds
    }

    fn failure(code: u16, reason: &'static str, message: String, details: Details) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message,
            reason,
            details,
            code,
        }
    }
}

fn code_and_reason(error: &Error) -> (u16, &'static str) {
    match error {
        Error::BadRequest { .. } => (400, "BadRequest"),
        Error::Unauthorized { .. } => (401, "Unauthorized"),
        Error::Forbidden { .. } => (403, "Forbidden"),
        Error::NotFound { .. } => (404, "NotFound"),
        Error::AlreadyExists { .. } => (409, "AlreadyExists"),
        Error::Conflict { .. } => (409, "Conflict"),
        Error::Expired { .. } => (410, "Expired"),
        Error::TooLarge { .. } => (413, "RequestEntityTooLarge"),
        Error::UnsupportedMediaType { .. } => (415, "UnsupportedMediaType"),
        Error::Invalid { .. } | Error::UnprocessablePatch { .. } => (422, "Invalid"),
        Error::TooManyRequests { .. } => (429, "TooManyRequests"),
        Error::Unavailable { .. } => (503, "ServiceUnavailable"),
        Error::ResourceVersionTooLarge { .. } => (504, "Timeout"),
        // `Error` grows: what is not known here is the server's own.
        _ => (500, "InternalError"),
    }
}

fn causes(error: &Error) -> Vec<Cause> {
    if matches!(error, Error::ResourceVersionTooLarge { .. }) {
        let message = "Too large resource version".to_owned();
        return vec![Cause { reason: "ResourceVersionTooLarge", message, field: String::new() }];
    }
    let violations = error.violations().iter();
    let cause = |violation: &device_api_core::error::FieldViolation| Cause {
        reason: "FieldValueInvalid",
        message: violation.why.clone(),
        field: violation.field.clone(),
    };
    violations.map(cause).collect()
}

/// Rounded up: who comes back sooner comes too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
