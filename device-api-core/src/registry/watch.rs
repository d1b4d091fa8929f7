// SPDX-License-Identifier: Apache-2.0
//! Watches: a cursor into the history of a cache.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::consume_budget;
use tokio::time::Instant;

use super::cache::{Announced, Cache, Event};
use super::ledger::panic_text;
use super::{Bookmark, WatchEvent};
use crate::Error;
use crate::resource::{Key, Resource};
use crate::selector::Selection;
use crate::storage::Revision;

/// How many events are taken at a time, and of how many bytes of JSON: enough to spread the cost of
/// the lock, few enough that a slow reader pins little.
const BATCH: (usize, usize) = (64, 256 << 10);

/// A stream of the changes of one resource type, in the order of their resource versions.
///
/// It ends with `None` at its timeout or when the ledger closes: resume from the last version seen.
/// It ends with [`Error::Expired`] when its reader was so slow that history was forgotten: list again.
/// A watch costs its reader's place in the history and nothing else; dropping it ends it.
pub struct Watch<R> {
    stream: Pin<Box<dyn Stream<Item = Result<WatchEvent<R>, Error>> + Send>>,
    /// Whether the stream did, and must not be polled again.
    has_panicked: bool,
}

impl<R> fmt::Debug for Watch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl<R> Stream for Watch<R> {
    type Item = Result<WatchEvent<R>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_panicked {
            return Poll::Ready(None);
        }
        // Selecting runs the type's own code: what that does wrong ends this watch, and nothing beside it.
        catch_unwind(AssertUnwindSafe(|| self.stream.as_mut().poll_next(context))).unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "a watch panicked");
            self.has_panicked = true;
            Poll::Ready(Some(Err(Error::internal("the watch failed in the server"))))
        })
    }
}

impl<R: Resource> Watch<R> {
    pub(super) fn new(cursor: Cursor<R>) -> Self {
        let stream = futures_util::stream::unfold(cursor, |mut cursor| async move {
            let item = cursor.next().await?;
            Some((item, cursor))
        });
        // Whoever polls again after the end is told so again.
        Self { stream: Box::pin(stream.fuse()), has_panicked: false }
    }

    /// The next event; `None` when the watch has ended. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<R>, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

/// How a watch ends, and what it says while nothing happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// When the watch ends.
    pub(super) deadline: Instant,
    /// How long a stream stays quiet before a bookmark; `None`: there are none.
    pub(super) bookmark_interval: Option<Duration>,
}

/// The state that a watch starts with: names, not objects, so that a reader that never comes back
/// keeps nothing alive.
#[derive(Debug)]
pub(super) struct Initial {
    /// The selected objects and their revisions, in the order of those.
    pub(super) objects: VecDeque<(Revision, Key)>,
    /// Whether a bookmark says that this was all.
    pub(super) end_bookmark: bool,
}

/// A place in the history of a cache.
#[derive(Debug)]
pub(super) struct Cursor<R> {
    cache: Arc<Cache<R>>,
    doorbell: watch::Receiver<Announced>,
    selection: Selection,
    /// Everything up to here was read.
    revision: Revision,
    /// What of the state at that revision is still to be handed out, before anything else is read.
    initial: Option<Initial>,
    /// Read, but not yet handed out.
    ready: VecDeque<WatchEvent<R>>,
    timing: Timing,
    next_bookmark: Option<Instant>,
    ended: bool,
}

impl<R: Resource> Cursor<R> {
    /// A place after `revision`; `initial`, of that revision, is handed out first.
    pub(super) fn new(
        cache: Arc<Cache<R>>,
        selection: Selection,
        revision: Revision,
        initial: Option<Initial>,
        timing: Timing,
    ) -> Self {
        let doorbell = cache.subscribe();
        let ready = VecDeque::new();
        let mut cursor =
            Self { cache, doorbell, selection, revision, initial, ready, timing, next_bookmark: None, ended: false };
        cursor.postpone_bookmark();
        cursor
    }

    async fn next(&mut self) -> Option<Result<WatchEvent<R>, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.postpone_bookmark();
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            if Instant::now() >= self.timing.deadline {
                self.end_with_bookmark();
                continue;
            }
            // However much a selector rejects, others come to their turn.
            consume_budget().await;
            if let Some(initial) = &mut self.initial {
                let next = &*initial.objects.make_contiguous();
                if next.is_empty() {
                    if initial.end_bookmark {
                        self.push_bookmark(true);
                    }
                    self.initial = None;
                    continue;
                }
                match self.cache.objects_at(self.revision, &next[..next.len().min(BATCH.0)], BATCH.1) {
                    Ok(objects) => {
                        initial.objects.drain(..objects.len());
                        self.ready.extend(objects.into_iter().map(|stored| WatchEvent::Added(stored.object)));
                    }
                    Err(expired) => {
                        self.ended = true;
                        return Some(Err(expired));
                    }
                }
                continue;
            }
            // Read before the history: what was announced by now is in the history by now.
            let announced = *self.doorbell.borrow_and_update();
            match self.cache.events_after(self.revision, BATCH.0, BATCH.1) {
                Err(expired) => {
                    self.ended = true;
                    return Some(Err(expired));
                }
                Ok(events) if events.is_empty() => self.revision = self.revision.max(announced.revision),
                Ok(events) => {
                    for event in events {
                        self.revision = event.revision;
                        self.ready.extend(select(&self.selection, &event));
                    }
                    continue;
                }
            }
            if announced.closed {
                self.end_with_bookmark();
                continue;
            }
            let wake = self.next_bookmark.map_or(self.timing.deadline, |at| at.min(self.timing.deadline));
            tokio::select! {
                changed = self.doorbell.changed() => {
                    if changed.is_err() {
                        self.ended = true;
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if wake < self.timing.deadline {
                        self.push_bookmark(false);
                    }
                }
            }
        }
    }

    fn postpone_bookmark(&mut self) {
        // An interval without an end is a way to say never.
        self.next_bookmark = self.timing.bookmark_interval.and_then(|interval| Instant::now().checked_add(interval));
    }

    fn push_bookmark(&mut self, initial_events_end: bool) {
        self.ready.push_back(WatchEvent::Bookmark(Bookmark {
            resource_version: self.revision.to_string(),
            initial_events_end,
        }));
    }

    fn end_with_bookmark(&mut self) {
        // In the midst of the initial events, nobody may resume from their revision.
        if self.timing.bookmark_interval.is_some() && self.initial.is_none() {
            self.push_bookmark(false);
        }
        self.ended = true;
    }
}

/// What an event is to a watch with a selector: an object enters and leaves the selection.
fn select<R: Resource>(selection: &Selection, event: &Event<R>) -> Option<WatchEvent<R>> {
    let selected = |stored: &&super::cache::Stored<R>| selection.matches(&*stored.object);
    let before = event.previous.as_ref().filter(selected);
    let after = event.current.as_ref().filter(selected);
    match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some(WatchEvent::Added(Arc::clone(&after.object))),
        (Some(_), Some(after)) => Some(WatchEvent::Modified(Arc::clone(&after.object))),
        (Some(before), None) => {
            // The last state that was selected, with the version of the change that ended it: that
            // is what a client resumes from.
            let mut last = R::clone(&before.object);
            last.metadata_mut().resource_version = event.revision.to_string();
            Some(WatchEvent::Deleted(Arc::new(last)))
        }
    }
}
