// SPDX-License-Identifier: Apache-2.0
//! A socket that somebody removes or replaces while the real binary serves it.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use device_api_client::Client;
use device_api_core::registry::{ListParams, PostParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use prost::Message as _;
use rustix::process::Signal;
use support::{Daemon, PATIENCE, raw};
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;

const MEMORY: &str = "--datastore-endpoint=memory://";

async fn becomes(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "not after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client that is connected, and stays so.
async fn connected(daemon: &Daemon) -> Client {
    let client = daemon.client();
    assert_eq!(health(&client).await, ServingStatus::Serving);
    client
}

async fn health(client: &Client) -> ServingStatus {
    let answer = raw::call(client, "/grpc.health.v1.Health/Check", Vec::new()).await.unwrap();
    HealthCheckResponse::decode(answer.as_slice()).unwrap().status()
}

async fn can_be_connected_to(daemon: &Daemon) {
    becomes("a new client connects", async || UnixStream::connect(daemon.socket()).is_ok()).await;
    daemon.api().list(&ListParams::default()).await.unwrap();
}

fn lock_of(socket: &Path) -> PathBuf {
    PathBuf::from(format!("{}.lock", socket.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_somebody_deleted_is_made_again_and_said_once() {
    let mut daemon = Daemon::start(&[MEMORY, "--socket-mode=0606"]);
    let before = connected(&daemon).await;
    let gpu = Gpu { metadata: ObjectMeta::named("x"), ..Gpu::default() };
    daemon.api().create(&PostParams::default(), &gpu).await.unwrap();
    for round in 1..=2 {
        fs::remove_file(daemon.socket()).unwrap();
        can_be_connected_to(&daemon).await;
        assert_eq!(fs::metadata(daemon.socket()).unwrap().permissions().mode() & 0o777, 0o606);
        assert!(daemon.api().get("x").await.is_ok(), "it is the same server");
        assert_eq!(health(&before).await, ServingStatus::Serving, "who was connected still is");
        let said = || daemon.stderr().matches("was gone from its path").count();
        becomes("it is said", async || said() >= round).await;
        assert_eq!(said(), round, "{}", daemon.stderr());
    }
    assert!(daemon.stop().success());
    assert!(!daemon.socket().exists(), "the new one is removed at the end, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_the_queue_of_a_socket_that_is_deleted_is_served() {
    let daemon = Daemon::start(&[MEMORY, "--max-connections=1"]);
    // The one place is taken, so that the next one is accepted and waits for a place, and further ones are in the queue.
    let first = connected(&daemon).await;
    let others: Vec<_> = (0..3).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    fs::remove_file(daemon.socket()).unwrap();
    becomes("the socket is made again", async || daemon.socket().exists()).await;
    drop(first);
    for mut other in others {
        use std::io::{Read as _, Write as _};
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        other.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut head = [0; 9];
        other.read_exact(&mut head).unwrap();
        assert_eq!(head[3], 4, "the server's settings");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_goes_with_socket_and_lock_is_made_again() {
    let mut daemon = Daemon::start(&[MEMORY]);
    let folder = daemon.folder().join("run");
    assert!(daemon.stop().success());
    let daemon = Daemon::spawn_in(daemon.folder(), &[MEMORY, &format!("--bind-address={}/a.sock", folder.display())]);
    becomes("it serves", async || UnixStream::connect(daemon.socket()).is_ok()).await;
    // At once: what is deleted piece by piece might be made again meanwhile.
    fs::rename(&folder, daemon.folder().join("away")).unwrap();
    can_be_connected_to(&daemon).await;
    let lock = fs::read_to_string(lock_of(daemon.socket())).unwrap();
    assert!(lock.starts_with(&format!("pid {} (", daemon.pid())), "{lock}");
    // And it holds others off.
    let other = tempfile::TempDir::new().unwrap();
    let mut second =
        Daemon::spawn_in(other.path(), &[MEMORY, &format!("--bind-address={}", daemon.socket().display())]);
    assert_eq!(second.wait().code(), Some(4), "{}", second.stderr());
    assert!(second.stderr().contains(&format!("pid {}", daemon.pid())), "{}", second.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_the_socket_s_place_is_left_alone_until_it_goes_and_health_says_so() {
    let daemon = Daemon::start(&[MEMORY]);
    let client = connected(&daemon).await;
    let aside = daemon.folder().join("aside");
    fs::write(&aside, "somebody's").unwrap();
    fs::rename(&aside, daemon.socket()).unwrap();
    becomes("NOT_SERVING", async || health(&client).await == ServingStatus::NotServing).await;
    daemon.says("is not a socket and was left alone").await;
    assert_eq!(fs::read_to_string(daemon.socket()).unwrap(), "somebody's");
    fs::remove_file(daemon.socket()).unwrap();
    becomes("SERVING", async || health(&client).await == ServingStatus::Serving).await;
    can_be_connected_to(&daemon).await;
    assert_eq!(daemon.stderr().matches("nobody can connect any more").count(), 1, "{}", daemon.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_took_the_path_is_named_and_the_path_is_taken_back_after_it() {
    let mut daemon = Daemon::start(&[MEMORY]);
    let client = connected(&daemon).await;
    let aside = daemon.folder().join("aside");
    let other = UnixListener::bind(&aside).unwrap();
    fs::rename(&aside, daemon.socket()).unwrap();
    let inode = fs::metadata(daemon.socket()).unwrap().ino();
    becomes("NOT_SERVING", async || health(&client).await == ServingStatus::NotServing).await;
    daemon.says(&format!("another server is live on {}: pid {}", daemon.socket().display(), std::process::id())).await;
    assert_eq!(fs::metadata(daemon.socket()).unwrap().ino(), inode, "it is left alone");
    // As after a crash: its socket is there, and nobody serves it.
    drop(other);
    becomes("SERVING", async || health(&client).await == ServingStatus::Serving).await;
    can_be_connected_to(&daemon).await;
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_that_found_the_path_free_keeps_it_and_the_first_says_who_it_is() {
    let first = Daemon::start(&[MEMORY]);
    let client = connected(&first).await;
    // While the first one sleeps, so that it cannot take the path back.
    first.signal(Signal::STOP);
    for taken in [lock_of(first.socket()), first.socket().to_owned()] {
        fs::remove_file(taken).unwrap();
    }
    let folder = tempfile::TempDir::new().unwrap();
    let mut second =
        Daemon::start_in(folder.path(), &[MEMORY, &format!("--bind-address={}", first.socket().display())]);
    let inode = fs::metadata(first.socket()).unwrap().ino();
    first.signal(Signal::CONT);
    becomes("NOT_SERVING", async || health(&client).await == ServingStatus::NotServing).await;
    first.says(&format!("is live on {}: pid {}", first.socket().display(), second.pid())).await;
    assert_eq!(fs::metadata(first.socket()).unwrap().ino(), inode, "the second one serves");
    assert!(second.stop().success());
    becomes("SERVING", async || health(&client).await == ServingStatus::Serving).await;
    can_be_connected_to(&first).await;
    let lock = fs::read_to_string(lock_of(first.socket())).unwrap();
    assert!(lock.starts_with(&format!("pid {} (", first.pid())), "{lock}");
}
