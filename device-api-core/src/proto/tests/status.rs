// SPDX-License-Identifier: Apache-2.0
//! Errors through statuses and back.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::Error;
use crate::error::{Cause, FieldViolation};
use crate::proto::status::{ERROR_DOMAIN, from_status, to_status};
use crate::resource::Gpu;

/// An error of each variant, and the code that existing clients decide by.
///
/// The match is a chain through all variants, so that a new one does not compile without a case.
fn samples(text: &str) -> Vec<(Error, Code)> {
    let own = || text.to_owned();
    let first = Error::NotFound { resource: own(), name: own() };
    let next = |error: &Error| match error {
        Error::NotFound { .. } => (Code::NotFound, Some(Error::AlreadyExists { resource: own(), name: own() })),
        Error::AlreadyExists { .. } => {
            (Code::AlreadyExists, Some(Error::Conflict { resource: own(), name: own(), why: own() }))
        }
        Error::Conflict { .. } => {
            let violations = vec![FieldViolation::new(own(), own()), FieldViolation::new("b", "c")];
            (Code::Aborted, Some(Error::Invalid { kind: own(), name: own(), violations }))
        }
        Error::Invalid { .. } => (Code::InvalidArgument, Some(Error::bad_request(own(), own()))),
        Error::BadRequest { .. } => (Code::InvalidArgument, Some(Error::UnsupportedMediaType { patch_type: own() })),
        Error::UnsupportedMediaType { .. } => (Code::InvalidArgument, Some(Error::unprocessable(own()))),
        Error::UnprocessablePatch { .. } => {
            (Code::InvalidArgument, Some(Error::Expired { requested: 1, oldest: u64::MAX }))
        }
        Error::Expired { .. } => {
            (Code::OutOfRange, Some(Error::ResourceVersionTooLarge { requested: u64::MAX, current: 1 }))
        }
        Error::ResourceVersionTooLarge { .. } => {
            (Code::OutOfRange, Some(Error::TooLarge { what: own(), limit: own(), hint: own() }))
        }
        Error::TooLarge { .. } => (
            Code::ResourceExhausted,
            Some(Error::TooManyRequests { why: own(), retry_after: Duration::from_millis(1) }),
        ),
        Error::TooManyRequests { .. } => {
            let retry_after = Some(Duration::from_secs(3));
            (Code::ResourceExhausted, Some(Error::Unavailable { why: own(), retry_after, cause: Cause::unknown() }))
        }
        Error::Unavailable { .. } => (Code::Unavailable, Some(Error::Forbidden { why: own() })),
        Error::Forbidden { .. } => (Code::PermissionDenied, Some(Error::Unauthorized { why: own() })),
        Error::Unauthorized { .. } => (Code::Unauthenticated, Some(Error::internal(own()))),
        Error::Internal { .. } => (Code::Internal, None),
    };
    let mut all = Vec::new();
    let mut error = Some(first);
    while let Some(current) = error {
        let (code, following) = next(&current);
        all.push((current, code));
        error = following;
    }
    all
}

#[test]
fn every_error_keeps_its_code_and_is_rebuilt_equal() {
    for (error, code) in samples("x \"y\" 100% ü\n") {
        let status = to_status(&error);
        assert_eq!(status.code(), code, "{error}");
        assert_eq!(status.message(), error.to_string());
        assert_eq!(from_status(&status), error);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), (ERROR_DOMAIN, error.reason().as_str()));
    }
}

#[test]
fn a_retry_is_told_only_where_it_helps() {
    let gone = Error::Unavailable { why: "closing".into(), retry_after: None, cause: Cause::unknown() };
    assert_eq!(from_status(&to_status(&gone)).retry_after(), None);
    for (error, _) in samples("x") {
        let status = to_status(&error);
        let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(delay, error.retry_after(), "{error}");
    }
}

#[test]
fn a_cause_stays_at_home() {
    let error = Error::Internal { why: "w".into(), cause: Cause::of(std::io::Error::other("secret")) };
    assert!(!format!("{:?}", to_status(&error)).contains("secret"));
}

#[test]
fn hostile_texts_cannot_blow_the_header_limits() {
    for unit in ["x", "%", "ü", "\u{1}", "\u{10ffff}", "\""] {
        let text = unit.repeat(100_000);
        let mut errors: Vec<_> = samples(&text).into_iter().map(|(error, _)| error).collect();
        errors.push(Error::invalid::<Gpu>(&text, vec![FieldViolation::new(text.clone(), text.clone()); 100]));
        errors.push(Error::invalid::<Gpu>("x", vec![FieldViolation::new("f", "w"); 100_000]));
        for error in errors {
            let status = to_status(&error);
            let size = status.message().len() + status.details().len();
            assert!(size < 4096, "{size} bytes for {:?} of {unit:?}", error.reason());
            // What travels is percent-encoded and in base64.
            let mut headers = tonic::codegen::http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let size: usize = headers.values().map(|value| value.len()).sum();
            assert!(size < 7 * 1024, "{size} bytes of headers for {:?} of {unit:?}", error.reason());
            assert_eq!(from_status(&status).reason(), error.reason());
        }
    }
}

#[test]
fn violations_that_do_not_fit_are_counted() {
    let violations: Vec<_> = (0..1000).map(|index| FieldViolation::new(format!("f[{index}]"), "is wrong")).collect();
    let error = from_status(&to_status(&Error::invalid::<Gpu>("x", violations.clone())));
    let (last, kept) = error.violations().split_last().unwrap();
    assert!(kept.len() > 10);
    assert_eq!(kept, &violations[..kept.len()]);
    assert_eq!(last.why, format!("and {} more", 1000 - kept.len()));
}

#[test]
fn a_status_without_our_details_gives_the_error_of_its_code() {
    let error = |code, message: &str| from_status(&Status::new(code, message));
    assert_eq!(error(Code::NotFound, r#"gpus "x" not found"#), Error::not_found::<Gpu>("x"));
    assert_eq!(error(Code::AlreadyExists, r#"gpus "x" already exists"#), Error::already_exists::<Gpu>("x"));
    assert!(error(Code::NotFound, "nothing here").is_not_found());
    assert!(error(Code::Aborted, r#"… on gpus "x": modified"#).is_conflict());
    assert!(error(Code::InvalidArgument, "w").is_invalid());
    assert!(error(Code::OutOfRange, "w").is_expired());
    assert!(error(Code::ResourceExhausted, "w").is_too_large());
    assert!(error(Code::PermissionDenied, "w").is_forbidden());
    assert!(error(Code::Unauthenticated, "w").is_forbidden());
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled] {
        assert!(error(code, "w").is_unavailable() && error(code, "w").is_retryable(), "{code:?}");
    }
    for code in [Code::Unimplemented, Code::Unknown, Code::Internal, Code::DataLoss] {
        assert_eq!(error(code, "w").reason(), crate::error::Reason::InternalError, "{code:?}");
    }
}

#[test]
fn a_message_over_the_codecs_limit_is_too_large_and_not_expired() {
    let message = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
    assert!(from_status(&Status::out_of_range(message)).is_too_large());
}

#[test]
fn a_broken_connection_is_unavailable_and_keeps_its_cause() {
    let status = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
    let error = from_status(&status);
    assert!(error.is_retryable(), "{error}");
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("broken pipe"), "{source}");
}

#[test]
fn a_connection_that_the_server_ended_for_too_much_at_once_is_unavailable_too() {
    #[derive(Debug, thiserror::Error)]
    #[error("http2 error")]
    struct Transport(#[source] Status);
    let status = Status::from_error(Box::new(Transport(Status::resource_exhausted("ENHANCE_YOUR_CALM"))));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(from_status(&status).is_retryable(), "{:?}", from_status(&status));
}

#[test]
fn details_that_are_foreign_or_incomplete_fall_back_to_the_code() {
    let details = |reason: &str, domain: &str| {
        let details = tonic_types::ErrorDetails::with_error_info(reason, domain, [("name".to_owned(), "x".to_owned())]);
        from_status(&Status::with_error_details(Code::NotFound, r#"nics "y" not found"#, details))
    };
    let expected = Error::NotFound { resource: "nics".into(), name: "y".into() };
    assert_eq!(details("NotFound", "example.com"), expected);
    assert_eq!(details("NotFound", ERROR_DOMAIN), expected);
    assert_eq!(details("Surprise", ERROR_DOMAIN), expected);
}
