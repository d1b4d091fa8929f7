// SPDX-License-Identifier: Apache-2.0
//! What a resource needs in order to be reached over gRPC.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use device_api_core::error::Cause;
use device_api_core::patch::Patch;
use device_api_core::registry::{
    DeleteParams, GetParams, List, ListParams, Part, PatchParams, PostParams, WatchEvent, WatchParams, WatchStream as _,
};
use device_api_core::resource::Resource;
use device_api_core::{Error, Result};
use futures_core::Stream;
use tonic::Status;

use crate::Client;

/// The calls of one resource type.
///
/// [`Gpu`](device_api_core::resource::Gpu) has them here. A resource of your own gets an
/// [`Api`](crate::Api) by an implementation of this trait, on the client that tonic generates for your
/// service: put it on [`Client::transport`], turn replies into objects, and statuses into errors with
/// [`status::reply`](device_api_core::proto::status::reply).
///
/// Names, namespaces and timeouts are the `Api`'s part: an implementation translates, calls, translates.
pub trait WireResource: Resource {
    /// Reads one object.
    fn get(
        client: &Client,
        namespace: &str,
        name: &str,
        params: &GetParams,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Lists objects.
    fn list(client: &Client, namespace: &str, params: &ListParams) -> impl Future<Output = Result<List<Self>>> + Send;

    /// Starts a watch.
    fn watch(
        client: &Client,
        namespace: &str,
        params: &WatchParams,
    ) -> impl Future<Output = Result<ApiWatch<Self>>> + Send;

    /// Creates an object.
    fn create(client: &Client, params: &PostParams, object: &Self) -> impl Future<Output = Result<Self>> + Send;

    /// Replaces a part of an object.
    fn replace(
        client: &Client,
        part: Part,
        params: &PostParams,
        object: &Self,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Patches a part of an object.
    fn patch(
        client: &Client,
        part: Part,
        namespace: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Deletes an object.
    fn delete(
        client: &Client,
        namespace: &str,
        name: &str,
        params: &DeleteParams,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// The stream of a remote watch.
///
/// It ends with `None` when the server ends the watch, and after an error. Dropping it ends the watch.
pub struct ApiWatch<R> {
    /// `None` once it has ended.
    events: Option<Events<R>>,
}

type Events<R> = Pin<Box<dyn Stream<Item = Result<WatchEvent<R>>> + Send>>;

impl<R> ApiWatch<R> {
    /// The watch of a stream of messages, each of which `event` turns into an event.
    #[must_use]
    pub fn new<M>(
        messages: impl Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
        event: impl Fn(M) -> Result<WatchEvent<R>> + Send + Unpin + 'static,
    ) -> Self
    where
        R: 'static,
        M: 'static,
    {
        Self { events: Some(Box::pin(Translated { messages, event })) }
    }

    /// The next event; `None` when the watch has ended. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<R>>>
    where
        R: 'static,
    {
        self.next_event().await
    }
}

impl<R> Stream for ApiWatch<R> {
    type Item = Result<WatchEvent<R>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let next = ready!(events.as_mut().poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            self.events = None;
        }
        Poll::Ready(next)
    }
}

impl<R> fmt::Debug for ApiWatch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiWatch").field("ended", &self.events.is_none()).finish_non_exhaustive()
    }
}

struct Translated<S, F> {
    messages: S,
    event: F,
}

impl<S, F, M, R> Stream for Translated<S, F>
where
    S: Stream<Item = Result<M, Status>> + Unpin,
    F: Fn(M) -> Result<WatchEvent<R>> + Unpin,
{
    type Item = Result<WatchEvent<R>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = ready!(Pin::new(&mut self.messages).poll_next(cx));
        Poll::Ready(message.map(|message| message.map_err(Error::from).and_then(&self.event)))
    }
}

/// What the server sent, as an error of the server where it does not fit: the caller did nothing wrong.
pub(crate) fn understood<T>(reply: Result<T>) -> Result<T> {
    reply.map_err(|error| match error {
        Error::Invalid { .. } => {
            Error::Internal { why: "the server's reply is not valid".to_owned(), cause: Cause::of(error) }
        }
        other => other,
    })
}
