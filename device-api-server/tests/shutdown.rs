// SPDX-License-Identifier: Apache-2.0
//! How the real binary ends, and what is there when it comes back.

// clippy.toml's exceptions for tests do not reach their functions. Each test has threads for its clients, which
// must be able to say goodbye while the test waits for the server.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};

use device_api_client::Api;
use device_api_core::Result;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::registry::{ListParams, PostParams, WatchEvent, WatchParams};
use device_api_core::resource::{Gpu, GpuSpec, ObjectMeta};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rustix::process::Signal;
use support::{Daemon, PATIENCE, device_apiserver, raw};
use tempfile::TempDir;

/// Longer than any test waits: a server that ends earlier did so because everybody was answered.
const LONG_GRACE: &str = "--shutdown-grace-period=10m";

fn gpu(name: &str, uuid: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), spec: GpuSpec { uuid: uuid.to_owned() }, ..Gpu::default() }
}

async fn create(api: &Api<Gpu>, name: &str) -> String {
    api.create(&PostParams::default(), &gpu(name, "")).await.unwrap().metadata.resource_version.clone()
}

/// Everything that a watch sends up to its end, which must be OK.
async fn until_ok(mut watch: impl Stream<Item = Result<WatchEvent<Gpu>>> + Unpin) -> Vec<WatchEvent<Gpu>> {
    let mut events = Vec::new();
    let end = async {
        while let Some(event) = watch.next().await {
            events.push(event.unwrap_or_else(|error| panic!("the watch failed: {error}")));
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("no end within {PATIENCE:?}"));
    events
}

/// The version of the newest event.
fn last(events: &[WatchEvent<Gpu>]) -> String {
    events.last().unwrap().resource_version().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_well_with_all_that_was_committed_and_nobody_holds_up_the_end() {
    for datastore in [&[LONG_GRACE] as &[_], &[LONG_GRACE, "--datastore-endpoint=memory://"]] {
        let mut daemon = Daemon::start(datastore);
        let (idle, writer) = (daemon.api(), daemon.api());
        idle.list(&ListParams::default()).await.unwrap();
        let silent = UnixStream::connect(daemon.socket()).unwrap();
        let mut half = UnixStream::connect(daemon.socket()).unwrap();
        half.write_all(b"PRI * HTTP/2").unwrap();
        let mut watches = Vec::new();
        for _ in 0..8 {
            watches.push(daemon.api().watch(&WatchParams::default()).await.unwrap());
            watches.push(writer.watch(&WatchParams::default().bookmarks()).await.unwrap());
        }
        let mut version = String::new();
        for index in 0..50 {
            version = create(&writer, &format!("gpu-{index}")).await;
        }
        daemon.signal(Signal::TERM);
        for watch in watches {
            assert_eq!(last(&until_ok(watch).await), version);
        }
        let status = daemon.wait();
        assert_eq!(status.code(), Some(0), "{}", daemon.stderr());
        drop((idle, silent, half));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_during_a_shutdown_is_there_after_it() {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[LONG_GRACE]);
    let (started, mut has_started) = tokio::sync::mpsc::channel(1);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (api, started) = (daemon.api(), started.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let name = format!("gpu-{writer}-{}", acknowledged.len());
                    match api.create(&PostParams::default(), &gpu(&name, "")).await {
                        Ok(_) => acknowledged.push(name),
                        Err(error) if error.is_unavailable() => return acknowledged,
                        Err(error) => panic!("{error}"),
                    }
                    if acknowledged.len() == 20 {
                        started.send(()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for _ in &writers {
        has_started.recv().await.unwrap();
    }
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap());
    }
    let daemon = Daemon::start_in(folder.path(), &[]);
    let stored = daemon.api().list(&ListParams::default()).await.unwrap();
    let stored: Vec<_> = stored.items.iter().map(|gpu| gpu.metadata.name.clone()).collect();
    for name in acknowledged {
        assert!(stored.contains(&name), "{name} was acknowledged and is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_server_ended() {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    let first = create(&daemon.api(), "a").await;
    let second = create(&daemon.api(), "b").await;
    let before = daemon.api().get("b").await.unwrap();
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
    let mut daemon = Daemon::start_in(folder.path(), &[LONG_GRACE]);
    assert_eq!(daemon.api().get("b").await.unwrap(), before);
    let watch = daemon.api().watch(&WatchParams::default().at(first)).await.unwrap();
    let third = create(&daemon.api(), "c").await;
    assert!(third.parse::<u64>().unwrap() > second.parse::<u64>().unwrap());
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
    let versions: Vec<_> = until_ok(watch).await.iter().map(|event| event.resource_version().to_owned()).collect();
    assert_eq!(versions, [second, third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_not_read_hold_up_nobody_and_are_no_failure() {
    let mut daemon = Daemon::start(&["--datastore-endpoint=memory://", LONG_GRACE]);
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(daemon.stub().watch_gpus(wire::WatchGpusRequest::default()).await.unwrap().into_inner());
    }
    // More than sockets and windows hold.
    let api = daemon.api();
    for index in 0..64 {
        let metadata = ObjectMeta::named(format!("gpu-{index}")).with_annotation("large", "x".repeat(250 << 10));
        api.create(&PostParams::default(), &Gpu { metadata, ..Gpu::default() }).await.unwrap();
    }
    let mut read = daemon.api().watch(&WatchParams::default()).await.unwrap();
    for _ in 0..64 {
        read.next().await.unwrap().unwrap();
    }
    let read = tokio::spawn(until_ok(read));
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
    assert_eq!(read.await.unwrap(), []);
    assert!(!daemon.socket().exists());
    drop(unread);
}

/// A server, and a call of it that cannot be answered, for its request does not end.
async fn stuck(flags: &[&str]) -> (Daemon, impl Future) {
    let daemon = Daemon::start(&[&["--datastore-endpoint=memory://"], flags].concat());
    let client = daemon.client();
    let call = {
        let client = client.clone();
        async move { raw::half(&client, "/nvidia.nvsentinel.v1alpha1.GpuService/CreateGpu", 0).await }
    };
    let mut call = Box::pin(call);
    assert!((&mut call).now_or_never().is_none());
    // On the same connection: the server knows of that call when it answers this one.
    Api::<Gpu>::all(client).list(&ListParams::default()).await.unwrap();
    (daemon, call)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_answered_is_cut_when_the_grace_period_is_over() {
    let (mut daemon, call) = stuck(&["--shutdown-grace-period=3s"]).await;
    assert_eq!(daemon.stop().code(), Some(5), "{}", daemon.stderr());
    assert!(daemon.stderr().contains("grace period of 3s"), "{}", daemon.stderr());
    assert!(!daemon.socket().exists());
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_server_at_once() {
    let (mut daemon, call) = stuck(&[LONG_GRACE, "--request-timeout=10m"]).await;
    daemon.signal(Signal::TERM);
    daemon.says("shutting down").await;
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(5), "{}", daemon.stderr());
    drop(call);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_signal_once_more_within_a_second_does_not_cut_the_shutdown() {
    // The second may come too late on a slow machine: then it is tried again.
    for attempt in 1.. {
        let (mut daemon, call) = stuck(&["--shutdown-grace-period=3s"]).await;
        daemon.signal(Signal::TERM);
        daemon.says("shutting down").await;
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().code(), Some(5));
        drop(call);
        // Both end with 5, and say which it was.
        if daemon.stderr().contains("grace period of 3s") {
            assert!(daemon.stderr().contains("ending already"), "{}", daemon.stderr());
            return;
        }
        assert!(attempt < 10, "it is cut each time:\n{}", daemon.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_and_the_signals_of_users_end_nothing() {
    let mut daemon = Daemon::start(&["--nvml=off"]);
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        daemon.signal(signal);
        daemon.says(&format!("signal=\"{name}\"")).await;
    }
    create(&daemon.api(), "gpu").await;
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
    assert!(!daemon.socket().exists());
}

#[test]
fn sigint_ends_it_as_sigterm_does() {
    let mut daemon = Daemon::start(&[]);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.stderr());
}

#[test]
fn a_peer_that_froze_with_nothing_in_flight_is_no_failure() {
    let mut daemon = Daemon::start(&[LONG_GRACE]);
    let mut frozen = UnixStream::connect(daemon.socket()).unwrap();
    // The preface, and settings of nothing (RFC 9113, 3.4 and 6.5). It never answers the server's.
    frozen.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut first = [0; 1];
    frozen.read_exact(&mut first).unwrap();
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
}

#[test]
fn the_service_manager_is_told_of_the_start_and_of_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = device_apiserver();
    command.env("NOTIFY_SOCKET", &path);
    let mut daemon = Daemon::spawn(command, folder.path(), &[]);
    let mut buffer = [0; 64];
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
    assert!(UnixStream::connect(daemon.socket()).is_ok(), "ready means that it takes connections");
    daemon.signal(Signal::TERM);
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"STOPPING=1");
    assert!(daemon.wait().success(), "{}", daemon.stderr());
}
