// SPDX-License-Identifier: Apache-2.0
//! Watches: a cursor into the history of a cache.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::{Announced, Cache, Event};
use super::{Bookmark, WatchEvent};
use crate::Error;
use crate::resource::Resource;
use crate::selector::Selection;
use crate::storage::Revision;

/// How many events are taken from the history at a time: enough to spread the cost of the lock, few
/// enough that a slow reader pins little.
const BATCH: usize = 64;

/// A stream of the changes of one resource type, in the order of their resource versions.
///
/// It ends with `None` at its timeout or when the ledger closes: resume from the last version seen.
/// It ends with [`Error::Expired`] when its reader was so slow that history was forgotten: list again.
/// A watch costs its reader's place in the history and nothing else; dropping it ends it.
pub struct Watch<R> {
    stream: Pin<Box<dyn Stream<Item = Result<WatchEvent<R>, Error>> + Send>>,
}

impl<R> fmt::Debug for Watch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl<R> Stream for Watch<R> {
    type Item = Result<WatchEvent<R>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(context)
    }
}

impl<R: Resource> Watch<R> {
    pub(super) fn new(cursor: Cursor<R>) -> Self {
        let stream = futures_util::stream::unfold(cursor, |mut cursor| async move {
            let item = cursor.next().await?;
            Some((item, cursor))
        });
        // Whoever polls again after the end is told so again.
        Self { stream: Box::pin(stream.fuse()) }
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

/// A place in the history of a cache.
#[derive(Debug)]
pub(super) struct Cursor<R> {
    cache: Arc<Cache<R>>,
    doorbell: watch::Receiver<Announced>,
    selection: Selection,
    /// Everything up to here was read.
    revision: Revision,
    /// Read, but not yet handed out.
    ready: VecDeque<WatchEvent<R>>,
    timing: Timing,
    next_bookmark: Option<Instant>,
    ended: bool,
}

impl<R: Resource> Cursor<R> {
    /// A place after `revision`; `initial` is handed out first.
    pub(super) fn new(
        cache: Arc<Cache<R>>,
        selection: Selection,
        revision: Revision,
        initial: VecDeque<WatchEvent<R>>,
        timing: Timing,
    ) -> Self {
        let doorbell = cache.subscribe();
        let next_bookmark = timing.bookmark_interval.map(|interval| Instant::now() + interval);
        Self { cache, doorbell, selection, revision, ready: initial, timing, next_bookmark, ended: false }
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
            // Read before the history: what was announced by now is in the history by now.
            let announced = *self.doorbell.borrow_and_update();
            match self.cache.events_after(self.revision, BATCH) {
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
                        self.push_bookmark();
                    }
                }
            }
        }
    }

    fn postpone_bookmark(&mut self) {
        self.next_bookmark = self.timing.bookmark_interval.map(|interval| Instant::now() + interval);
    }

    fn push_bookmark(&mut self) {
        self.ready.push_back(WatchEvent::Bookmark(Bookmark {
            resource_version: self.revision.to_string(),
            initial_events_end: false,
        }));
    }

    fn end_with_bookmark(&mut self) {
        if self.timing.bookmark_interval.is_some() {
            self.push_bookmark();
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
