// SPDX-License-Identifier: Apache-2.0
//! What holds for every call, whatever its service: it ends in time, a panic ends one call only,
//! every refusal is one of this API's errors, and it counts as in flight until its answer has ended.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use device_api_core::Error;
use device_api_core::error::Cause;
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::in_flight::{Answer, InFlight};
use crate::units::Size;

/// How long a client should wait before it repeats a request that took too long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much of a method's name an error shows, in characters.
const MAX_METHOD: usize = 128;

/// Wraps every call in a [`Guarded`].
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) request_timeout: Duration,
    pub(crate) max_request_bytes: usize,
    pub(crate) in_flight: InFlight,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A service whose calls are guarded.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for Guarded<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Future: Send + 'static,
    ResponseBody: Default,
{
    type Response = Response<Answer<ResponseBody>>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let guard = self.guard.clone();
        let in_flight = guard.in_flight.call();
        let method = request.uri().path().to_owned();
        let call = self.inner.call(request);
        Box::pin(async move {
            // This bounds a unary call as a whole, its upload included, and of a stream the time until
            // it begins: its messages come later, in the body.
            let response = match tokio::time::timeout(guard.request_timeout, caught(call)).await {
                Ok(Ok(answer)) => {
                    let mut response = answer?;
                    reword(response.headers_mut(), &method, guard.max_request_bytes);
                    response
                }
                Ok(Err(panic)) => {
                    tracing::error!(method, panic = panic_text(&*panic), "a call panicked");
                    Status::from(Error::internal("the request failed in an unforeseen way")).into_http()
                }
                Err(_) => Status::from(timed_out(guard.request_timeout)).into_http(),
            };
            Ok(response.map(|body| Answer::new(body, in_flight)))
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

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind")
}

fn timed_out(limit: Duration) -> Error {
    let why = format!("the request took longer than {limit:?}; a write may have happened all the same");
    Error::Unavailable { why, retry_after: Some(RETRY_AFTER), cause: Cause::unknown() }
}

/// How tonic begins to tell that a message is none.
const MALFORMED: [&str; 4] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message with invalid compression flag",
];

/// What tonic refuses before a service sees it, in the words of this API. An oversize message is
/// OUT_OF_RANGE to tonic, which clients read as "your version expired, list again"; a message that is
/// none is INTERNAL, which stands for our own bugs. tonic tells them apart by their texts alone.
fn reword(headers: &mut HeaderMap, method: &str, limit: usize) {
    // The services' own errors have details, tonic's never do.
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    let why = status.message();
    let status = match status.code() {
        Code::OutOfRange if why.contains("message length too large") => Status::from(Error::TooLarge {
            what: "the request message".to_owned(),
            limit: Size(limit).to_string(),
            hint: "send less at once".to_owned(),
        }),
        Code::Internal if MALFORMED.iter().any(|start| why.starts_with(start)) => {
            Status::from(Error::bad_request("request", why))
        }
        Code::Unimplemented if why.is_empty() => {
            let method: String = method.chars().take(MAX_METHOD).collect();
            Status::unimplemented(format!("there is no method {method}: reflection lists those that there are"))
        }
        _ => return,
    };
    headers.remove(Status::GRPC_STATUS);
    headers.remove(Status::GRPC_MESSAGE);
    if status.add_header(headers).is_err() {
        // It writes base64 and percent-encoded text, which always fit a header.
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
}
