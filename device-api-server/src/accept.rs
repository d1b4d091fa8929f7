// SPDX-License-Identifier: Apache-2.0
//! Accepting connections: not more than a cap, without spinning where that fails, and only for as
//! long as the peer speaks.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{PollSemaphore, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::peer::Peer;
use crate::shutdown::Stages;

/// How long a peer has to send the preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// The length of that preface, in bytes.
const PREFACE: usize = 24;

/// The pause after a failure to accept: the first, and the longest after more of them.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The connections of a listener, as a stream that never ends.
///
/// At the cap it accepts no more: further peers wait in the kernel's queue.
#[derive(Debug)]
pub(crate) struct Incoming {
    listener: UnixListener,
    permits: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
    stages: Stages,
    pause: Option<Pin<Box<Sleep>>>,
    back_off: Duration,
}

impl Incoming {
    pub(crate) fn new(listener: UnixListener, max_connections: usize, stages: Stages) -> Self {
        let permits = Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { listener, permits: PollSemaphore::new(permits), permit: None, stages, pause: None, back_off: BACK_OFF.0 }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if self.permit.is_none() {
                // The semaphore is never closed, so this is never `None`.
                self.permit = ready!(self.permits.poll_acquire(context));
            }
            let accepted = ready!(self.listener.poll_accept(context));
            match accepted.and_then(|(stream, _)| Ok((Peer::of(&stream)?, stream))) {
                Ok((peer, stream)) => {
                    self.back_off = BACK_OFF.0;
                    let permit = self.permit.take();
                    let connection = Connection::new(stream, peer, &self.stages, permit);
                    return Poll::Ready(Some(Ok(connection)));
                }
                // The peer gave up before we came to it.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                // Out of descriptors or memory, most likely: the queued peer stays, so without a pause
                // this would spin.
                Err(error) => {
                    tracing::warn!(%error, pause = ?self.back_off, "cannot accept a connection");
                    self.pause = Some(Box::pin(sleep(self.back_off)));
                    self.back_off = (self.back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }
}

/// A connection that is dropped when its peer does not begin to speak HTTP/2, or when the server
/// cuts it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    peer: Peer,
    preface: Option<Preface>,
    /// Before the preface, the server's wish to shut down; after it, the end of its patience.
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    stages: Stages,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What is missing of the preface.
#[derive(Debug)]
struct Preface {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: UnixStream, peer: Peer, stages: &Stages, permit: Option<OwnedSemaphorePermit>) -> Self {
        let preface = Preface { missing: PREFACE, deadline: Box::pin(sleep(PREFACE_DEADLINE)) };
        Self {
            stream,
            peer,
            preface: Some(preface),
            // A token of its own, since polling takes the token's lock.
            end: Box::pin(stages.draining.child_token().cancelled_owned()),
            stages: stages.clone(),
            _permit: permit,
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionAborted, "the server shuts down"))),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_end(context))?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer)?;
        let Some(preface) = &mut self.preface else { return read.map(Ok) };
        preface.missing = preface.missing.saturating_sub(buffer.filled().len() - before);
        if preface.missing == 0 {
            self.preface = None;
            self.end = Box::pin(self.stages.cut.child_token().cancelled_owned());
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
        ready!(self.poll_end(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(context))?;
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
        ready!(self.poll_end(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
