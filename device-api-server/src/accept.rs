// SPDX-License-Identifier: Apache-2.0
//! Accepting connections: without spinning where that fails, and only from peers that begin to speak.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::authority::Scan;
use crate::peer::Peer;

/// How long a peer has to send the preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// The length of that preface, in bytes.
const PREFACE: usize = 24;

/// The pause after a failure to accept: the first, and the longest after more of them.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The connections of a listener.
#[derive(Debug)]
pub(crate) struct Incoming {
    listener: UnixListener,
    /// Each in the place of the one before.
    listeners: mpsc::Receiver<UnixListener>,
    /// Who connected to the one before and was not accepted yet.
    queued: VecDeque<UnixStream>,
    draining: CancellationToken,
    back_off: Duration,
}

impl Incoming {
    pub(crate) fn new(
        listener: UnixListener,
        listeners: mpsc::Receiver<UnixListener>,
        draining: CancellationToken,
    ) -> Self {
        Self { listener, listeners, queued: VecDeque::new(), draining, back_off: BACK_OFF.0 }
    }

    /// Accepts from this listener from now on.
    fn replace(&mut self, listener: UnixListener) {
        let before = std::mem::replace(&mut self.listener, listener).into_std();
        // At most as many as wait in the kernel, which is bounded. What cannot be accepted must connect again.
        while let Ok(stream) = before.as_ref().map_err(drop).and_then(|before| before.accept().map_err(drop)) {
            let stream = stream.0.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream.0));
            self.queued.extend(stream);
        }
    }

    /// The next one. Dropping the future loses none.
    pub(crate) async fn accept(&mut self) -> Connection {
        loop {
            let accepted = match self.queued.pop_front() {
                Some(stream) => Ok(stream),
                None => tokio::select! {
                    accepted = self.listener.accept() => accepted.map(|(stream, _)| stream),
                    Some(listener) = self.listeners.recv() => {
                        self.replace(listener);
                        continue;
                    }
                },
            };
            match accepted.and_then(|stream| Ok((Peer::of(&stream)?, stream))) {
                Ok((peer, stream)) => {
                    self.back_off = BACK_OFF.0;
                    return Connection::new(stream, peer, &self.draining);
                }
                // The peer gave up before we came to it.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                // Out of descriptors or memory, most likely: the queued peer stays, so without a pause
                // this would spin.
                Err(error) => {
                    tracing::warn!(%error, pause = ?self.back_off, "cannot accept a connection");
                    let pause = sleep(self.back_off);
                    self.back_off = (self.back_off * 2).min(BACK_OFF.1);
                    pause.await;
                }
            }
        }
    }
}

/// A connection that fails when its peer does not begin to speak HTTP/2.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    peer: Peer,
    preface: Option<Preface>,
    authorities: Scan,
}

/// What is missing of the preface.
#[derive(Debug)]
struct Preface {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
    /// Who has not begun when the server ends need not begin.
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn new(stream: UnixStream, peer: Peer, draining: &CancellationToken) -> Self {
        let preface = Preface {
            missing: PREFACE,
            deadline: Box::pin(sleep(PREFACE_DEADLINE)),
            // A token of its own, since polling takes the token's lock.
            draining: Box::pin(draining.child_token().cancelled_owned()),
        };
        Self { stream, peer, preface: Some(preface), authorities: Scan::new() }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer)?;
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            self.authorities.pass(new);
        }
        let Some(preface) = &mut self.preface else { return read.map(Ok) };
        preface.missing = preface.missing.saturating_sub(buffer.filled().len() - before);
        if preface.missing == 0 {
            self.preface = None;
        } else if preface.draining.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionAborted, "the server shuts down")));
        } else if read.is_pending() {
            ready!(preface.deadline.as_mut().poll(context));
            let why = format!("no HTTP/2 preface within {PREFACE_DEADLINE:?}");
            return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)));
        }
        read.map(Ok)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
