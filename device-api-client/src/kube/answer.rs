// SPDX-License-Identifier: Apache-2.0
//! Answers: JSON, or lines of JSON for as long as a watch lasts.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use device_api_core::{Error, Result};
use futures_core::Stream;
use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde::Serialize;

use super::status::Status;

/// The body of an answer.
pub struct Answer(UnsyncBoxBody<Bytes, Infallible>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// An answer that is this value.
pub(super) fn json(value: &impl Serialize) -> Result<Response<Answer>> {
    encode(value).map(|json| response(StatusCode::OK, Answer(Full::from(json).boxed_unsync())))
}

/// The same answer, to a request that has made something.
pub(super) fn created(value: &impl Serialize) -> Result<Response<Answer>> {
    let mut response = json(value)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// An answer that is a `Status`, with its code.
pub(super) fn status(status: &Status) -> Response<Answer> {
    // Strings and numbers: it is encoded, whatever they say.
    let json = encode(status).unwrap_or_default();
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(code, Answer(Full::from(json).boxed_unsync()));
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An answer of as many lines as the stream has.
pub(super) fn lines(lines: impl Stream<Item = Vec<u8>> + Send + 'static) -> Response<Answer> {
    let frames = lines.map(|line| Ok(Frame::data(Bytes::from(line))));
    response(StatusCode::OK, Answer(StreamBody::new(frames).boxed_unsync()))
}

/// The JSON of a value.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format!("an answer cannot be encoded: {error}")))
}

fn response(code: StatusCode, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
