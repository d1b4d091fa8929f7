// SPDX-License-Identifier: Apache-2.0
//! What a case checks: refusals, and the events of a watch.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Reason;
use crate::registry::{Bookmark, Verbs, WatchEvent, WatchParams, WatchStream};
use crate::resource::Resource;
use crate::{Error, Result};

/// How long a case waits for what must happen. It decides nothing but how long a hang takes to be
/// reported.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for what must happen.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing happened for {DEADLINE:?} while waiting for {what}"),
    }
}

/// The refusal of a request, which must have this reason.
#[track_caller]
pub(crate) fn refused<T: Debug>(outcome: Result<T>, reason: Reason, what: &str) -> Error {
    match outcome {
        Err(error) if error.reason() == reason => error,
        Err(error) => panic!("{what}: expected {reason:?}, got {:?}: {error}", error.reason()),
        Ok(value) => panic!("{what}: expected {reason:?}, but it succeeded: {value:?}"),
    }
}

/// The refusal of a request, which must be one of those that gRPC calls INVALID_ARGUMENT.
#[track_caller]
pub(crate) fn refused_as_invalid<T: Debug>(outcome: Result<T>, what: &str) -> Error {
    match outcome {
        Err(error) if error.is_invalid() => error,
        Err(error) => panic!("{what}: expected INVALID_ARGUMENT, got {:?}: {error}", error.reason()),
        Ok(value) => panic!("{what}: expected INVALID_ARGUMENT, but it succeeded: {value:?}"),
    }
}

/// The refusal of an object, which must name this field or one within it.
#[track_caller]
pub(crate) fn refused_field<T: Debug>(outcome: Result<T>, field: &str, what: &str) -> Error {
    let error = refused(outcome, Reason::Invalid, what);
    assert!(
        error.violations().iter().any(|violation| violation.field.starts_with(field)),
        "{what}: expected a violation of {field}, got {:?}",
        error.violations()
    );
    error
}

/// The names of objects, in their order.
pub(crate) fn names<R: Resource>(objects: &[Arc<R>]) -> Vec<&str> {
    objects.iter().map(|object| object.metadata().name.as_str()).collect()
}

/// The events of a watch, in the order in which they come.
#[derive(Debug)]
pub(crate) struct Events<S> {
    stream: S,
}

impl<S> Events<S> {
    /// Starts a watch, which must succeed.
    pub(crate) async fn of<R, A>(api: &A, params: WatchParams) -> Self
    where
        R: Resource,
        A: Verbs<R, Watch = S>,
    {
        match within("a watch to start", api.watch(&params)).await {
            Ok(stream) => Self { stream },
            Err(error) => panic!("the watch {params:?} must start, but: {error}"),
        }
    }
}

impl<S> Events<S> {
    /// The next item, or `None` where the server ended the watch.
    pub(crate) async fn next<R: Resource>(&mut self, what: &str) -> Option<Result<WatchEvent<R>>>
    where
        S: WatchStream<R>,
    {
        within(what, self.stream.next_event()).await
    }

    /// The next event, which must come.
    pub(crate) async fn event<R: Resource>(&mut self, what: &str) -> WatchEvent<R>
    where
        S: WatchStream<R>,
    {
        match self.next(what).await {
            Some(Ok(event)) => event,
            Some(Err(error)) => panic!("expected {what}, but the watch failed: {error}"),
            None => panic!("expected {what}, but the watch ended"),
        }
    }

    /// The next event's object: it must be ADDED and of this name.
    pub(crate) async fn added<R: Resource>(&mut self, name: &str) -> Arc<R>
    where
        S: WatchStream<R>,
    {
        match self.event(&format!("ADDED {name}")).await {
            WatchEvent::Added(object) if object.metadata().name == name => object,
            other => panic!("expected ADDED {name}, got {other:?}"),
        }
    }

    /// The next event's object: it must be MODIFIED and of this name.
    pub(crate) async fn modified<R: Resource>(&mut self, name: &str) -> Arc<R>
    where
        S: WatchStream<R>,
    {
        match self.event(&format!("MODIFIED {name}")).await {
            WatchEvent::Modified(object) if object.metadata().name == name => object,
            other => panic!("expected MODIFIED {name}, got {other:?}"),
        }
    }

    /// The next event's object: it must be DELETED and of this name.
    pub(crate) async fn deleted<R: Resource>(&mut self, name: &str) -> Arc<R>
    where
        S: WatchStream<R>,
    {
        match self.event(&format!("DELETED {name}")).await {
            WatchEvent::Deleted(object) if object.metadata().name == name => object,
            other => panic!("expected DELETED {name}, got {other:?}"),
        }
    }

    /// The next event, which must be a bookmark.
    pub(crate) async fn bookmark<R: Resource>(&mut self) -> Bookmark
    where
        S: WatchStream<R>,
    {
        match self.event("a BOOKMARK").await {
            WatchEvent::Bookmark(bookmark) => bookmark,
            other => panic!("expected a BOOKMARK, got {other:?}"),
        }
    }

    /// Everything up to the end, which must be OK.
    pub(crate) async fn until_ok<R: Resource>(&mut self) -> Vec<WatchEvent<R>>
    where
        S: WatchStream<R>,
    {
        let mut events = Vec::new();
        loop {
            match self.next("the end of the watch").await {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => panic!("the watch must end with OK, but: {error}"),
                None => return events,
            }
        }
    }

    /// Everything up to the failure, which must come and must be the last item.
    pub(crate) async fn until_failure<R: Resource>(&mut self) -> (Vec<WatchEvent<R>>, Error)
    where
        S: WatchStream<R>,
    {
        let mut events = Vec::new();
        loop {
            match self.next("the watch to fail").await {
                Some(Ok(event)) => events.push(event),
                Some(Err(error)) => {
                    assert!(self.next("the end after a failure").await.is_none(), "nothing may follow a failure");
                    return (events, error);
                }
                None => panic!("the watch must fail, but it ended with OK after {events:?}"),
            }
        }
    }
}

/// Why a watch is refused. In process that is known at once, over the wire perhaps only when the
/// stream is read; no event may come before it.
pub(crate) async fn watch_refusal<R: Resource, A: Verbs<R>>(api: &A, params: &WatchParams) -> Result<()> {
    let stream = within("a watch to be refused", api.watch(params)).await?;
    let (events, error) = Events { stream }.until_failure().await;
    assert!(events.is_empty(), "a refused watch sends no event, got {events:?}");
    Err(error)
}
