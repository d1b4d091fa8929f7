// SPDX-License-Identifier: Apache-2.0
//! The body of an answer: in parts, paid for, and in flight until its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use device_api_core::Error;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::budget::{Budget, Share};
use super::in_flight::Call;
use crate::streams;

/// How much of an answer HTTP/2 has in hand at once, in bytes: the size of a frame.
const PART: usize = 16 << 10;

/// The body of an answer, whose call is in flight until it has ended or nobody wants it any more.
///
/// It hands itself over in parts, each when the peer took the one before, and each frame
/// holds a share of the budget until its last byte was sent.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    replies: Budget,
    /// What the service took for its reply.
    reserved: Option<Share>,
    /// What is not handed over yet of the frame before.
    rest: Bytes,
    _call: Call,
}

impl Answer {
    pub(super) fn new(response: &mut Response<Body>, replies: Budget, mut call: Call) -> Self {
        call.answered();
        let reserved = response.extensions_mut().remove();
        Self { body: std::mem::take(response.body_mut()), replies, reserved, rest: Bytes::new(), _call: call }
    }

    fn part(&mut self) -> Frame<Bytes> {
        let part = self.rest.split_to(self.rest.len().min(PART));
        streams::gave(part.len());
        Frame::data(part)
    }

    /// A frame that holds its share of the budget.
    fn paid(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        match self.reserved.take() {
            Some(share) => Ok(share.hold(bytes)),
            None => Ok(self.replies.try_take(bytes.len())?.hold(bytes)),
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        streams::asked();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.part())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)?) else { return Poll::Ready(None) };
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        Poll::Ready(Some(Ok(match self.paid(bytes) {
            Ok(bytes) => {
                self.rest = bytes;
                self.part()
            }
            Err(refusal) => {
                // Nothing of this frame was sent, so the stream may end here like any that fails.
                self.body = Body::empty();
                let mut trailers = HeaderMap::new();
                // What `to_status` makes always fits a header; without it the client sees a cut stream.
                let _ = Status::from(refusal).add_header(&mut trailers);
                Frame::trailers(trailers)
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
