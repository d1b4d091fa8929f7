// SPDX-License-Identifier: Apache-2.0
//! The one table of errors and gRPC statuses.
//!
//! A status carries the error's message, a `google.rpc.ErrorInfo` whose reason is Kubernetes' and whose
//! metadata are the error's fields, a `BadRequest` with the violations and a `RetryInfo` where a retry
//! helps: the client rebuilds an equal [`Error`] from them. What callers put into an error may be of any
//! length, but a status travels in HTTP/2 headers, which peers limit to 8 KiB and more: texts are cut,
//! and violations counted, so that message and details together stay under 4 KiB.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::bounds::{bounded, cut_header};
use crate::error::{Cause, FieldViolation, Reason};
use crate::resource::{Gpu, Resource};
use crate::{Error, Result};

/// The domain of the `google.rpc.ErrorInfo` in each status.
pub const ERROR_DOMAIN: &str = Gpu::GROUP;

/// When to try again after a failure of the connection.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// The status of an error.
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let error = bounded(error);
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason().as_str(), ERROR_DOMAIN, fields(&error));
    match &error {
        Error::Invalid { violations, .. } => {
            for FieldViolation { field, why } in violations {
                details.add_bad_request_violation(field, why);
            }
        }
        Error::BadRequest { field, why } => {
            details.add_bad_request_violation(field, why);
        }
        _ => {}
    }
    if let Some(delay) = error.retry_after() {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code(&error), cut_header(&error.to_string()), details)
}

/// The code of an error. Clients in the field decide by it: they read ABORTED as a conflict and
/// OUT_OF_RANGE as "list again".
fn code(error: &Error) -> Code {
    match error {
        Error::NotFound { .. } => Code::NotFound,
        Error::AlreadyExists { .. } => Code::AlreadyExists,
        Error::Conflict { .. } => Code::Aborted,
        Error::Invalid { .. }
        | Error::BadRequest { .. }
        | Error::UnsupportedMediaType { .. }
        | Error::UnprocessablePatch { .. } => Code::InvalidArgument,
        Error::Expired { .. } | Error::ResourceVersionTooLarge { .. } => Code::OutOfRange,
        Error::TooLarge { .. } | Error::TooManyRequests { .. } => Code::ResourceExhausted,
        Error::Unavailable { .. } => Code::Unavailable,
        Error::Forbidden { .. } => Code::PermissionDenied,
        Error::Unauthorized { .. } => Code::Unauthenticated,
        Error::Internal { .. } => Code::Internal,
    }
}

/// The fields of an error that stand in the `ErrorInfo`; [`rebuilt`] reads them.
fn fields(error: &Error) -> HashMap<String, String> {
    let pairs: Vec<(&str, String)> = match error {
        Error::NotFound { resource, name } | Error::AlreadyExists { resource, name } => {
            vec![("resource", resource.clone()), ("name", name.clone())]
        }
        Error::Conflict { resource, name, why } => {
            vec![("resource", resource.clone()), ("name", name.clone()), ("why", why.clone())]
        }
        // The violations are in the `BadRequest`.
        Error::Invalid { kind, name, violations: _ } => vec![("kind", kind.clone()), ("name", name.clone())],
        Error::BadRequest { field: _, why: _ } => vec![],
        Error::UnsupportedMediaType { patch_type } => vec![("patchType", patch_type.clone())],
        Error::Expired { requested, oldest } => {
            vec![("requested", requested.to_string()), ("oldest", oldest.to_string())]
        }
        Error::ResourceVersionTooLarge { requested, current } => {
            vec![("requested", requested.to_string()), ("current", current.to_string())]
        }
        Error::TooLarge { what, limit, hint } => {
            vec![("what", what.clone()), ("limit", limit.clone()), ("hint", hint.clone())]
        }
        // The delay is in the `RetryInfo`; the cause stays at home, since it may hold secrets.
        Error::TooManyRequests { why, retry_after: _ }
        | Error::Unavailable { why, retry_after: _, cause: _ }
        | Error::Internal { why, cause: _ }
        | Error::UnprocessablePatch { why }
        | Error::Forbidden { why }
        | Error::Unauthorized { why } => vec![("why", why.clone())],
    };
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The error of a status.
///
/// A status from this server gives the error that the server had. Any other, from the transport or
/// from another server, gives the error that its code stands for.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    rebuilt(&status.get_error_details()).unwrap_or_else(|| by_code(status))
}

/// The error in the details; `None` where they are not this domain's, or incomplete.
fn rebuilt(details: &ErrorDetails) -> Option<Error> {
    let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    let text = |key: &str| info.metadata.get(key).cloned();
    let number = |key: &str| info.metadata.get(key)?.parse().ok();
    let violations = || details.bad_request().map_or(&[][..], |found| &found.field_violations);
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    let reason = REASONS.into_iter().find(|reason| reason.as_str() == info.reason)?;
    Some(match reason {
        Reason::NotFound => Error::NotFound { resource: text("resource")?, name: text("name")? },
        Reason::AlreadyExists => Error::AlreadyExists { resource: text("resource")?, name: text("name")? },
        Reason::Conflict => Error::Conflict { resource: text("resource")?, name: text("name")?, why: text("why")? },
        Reason::Invalid => {
            let violations =
                violations().iter().map(|found| FieldViolation::new(&found.field, &found.description)).collect();
            Error::Invalid { kind: text("kind")?, name: text("name")?, violations }
        }
        Reason::BadRequest => {
            let found = violations().first()?;
            Error::bad_request(&found.field, &found.description)
        }
        Reason::UnsupportedMediaType => Error::UnsupportedMediaType { patch_type: text("patchType")? },
        Reason::UnprocessableEntity => Error::UnprocessablePatch { why: text("why")? },
        Reason::Expired => Error::Expired { requested: number("requested")?, oldest: number("oldest")? },
        Reason::ResourceVersionTooLarge => {
            Error::ResourceVersionTooLarge { requested: number("requested")?, current: number("current")? }
        }
        Reason::RequestEntityTooLarge => {
            Error::TooLarge { what: text("what")?, limit: text("limit")?, hint: text("hint")? }
        }
        Reason::TooManyRequests => Error::TooManyRequests { why: text("why")?, retry_after: retry_after? },
        Reason::ServiceUnavailable => Error::Unavailable { why: text("why")?, retry_after, cause: Cause::unknown() },
        Reason::Forbidden => Error::Forbidden { why: text("why")? },
        Reason::Unauthorized => Error::Unauthorized { why: text("why")? },
        Reason::InternalError => Error::internal(text("why")?),
    })
}

/// Every reason; the round-trip test fails where one is missing.
const REASONS: [Reason; 15] = [
    Reason::NotFound,
    Reason::AlreadyExists,
    Reason::Conflict,
    Reason::Invalid,
    Reason::BadRequest,
    Reason::UnsupportedMediaType,
    Reason::UnprocessableEntity,
    Reason::Expired,
    Reason::ResourceVersionTooLarge,
    Reason::RequestEntityTooLarge,
    Reason::TooManyRequests,
    Reason::ServiceUnavailable,
    Reason::Forbidden,
    Reason::Unauthorized,
    Reason::InternalError,
];

/// The error that a status without our details stands for.
fn by_code(status: &Status) -> Error {
    use std::error::Error as _;

    let why = status.message().to_owned();
    // tonic's own codec refuses a message over the limit with OUT_OF_RANGE, which would read as Expired.
    if status.code() == Code::OutOfRange && why.contains("message length too large") {
        return too_large(why);
    }
    // A status that the transport made has a source, one that came over the wire has none.
    let local = status.source().is_some();
    match status.code() {
        // HTTP/2's "enhance your calm", which ends the connection, is RESOURCE_EXHAUSTED to tonic.
        Code::Unknown | Code::Internal | Code::ResourceExhausted if local => {
            unavailable(status, "the connection to the server failed".into())
        }
        Code::NotFound => {
            let (resource, name) = named(&why);
            Error::NotFound { resource, name }
        }
        Code::AlreadyExists => {
            let (resource, name) = named(&why);
            Error::AlreadyExists { resource, name }
        }
        Code::Aborted => {
            let (resource, name) = named(&why);
            Error::Conflict { resource, name, why }
        }
        Code::InvalidArgument | Code::FailedPrecondition => Error::bad_request("request", why),
        Code::OutOfRange => Error::Expired { requested: 0, oldest: 0 },
        Code::ResourceExhausted => too_large(why),
        Code::PermissionDenied => Error::Forbidden { why },
        Code::Unauthenticated => Error::Unauthorized { why },
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => unavailable(status, why),
        Code::Unimplemented => Error::internal(format!("the server does not know this call: {why}")),
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            Error::Internal { why, cause: Cause::of(status.clone()) }
        }
    }
}

fn unavailable(status: &Status, why: String) -> Error {
    Error::Unavailable { why, retry_after: Some(RECONNECT_AFTER), cause: Cause::of(status.clone()) }
}

fn too_large(why: String) -> Error {
    Error::TooLarge { what: "the request or its reply".into(), limit: "one message".into(), hint: why }
}

/// The resource and the name in a message of Kubernetes' wording, `… gpus "x" …`.
fn named(message: &str) -> (String, String) {
    let mut parts = message.splitn(3, '"');
    let resource = parts.next().and_then(|before| before.split_whitespace().next_back());
    match (resource, parts.next(), parts.next()) {
        (Some(resource), Some(name), Some(_)) => (resource.to_owned(), name.to_owned()),
        _ => ("object".to_owned(), message.to_owned()),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        to_status(&error)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        from_status(&status)
    }
}

/// The reply of a call, with its status as an error.
///
/// # Errors
/// The error of the status.
pub fn reply<T>(result: std::result::Result<tonic::Response<T>, Status>) -> Result<T> {
    result.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}
