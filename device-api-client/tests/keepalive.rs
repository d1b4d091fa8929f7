// SPDX-License-Identifier: Apache-2.0
//! A server that goes silent without a word: keepalive alone tells. In virtual time, over a socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml's exception for tests does not reach their functions

mod canned;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use canned::{Canned, target};
use device_api_client::{Api, Client, ConnectOptions};
use device_api_core::registry::{WatchEvent, WatchParams};
use device_api_core::resource::Gpu;
use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The way to a server, which can go dead: it takes everything, and nothing arrives.
#[derive(Clone, Default)]
struct Line {
    is_dead: Arc<AtomicBool>,
    /// The client has closed a connection.
    hung_up: Arc<Notify>,
}

impl Line {
    fn goes_dead(&self, is_dead: bool) {
        self.is_dead.store(is_dead, Ordering::Relaxed);
    }

    async fn carry(self, listener: UnixListener, server: PathBuf) {
        while let Ok((client, _)) = listener.accept().await {
            let ((from_client, to_client), server) = (client.into_split(), UnixStream::connect(&server).await.unwrap());
            let (from_server, to_server) = server.into_split();
            tokio::spawn(self.clone().pass(from_server, to_client));
            let line = self.clone();
            tokio::spawn(async move {
                line.clone().pass(from_client, to_server).await;
                line.hung_up.notify_one();
            });
        }
    }

    async fn pass(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if !self.is_dead.load(Ordering::Relaxed) && to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }
}

/// A server behind such a line, at a clock that only [`after_a_while`] moves.
struct World {
    line: Line,
    api: Api<Gpu>,
    _folder: TempDir,
    // While a blocking task runs, tokio does not move a paused clock by itself: what travels over sockets takes no time.
    _holds_the_clock: std::sync::mpsc::SyncSender<()>,
}

impl World {
    fn new() -> Self {
        let (holds_the_clock, let_go) = std::sync::mpsc::sync_channel::<()>(0);
        tokio::task::spawn_blocking(move || let_go.recv());
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let bind = |path: &Path| UnixListener::bind(path).unwrap();
        tokio::spawn(Canned::default().serve(bind(&at("server.sock"))));
        let line = Line::default();
        tokio::spawn(line.clone().carry(bind(&at("line.sock")), at("server.sock")));
        let api = Api::all(Client::lazy(&target(&at("line.sock")), ConnectOptions::default()));
        Self { line, api, _folder: folder, _holds_the_clock: holds_the_clock }
    }
}

/// What comes while the clock runs, and after how long.
async fn after_a_while<T>(comes: impl Future<Output = T>) -> (T, Duration) {
    let (mut comes, start) = (pin!(comes), Instant::now());
    while start.elapsed() < Duration::from_secs(600) {
        if let Some(came) = comes.as_mut().now_or_never() {
            return (came, start.elapsed());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    panic!("nothing was noticed within ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_server_that_goes_silent_fails() {
    let world = World::new();
    let mut watch = world.api.watch(&WatchParams::default().labels("hold")).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    world.line.goes_dead(true);
    let (event, after) = after_a_while(watch.next()).await;
    let error = event.expect("it does not just end").unwrap_err();
    assert!(error.is_unavailable() && error.is_retryable(), "{error:?}");
    // The server is asked for a sign of life, and given time for it.
    assert!(after > ConnectOptions::default().keepalive_timeout, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_server_that_never_says_anything_fails() {
    let world = World::new();
    world.line.goes_dead(true);
    let (opened, _) = after_a_while(world.api.watch(&WatchParams::default())).await;
    let error = opened.unwrap_err();
    assert!(error.is_unavailable() && error.is_retryable(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_given_up_when_the_server_goes_silent() {
    let world = World::new();
    world.api.get("x").await.unwrap();
    world.line.goes_dead(true);
    after_a_while(world.line.hung_up.notified()).await;
    world.line.goes_dead(false);
    assert_eq!(world.api.get("y").await.unwrap().metadata.name, "y");
}
