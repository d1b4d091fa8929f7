// SPDX-License-Identifier: Apache-2.0
//! The tasks of HTTP/2's streams, which end when the peer takes too little of an answer.
//!
//! HTTP/2 asks a body for more only when the peer takes what there is: a body whose peer takes nothing
//! is not polled, so it cannot end itself. The task around it can. Its end resets the stream with
//! CANCEL and frees what the stream held; other streams of the connection go on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::peer::Peer;

/// How much a peer must take in the time that it has, in bytes, where there is so much: a slow one
/// passes, one that only pretends to read does not.
const LEAST: u64 = 1 << 20;
/// How long a peer may take nothing once the server is to end.
pub(crate) const LAST_PATIENCE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Of the answer that the present task sends.
    static SENDING: Arc<Sending>;
}

/// What a body tells the task that sends it. Both are on one thread at a time.
#[derive(Debug, Default)]
struct Sending {
    /// How many bytes the body gave.
    bytes: AtomicU64,
    /// Whether it was asked for nothing since.
    waiting: AtomicBool,
}

/// The body of the present task's answer was asked for more.
pub(crate) fn asked() {
    let _ = SENDING.try_with(|sending| sending.waiting.store(false, Ordering::Relaxed));
}

/// The body of the present task's answer gave so many bytes, which now wait for the peer.
pub(crate) fn gave(bytes: usize) {
    // Outside such a task, in a program that serves the answer itself, there is nobody to tell.
    let _ = SENDING.try_with(|sending| {
        sending.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        sending.waiting.store(true, Ordering::Relaxed);
    });
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) peer: Peer,
    /// How long the peer has to take [`LEAST`] bytes of an answer, or all that there are.
    pub(crate) patience: Duration,
    /// From then on the peer has [`LAST_PATIENCE`] to take anything at all.
    pub(crate) draining: CancellationToken,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // It ends with its connection, and counts as in flight until then.
        tokio::spawn(self.clone().run(stream));
    }
}

impl Streams {
    async fn run(self, stream: impl Future<Output = ()>) {
        let sending = Arc::new(Sending::default());
        let mut stream = pin!(SENDING.scope(Arc::clone(&sending), stream));
        let mut taken = 0;
        let mut deadline = None;
        poll_fn(|context| {
            if stream.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let bytes = sending.bytes.load(Ordering::Relaxed);
            if !sending.waiting.load(Ordering::Relaxed) {
                // The peer waits for us.
                deadline = None;
                return Poll::Pending;
            }
            let least = if self.draining.is_cancelled() { 1 } else { LEAST };
            if deadline.is_none() || bytes >= taken + least {
                taken = bytes;
                deadline = None;
            }
            ready!(deadline.get_or_insert_with(|| Box::pin(self.patience())).as_mut().poll(context));
            tracing::info!(peer = %self.peer, "reset a stream whose peer takes too little");
            Poll::Ready(())
        })
        .await;
    }

    async fn patience(&self) {
        let last = async {
            self.draining.cancelled().await;
            sleep(LAST_PATIENCE).await;
        };
        tokio::select! {
            () = sleep(self.patience) => {}
            () = last => {}
        }
    }
}
