// SPDX-License-Identifier: Apache-2.0
//! A store's state and changes, as a stream.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use device_api_core::resource::Resource;
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Store;

/// What a [`Subscription`] tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Update<R> {
    /// The state: what was told before holds no more.
    Snapshot {
        /// All objects, sorted by namespace, then name.
        objects: Vec<Arc<R>>,
        /// How many changes were left out, because the subscriber was so slow; 0 at first.
        missed: u64,
    },
    /// The object is new, or has come to match the selector.
    Added(Arc<R>),
    /// The object has changed.
    Modified {
        /// As it was.
        before: Arc<R>,
        /// As it is.
        now: Arc<R>,
    },
    /// The object is gone: the last state of it that is known.
    Deleted(Arc<R>),
}

/// The state of a [`Store`] once it is ready, and then every change, in order, with no gap and none twice.
///
/// A subscriber that is slower than the changes by more than the reflector's
/// [`queue`](crate::ReflectorOptions::queue) gets a fresh [`Update::Snapshot`] in place of what it missed.
/// Nobody else waits for it. The stream ends when the reflector does: whoever missed something then, or comes later, still gets
/// a snapshot of the last state, unless the store never was ready.
///
/// ```
/// use device_api_client::core::resource::Gpu;
/// use device_api_client::{Store, Update};
///
/// async fn follow(gpus: &Store<Gpu>) {
///     let mut updates = gpus.subscribe();
///     while let Some(update) = updates.next().await {
///         match update {
///             Update::Snapshot { objects, .. } => println!("there are {} GPUs", objects.len()),
///             Update::Added(gpu) => println!("{} is new", gpu.metadata.name),
///             Update::Modified { now, .. } => println!("{} has changed", now.metadata.name),
///             Update::Deleted(gpu) => println!("{} is gone", gpu.metadata.name),
///         }
///     }
/// }
/// ```
pub struct Subscription<R> {
    updates: Pin<Box<dyn Stream<Item = Update<R>> + Send>>,
}

struct Place<R> {
    store: Store<R>,
    /// `None`: a snapshot is due.
    changes: Option<Receiver<Update<R>>>,
    missed: u64,
}

impl<R: Resource> Subscription<R> {
    pub(super) fn new(store: Store<R>) -> Self {
        let place = Place { store, changes: None, missed: 0 };
        let updates = futures_util::stream::unfold(place, |mut place| async move {
            let update = place.next().await?;
            Some((update, place))
        });
        Self { updates: Box::pin(updates.fuse()) }
    }

    /// What comes next; `None` when the reflector has ended and everything was told. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Update<R>> {
        self.updates.next().await
    }
}

impl<R: Resource> Place<R> {
    async fn next(&mut self) -> Option<Update<R>> {
        if let Some(changes) = &mut self.changes {
            match changes.recv().await {
                Ok(update) => return Some(update),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => {
                    // What is still in the queue is in the snapshot, too.
                    self.missed = missed + changes.len() as u64;
                    self.changes = None;
                }
            }
        }
        self.store.wait_until_ready().await.ok()?;
        let state = self.store.read();
        self.changes = Some(state.changes());
        Some(Update::Snapshot { objects: state.list(), missed: self.missed })
    }
}

impl<R> Stream for Subscription<R> {
    type Item = Update<R>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.as_mut().poll_next(context)
    }
}

impl<R> fmt::Debug for Subscription<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
