// SPDX-License-Identifier: Apache-2.0
//! Ends the streams of services that would not end them by themselves when the server shuts down.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

/// Ends the streams of a service once this token is cancelled and what was ready has been sent.
#[derive(Clone, Debug)]
pub(crate) struct Drain(pub(crate) CancellationToken);

impl<S> Layer<S> for Drain {
    type Service = Drained<S>;

    fn layer(&self, inner: S) -> Drained<S> {
        Drained { inner, draining: self.0.clone() }
    }
}

/// A service whose streams end with the server.
#[derive(Clone, Debug)]
pub(crate) struct Drained<S> {
    inner: S,
    draining: CancellationToken,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for Drained<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Future: Send + 'static,
    ResponseBody: Send + 'static,
{
    type Response = Response<DrainedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let call = self.inner.call(request);
        let draining = self.draining.clone();
        Box::pin(async move {
            Ok(call.await?.map(|body| DrainedBody {
                inner: Some(Box::pin(body)),
                draining: Box::pin(draining.child_token().cancelled_owned()),
            }))
        })
    }
}

/// A body that ends with the server.
pub(crate) struct DrainedBody<B> {
    /// `None` once the body was ended.
    inner: Option<Pin<Box<B>>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<B> fmt::Debug for DrainedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainedBody").field("ended", &self.inner.is_none()).finish_non_exhaustive()
    }
}

impl<B: Body> Body for DrainedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = inner.as_mut().poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.draining.as_mut().poll(context));
        self.inner = None;
        let mut trailers = http::HeaderMap::new();
        // The code and a plain text always fit a header; without them the client sees a cut stream.
        let _ = Status::unavailable("the server is shutting down").add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }
}
