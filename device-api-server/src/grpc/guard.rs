// SPDX-License-Identifier: Apache-2.0
//! What holds for every call, whatever its service: it ends in time, a panic ends one call only,
//! every refusal is one of this API's errors, and it counts as in flight until its answer has ended.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use device_api_core::Error;
use device_api_core::error::Cause;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::answer::Answer;
use super::budget::Budget;
use super::in_flight::InFlight;
use super::refusals::{Refusals, is_refusal};
use super::upload::{Arrived, Upload};
use crate::error::panic_text;
use crate::peer::Peer;
use crate::units::Size;

/// How long a client should wait before it repeats a request that took too long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much of a method's name an error shows, in characters.
const MAX_METHOD: usize = 128;

/// What holds for the calls of every connection, or of one. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) routes: Routes,
    pub(crate) request_timeout: Duration,
    pub(crate) in_flight: InFlight,
    /// A service finds it among the request's extensions.
    pub(crate) replies: Budget,
    pub(crate) uploads: Budget,
    pub(crate) refusals: Refusals,
}

impl Guard {
    /// What holds for the calls of one more connection.
    pub(crate) fn of_connection(&self) -> Self {
        Self {
            in_flight: self.in_flight.of_connection(),
            replies: self.replies.of_connection(),
            uploads: self.uploads.of_connection(),
            refusals: Refusals::new(),
            ..self.clone()
        }
    }

    /// The services for the calls of this peer.
    pub(crate) fn of(self, peer: Peer) -> Guarded {
        Guarded { guard: self, peer }
    }
}

/// The services, guarded, for one connection.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    guard: Guard,
    peer: Peer,
}

impl Service<Request<Incoming>> for Guarded {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let limit = self.guard.request_timeout;
        let (in_flight, replies) = (self.guard.in_flight.call(), self.guard.replies.clone());
        let method = request.uri().path().to_owned();
        let (peer, refusals) = (self.peer, self.guard.refusals.clone());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(replies.clone());
        let arrived = Arrived::new(self.guard.uploads.clone());
        let request = request.map(|body| Upload::new(body, &arrived));
        // The routes are always ready.
        let call = self.guard.routes.clone().call(request);
        Box::pin(async move {
            // This bounds a unary call as a whole, its upload included, and of a stream the time until
            // it begins: its messages come later, in the body.
            let mut response = match tokio::time::timeout(limit, caught(call)).await {
                Ok(Ok(answer)) => {
                    let mut response = answer?;
                    reword(response.headers_mut(), &method);
                    response
                }
                Ok(Err(panic)) => {
                    tracing::error!(method, panic = panic_text(&*panic), "a call panicked");
                    Status::from(Error::internal("the request failed in an unforeseen way")).into_http()
                }
                Err(_) => Status::from(timed_out(limit)).into_http(),
            };
            drop(arrived);
            if is_refusal(response.headers())
                && let Some(slowed) = refusals.note()
            {
                if slowed.is_news {
                    let why = Status::from_header_map(response.headers());
                    let why = why.as_ref().map(Status::message).unwrap_or_default();
                    let method = shown(&method);
                    tracing::warn!(%peer, method, why, "a client repeats calls that are refused: they are slowed down");
                }
                tokio::time::sleep(slowed.pause).await;
            }
            let answer = Answer::new(&mut response, replies, in_flight);
            Ok(response.map(|_| answer))
        })
    }
}

/// The future's output, or what it panicked with.
async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // After a panic the future is not polled again; what it shared with others is the registry, whose
    // locks are never poisoned by a reader.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn timed_out(limit: Duration) -> Error {
    let why = format!("the request took longer than {limit:?}; a write may have happened all the same");
    Error::Unavailable { why, retry_after: Some(RETRY_AFTER), cause: Cause::unknown() }
}

/// A method's name as an error or the log shows it.
fn shown(method: &str) -> String {
    method.chars().take(MAX_METHOD).collect()
}

/// How tonic begins to tell that a message is none.
const MALFORMED: [&str; 6] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message with invalid compression flag",
    // gRPC's own documents would have it INTERNAL; the fault is no less the client's.
    "protocol error: received message with compressed-flag but no grpc-encoding",
    "Error decompressing",
];

/// What tonic refuses before a service sees it, in the words of this API. An oversize message is
/// OUT_OF_RANGE to tonic, which clients read as "your version expired, list again"; a message that is
/// none is INTERNAL, which stands for our own bugs. tonic tells them apart by their texts alone.
fn reword(headers: &mut HeaderMap, method: &str) {
    // The services' own errors have details, tonic's never do.
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    let why = status.message();
    let status = match status.code() {
        Code::OutOfRange if why.contains("message length too large") => {
            // Each service has a limit of its own.
            let limit = why.rsplit_once("the limit is: ").map_or(why, |(_, limit)| limit);
            let bytes = limit.strip_suffix(" bytes").and_then(|bytes| bytes.parse().ok());
            Status::from(Error::TooLarge {
                what: "the request message".to_owned(),
                limit: bytes.map_or_else(|| limit.to_owned(), |bytes| Size(bytes).to_string()),
                hint: "send less at once".to_owned(),
            })
        }
        Code::Internal if MALFORMED.iter().any(|start| why.starts_with(start)) => {
            Status::from(Error::bad_request("request", why))
        }
        Code::Unimplemented if why.is_empty() => Status::unimplemented(format!(
            "there is no method {}: reflection lists those that there are",
            shown(method)
        )),
        _ => return,
    };
    headers.remove(Status::GRPC_STATUS);
    headers.remove(Status::GRPC_MESSAGE);
    if status.add_header(headers).is_err() {
        // It writes base64 and percent-encoded text, which always fit a header.
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
}
