// SPDX-License-Identifier: Apache-2.0
//! The connections that are served: each in a task of its own, as HTTP/2 and nothing else.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{self, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::accept::{Connection, Incoming};
use crate::grpc::guard::Guard;
use crate::grpc::in_flight::InFlight;
use crate::streams::{LAST_PATIENCE, Streams};

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

/// How long a connection must have been idle to be closed for others: its peer may be about to call.
const IDLE: Duration = Duration::from_secs(1);

/// The connections of a server. Dropping them ends them at once.
///
/// hyper without tonic's transport around it, which would not let us say how a stream is run.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    max_streams: u32,
    guard: Guard,
    draining: CancellationToken,
    tasks: JoinSet<()>,
    open: HashMap<task::Id, Open>,
    /// Whether the log says that there are as many as may be.
    full: bool,
}

/// A connection that is open.
#[derive(Debug)]
struct Open {
    in_flight: InFlight,
    /// Asks it to end.
    ending: CancellationToken,
}

impl Connections {
    /// None yet. Each will be told to end once `draining` is cancelled.
    pub(crate) fn new(max: usize, max_streams: u32, guard: Guard, draining: CancellationToken) -> Self {
        let (tasks, open) = (JoinSet::new(), HashMap::new());
        Self { max, max_streams, guard, draining, tasks, open, full: false }
    }

    /// Serves what comes in until the server drains, and then until the last connection has ended.
    pub(crate) async fn serve(&mut self, mut incoming: Incoming) {
        let mut waiting = None;
        loop {
            tokio::select! {
                () = self.draining.cancelled() => break,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                    self.say_whether_full();
                }
                // While one waits for a place, further peers wait in the kernel's queue.
                connection = incoming.accept(), if waiting.is_none() => waiting = Some(connection),
                () = sleep(IDLE), if waiting.is_some() => {}
            }
            if waiting.is_some() && self.open.len() >= self.max {
                self.say_whether_full();
                self.make_room();
            } else if let Some(connection) = waiting.take() {
                self.begin(connection);
            }
        }
        drop((incoming, waiting));
        while self.tasks.join_next().await.is_some() {}
    }

    /// Says it when the cap is reached, and again when a part of the places is free: a crowd that comes
    /// and goes at the cap shall not fill the log.
    fn say_whether_full(&mut self) {
        let open = self.open.len();
        if open >= self.max && !self.full {
            self.full = true;
            tracing::warn!(open, "no more connections are served: further ones wait until one ends or is idle");
        } else if open < self.max - self.max / 8 && self.full {
            self.full = false;
            tracing::info!(open, "further connections are served again");
        }
    }

    /// Closes those that were idle longest: some at once, since a peer that froze takes a while to lose.
    /// Clients connect again when they need to.
    fn make_room(&mut self) {
        let closing = self.open.values().filter(|open| open.ending.is_cancelled()).count();
        let mut idle: Vec<_> = self.open.values().filter(|open| !open.ending.is_cancelled()).collect();
        idle.retain(|open| open.in_flight.idle().is_some_and(|idle| idle >= IDLE));
        idle.sort_by_key(|open| Reverse(open.in_flight.idle()));
        for open in idle.into_iter().take((self.max / 8 + 1).saturating_sub(closing)) {
            open.ending.cancel();
        }
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
        let guard = self.guard.of_connection();
        let in_flight = guard.in_flight.clone();
        let ending = self.draining.child_token();
        let open = Open { in_flight: in_flight.clone(), ending: ending.clone() };
        let serving = http2.serve_connection(TokioIo::new(connection), guard.of(peer));
        let task = self.tasks.spawn(async move {
            let mut serving = pin!(serving);
            let ended = tokio::select! {
                ended = &mut serving => ended,
                () = ending.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = serving => ended,
                        // A peer that froze does not say goodbye.
                        () = in_flight.idle_for(LAST_PATIENCE) => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection failed");
            }
        });
        self.open.insert(task.id(), open);
    }
}
