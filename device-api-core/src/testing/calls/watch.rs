// SPDX-License-Identifier: Apache-2.0
//! A watch that breaks off, ends or falls silent on purpose.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::faults::{CallFaults, WatchFault};
use crate::Error;

/// The stream of a watch that [`CallFaults`] can break.
pub struct FaultyWatch<I> {
    stream: Pin<Box<dyn Stream<Item = I> + Send>>,
}

impl<I> Stream for FaultyWatch<I> {
    type Item = I;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<I>> {
        self.stream.as_mut().poll_next(context)
    }
}

impl<I> fmt::Debug for FaultyWatch<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyWatch").finish_non_exhaustive()
    }
}

impl<T, E> FaultyWatch<Result<T, E>>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    pub(super) fn new<S>(stream: S, fault: Option<WatchFault>, cuts: watch::Receiver<u64>) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + Unpin + 'static,
    {
        let faulty = Faulty { stream, fault, cuts, sent: 0, ended: false };
        let stream = futures_util::stream::unfold(faulty, |mut faulty| async move {
            let item = faulty.next().await?;
            Some((item, faulty))
        });
        // Whoever polls again after the end is told so again.
        Self { stream: Box::pin(stream.fuse()) }
    }
}

struct Faulty<S> {
    stream: S,
    fault: Option<WatchFault>,
    cuts: watch::Receiver<u64>,
    sent: usize,
    ended: bool,
}

impl<S, T, E> Faulty<S>
where
    S: Stream<Item = Result<T, E>> + Unpin,
    E: From<Error>,
{
    async fn next(&mut self) -> Option<Result<T, E>> {
        if self.ended {
            return None;
        }
        let item = match self.fault {
            Some(WatchFault::CutAfter(events)) if self.sent >= events => Some(Err(CallFaults::lost().into())),
            Some(WatchFault::EndAfter(events)) if self.sent >= events => None,
            Some(WatchFault::StallAfter(events)) if self.sent >= events => self.silence().await,
            _ => self.item().await,
        };
        self.sent += 1;
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }

    /// The next item, or that the watch was cut.
    async fn item(&mut self) -> Option<Result<T, E>> {
        tokio::select! {
            // A connection that is lost takes along what was under way.
            biased;
            Ok(()) = self.cuts.changed() => Some(Err(CallFaults::lost().into())),
            item = self.stream.next() => item,
        }
    }

    /// Reads what comes and says nothing of it, until the end.
    async fn silence(&mut self) -> Option<Result<T, E>> {
        loop {
            match self.item().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    }
}
