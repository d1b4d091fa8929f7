// SPDX-License-Identifier: Apache-2.0
//! What an error may say in a status, in bytes.
//!
//! gRPC sends the message twice, percent-encoded in one header and raw in the details: twice
//! [`MESSAGE`], the largest error's fields (1.7 KiB) and 300 bytes of names and types stay under 4 KiB.

use crate::Error;
use crate::error::FieldViolation;

/// The longest message, percent-encoded.
const MESSAGE: usize = 1024;
/// The longest sentence.
const SENTENCE: usize = 1024;
/// All violations of an object together.
const VIOLATIONS: usize = 1280;
/// The sentence of one violation.
const VIOLATION: usize = 384;
/// The longest path of a field: a path of our own with a key of Kubernetes' in it.
const FIELD: usize = 384;
/// The longest name, as in Kubernetes.
const NAME: usize = 253;
/// The longest kind or plural, a limit or another word.
const WORD: usize = 63;

/// The error with texts that fit; an equal one, unless somebody sent a text that is too long.
pub(super) fn bounded(error: &Error) -> Error {
    let mut error = error.clone();
    match &mut error {
        Error::NotFound { resource, name } | Error::AlreadyExists { resource, name } => {
            cut(resource, WORD);
            cut(name, NAME);
        }
        Error::Conflict { resource, name, why } => {
            cut(resource, WORD);
            cut(name, NAME);
            cut(why, SENTENCE);
        }
        Error::Invalid { kind, name, violations } => {
            cut(kind, WORD);
            cut(name, NAME);
            cut_violations(violations);
        }
        Error::BadRequest { field, why } => {
            cut(field, FIELD);
            cut(why, SENTENCE);
        }
        Error::UnsupportedMediaType { patch_type } => cut(patch_type, NAME),
        Error::Expired { requested: _, oldest: _ } | Error::ResourceVersionTooLarge { requested: _, current: _ } => {}
        Error::TooLarge { what, limit, hint } => {
            cut(what, NAME);
            cut(limit, WORD);
            cut(hint, SENTENCE);
        }
        Error::TooManyRequests { why, retry_after: _ }
        | Error::Unavailable { why, retry_after: _, cause: _ }
        | Error::Internal { why, cause: _ }
        | Error::UnprocessablePatch { why }
        | Error::Forbidden { why }
        | Error::Unauthorized { why } => cut(why, SENTENCE),
    }
    error
}

const ELLIPSIS: &str = "…";

/// Cuts a text to at most `limit` bytes, the ellipsis included.
fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - ELLIPSIS.len()));
        text.push_str(ELLIPSIS);
    }
}

/// Keeps the violations that fit, and says how many more there are.
fn cut_violations(violations: &mut Vec<FieldViolation>) {
    let mut used = 0;
    let mut kept = 0;
    for violation in violations.iter_mut() {
        cut(&mut violation.field, FIELD);
        cut(&mut violation.why, VIOLATION);
        // Eight bytes are what the encoding adds.
        used += violation.field.len() + violation.why.len() + 8;
        if used > VIOLATIONS {
            break;
        }
        kept += 1;
    }
    let more = violations.len() - kept;
    if more > 0 {
        violations.truncate(kept);
        violations.push(FieldViolation::new(ELLIPSIS, format!("and {more} more")));
    }
}

/// Cuts a message so that, percent-encoded as gRPC sends it, it has at most [`MESSAGE`] bytes.
pub(super) fn cut_header(message: &str) -> String {
    let encoded = |char: char| if matches!(char, ' '..='~') && char != '%' { 1 } else { 3 * char.len_utf8() };
    let mut used = 0;
    let mut fits = 0;
    for (index, char) in message.char_indices() {
        used += encoded(char);
        if used > MESSAGE {
            let mut cut = message[..fits].to_owned();
            cut.push_str(ELLIPSIS);
            return cut;
        }
        // There must be room for the ellipsis.
        if used <= MESSAGE - 3 * ELLIPSIS.len() {
            fits = index + char.len_utf8();
        }
    }
    message.to_owned()
}
