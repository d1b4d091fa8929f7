// SPDX-License-Identifier: Apache-2.0
//! Peers that mean harm with their connections: they cost others nothing, and the server little memory.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::time::Duration;

use device_api_client::Api;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::registry::{ListParams, PostParams, WatchParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use support::{Daemon, PATIENCE};
use tonic::Code;

/// What the server says when it has as many connections as it may.
const FULL: &str = "no more connections are served";

const MEMORY: &str = "--datastore-endpoint=memory://";

/// The preface of a client, and settings of nothing (RFC 9113, 3.4 and 6.5).
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

async fn answers(api: &Api<Gpu>) {
    api.list(&ListParams::default()).await.unwrap();
}

/// Asks until the server answers. It may have ended the connection for what was done on it; clients make it anew.
async fn answers_again(api: &Api<Gpu>) {
    let asking = async {
        while let Err(error) = api.list(&ListParams::default()).await {
            assert!(error.is_unavailable() && error.is_retryable(), "{error:?}");
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

/// Reads until the server closes the connection, which it must.
fn is_dropped(mut stream: UnixStream) {
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the server did not drop the connection: {error}"),
        }
    }
}

#[tokio::test]
async fn peers_that_do_not_speak_http2_are_dropped() {
    let daemon = Daemon::start(&[MEMORY]);
    let says: [&[u8]; 6] = [
        b"",
        b"PRI * HTTP/2",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 4096],
    ];
    let peers = says.map(|says| {
        let mut stream = connect(&daemon);
        // It may be dropped while it still speaks.
        let _ = stream.write_all(says);
        stream
    });
    answers(&daemon.api()).await;
    peers.into_iter().for_each(is_dropped);
    daemon.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_wait_and_cost_those_that_are_served_nothing() {
    let daemon = Daemon::start(&[MEMORY, "--max-connections=8"]);
    // None of these is idle.
    let served: Vec<_> = (0..8).map(|_| daemon.api()).collect();
    let mut watches = Vec::new();
    for api in &served {
        watches.push(api.watch(&WatchParams::default()).await.unwrap());
    }
    let late = daemon.api();
    let late = answers(&late);
    let mut late = pin!(late);
    while !daemon.stderr().contains(FULL) {
        assert!((&mut late).now_or_never().is_none(), "the cap was not kept");
        answers(&served[0]).await;
    }
    for _ in 0..100 {
        answers(&served[0]).await;
        assert!((&mut late).now_or_never().is_none(), "the cap was not kept");
    }
    drop((watches, served));
    tokio::time::timeout(PATIENCE, late).await.unwrap();
    daemon.says("further connections are served again").await;
    assert_eq!(daemon.stderr().matches(FULL).count(), 1, "{}", daemon.stderr());
    daemon.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_nothing_keep_nobody_out() {
    let daemon = Daemon::start(&[MEMORY, "--max-connections=8"]);
    // One that lives and is busy, some that could be used again, and more than there are places that speak and then
    // do nothing for ever.
    let (busy, idle) = (daemon.api(), daemon.api());
    let mut watch = busy.watch(&WatchParams::default()).await.unwrap();
    answers(&idle).await;
    let mut leaked: Vec<_> = (0..12).map(|_| connect(&daemon)).collect();
    leaked.iter_mut().for_each(|stream| stream.write_all(HELLO).unwrap());
    tokio::time::timeout(PATIENCE, answers(&daemon.api())).await.unwrap();
    // Or this tests nothing.
    daemon.says(FULL).await;
    // Who was in the middle of something was not disturbed, and the client of a closed connection makes another.
    answers_again(&idle).await;
    busy.create(&PostParams::default(), &gpu("x", 0)).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().is_ok());
    drop(leaked);
}

#[tokio::test]
async fn streams_over_the_cap_wait_and_cost_other_connections_nothing() {
    let daemon = Daemon::start(&[MEMORY]);
    let (greedy, other) = (daemon.api(), daemon.api());
    other.create(&PostParams::default(), &gpu("x", 0)).await.unwrap();
    let params = WatchParams::default();
    let mut watches: Vec<_> = (0..500).map(|_| Box::pin(greedy.watch(&params))).collect();
    // As many as there are places come up. No more ever do.
    let mut open = Vec::new();
    while open.len() < 100 {
        let (watch, index, _) = futures_util::future::select_all(&mut watches).await;
        drop(watches.swap_remove(index));
        open.push(watch.unwrap());
    }
    answers(&other).await;
    for watch in &mut watches {
        assert!(watch.now_or_never().is_none(), "the cap was not kept");
    }
    for watch in &mut open {
        assert!(watch.next().await.unwrap().is_ok());
    }
    drop((watches, open));
    answers_again(&greedy).await;
    daemon.assert_well().await;
}

#[tokio::test]
async fn calls_that_are_dropped_as_soon_as_they_are_made_do_no_harm() {
    let daemon = Daemon::start(&[MEMORY]);
    let (hasty, other) = (daemon.api(), daemon.api());
    for round in 0..200 {
        for _ in 0..100 {
            assert!(Box::pin(hasty.list(&ListParams::default())).now_or_never().is_none());
        }
        if round % 20 == 0 {
            answers(&other).await;
        }
    }
    answers_again(&hasty).await;
    daemon.assert_well().await;
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn floods_of_frames_are_bounded() {
    let daemon = Daemon::start(&[MEMORY]);
    let ping = frame(6, 0, 0, &[0; 8]);
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let reset = [frame(1, 4, 1, &[0x82, 0x86, 0x84]), frame(3, 0, 1, &[0, 0, 0, 8])].concat();
    // Headers that never end: each field is new and 16 KiB long.
    let endless = frame(9, 0, 1, &[&[0x00, 0x01, b'a', 0x7f, 0x80, 0x7f][..], &[b'x'; 16_255]].concat());
    let floods: [(&[u8], Vec<u8>); 4] =
        [(b"", ping), (b"", settings), (b"", reset), (&frame(1, 0, 1, &[0x82, 0x86, 0x84]), endless)];
    for (first, flood) in floods {
        let mut stream = connect(&daemon);
        stream.write_all(HELLO).unwrap();
        stream.write_all(first).unwrap();
        // It reads nothing. Either the server hangs up or it stops to read, too.
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let flood = flood.repeat((64 << 10) / flood.len() + 1);
        let sent = (0..4 << 10).take_while(|_| stream.write_all(&flood).is_ok()).count();
        assert!(sent < 4 << 10, "the server took 256 MiB of this");
        answers(&daemon.api()).await;
    }
    daemon.assert_well().await;
}

fn gpu(name: &str, round: usize) -> Gpu {
    let metadata = ObjectMeta::named(name).with_annotation("round", format!("{round:01024}"));
    Gpu { metadata, ..Gpu::default() }
}

#[tokio::test]
async fn a_watcher_that_never_reads_is_cut_off_alone() {
    // The writers may take long: it is history that cuts the watch off, not the time that its reader has.
    let daemon = Daemon::start(&[MEMORY, "--history-max-events=2000", "--request-timeout=1h"]);
    let mut watch = daemon.stub().watch_gpus(wire::WatchGpusRequest::default()).await.unwrap().into_inner();
    let apis: Vec<_> = (0..4).map(|_| daemon.api()).collect();
    // 20,000 writes of a kilobyte: far more than history, sockets and the windows of HTTP/2 hold.
    let writers = (0..16).map(async |writer: usize| {
        let (api, name) = (&apis[writer % apis.len()], format!("gpu-{writer}"));
        api.create(&PostParams::default(), &gpu(&name, 0)).await.unwrap();
        for round in 1..1_250 {
            api.replace(&name, &PostParams::default(), &gpu(&name, round)).await.unwrap();
        }
    });
    join_all(writers).await;
    let mut last = 0;
    let status = loop {
        match tokio::time::timeout(PATIENCE, watch.message()).await.unwrap() {
            Ok(Some(event)) => {
                let version = event.object.unwrap().metadata.unwrap().resource_version.parse::<u64>().unwrap();
                assert!(last == 0 || version == last + 1, "{version} came after {last}");
                last = version;
            }
            Ok(None) => panic!("it ended with OK at {last}"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    daemon.assert_well().await;
}
