// SPDX-License-Identifier: Apache-2.0
//! The connections that are served: each in a task of its own, as HTTP/2 and nothing else.

use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::accept::{Connection, Incoming};
use crate::grpc::guard::Guard;
use crate::streams::Streams;

/// How often a connection on which nothing happens is asked whether its peer still lives, and how
/// long that may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));
/// The longest header list of a request: names and selectors travel in messages, not in headers.
const MAX_HEADERS: u32 = 16 << 10;
/// How much of one stream waits for the socket, in bytes.
const MAX_SENDING: usize = 64 << 10;
/// How much may be on its way to us that no call has read, in bytes: of one stream, and of all of a
/// connection's. A request of 1 MiB took 14 ms with 1 MiB for a stream, 19 with this and 23 with 64 KiB,
/// all in a debug build; most are of a kilobyte.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);

/// The connections of a server. Dropping them ends them at once.
///
/// hyper without tonic's transport around it, which would not let us say how a stream is run.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    max_streams: u32,
    guard: Guard,
    draining: CancellationToken,
    open: JoinSet<()>,
}

impl Connections {
    /// None yet. Each will be told to end once `draining` is cancelled.
    pub(crate) fn new(max: usize, max_streams: u32, guard: Guard, draining: CancellationToken) -> Self {
        Self { max, max_streams, guard, draining, open: JoinSet::new() }
    }

    /// Serves what comes in until the server drains, and then until the last connection has ended.
    pub(crate) async fn serve(&mut self, mut incoming: Incoming) {
        loop {
            tokio::select! {
                () = self.draining.cancelled() => break,
                Some(_) = self.open.join_next() => {}
                // At the cap, further peers wait in the kernel's queue.
                connection = incoming.accept(), if self.open.len() < self.max => self.begin(connection),
            }
        }
        drop(incoming);
        while self.open.join_next().await.is_some() {}
    }

    fn begin(&mut self, connection: Connection) {
        let peer = connection.peer();
        let streams = Streams { peer, patience: self.guard.request_timeout, draining: self.draining.clone() };
        let mut http2 = http2::Builder::new(streams);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.max_streams)
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .max_header_list_size(MAX_HEADERS)
            .max_send_buf_size(MAX_SENDING)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1);
        let serving = http2.serve_connection(TokioIo::new(connection), self.guard.of(peer));
        let draining = self.draining.clone();
        self.open.spawn(async move {
            let mut serving = pin!(serving);
            let ended = tokio::select! {
                ended = &mut serving => ended,
                () = draining.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection failed");
            }
        });
    }
}
