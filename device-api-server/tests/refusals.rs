// SPDX-License-Identifier: Apache-2.0
//! A client that repeats a refused call in a tight loop, on the real binary.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod support;

use std::time::Instant;

use device_api_core::proto::v1alpha1 as wire;
use device_api_core::registry::PostParams;
use device_api_core::resource::{Gpu, ObjectMeta};
use support::{Daemon, PATIENCE};
use tonic::Code;

const SAID: &str = "a client repeats calls that are refused";

#[tokio::test]
async fn a_client_that_repeats_a_refused_call_is_told_of_once_and_keeps_nobody_waiting() {
    let daemon = Daemon::start(&["--datastore-endpoint=memory://"]);
    let mut stub = daemon.stub();
    let opts = wire::ListOptions { resource_version_match: "Exact".to_owned(), ..Default::default() };
    let mut refused = async || {
        let request = wire::WatchGpusRequest { opts: Some(opts.clone()), ..Default::default() };
        let refusal = stub.watch_gpus(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    };
    for _ in 0..1000 {
        refused().await;
    }
    assert!(!daemon.stderr().contains(SAID), "as many are no loop");
    // However slow this machine is: what counts is how many more than a hundred a second they are.
    let end = Instant::now() + PATIENCE;
    while !daemon.stderr().contains(SAID) {
        assert!(Instant::now() < end, "{}", daemon.stderr());
        refused().await;
    }
    for _ in 0..50 {
        refused().await;
    }
    let said = daemon.stderr();
    let lines: Vec<_> = said.lines().filter(|line| line.contains(SAID)).collect();
    assert_eq!(lines.len(), 1, "{said}");
    let told = ["pid=", "GpuService/WatchGpus", "resourceVersionMatch"].map(|part| lines[0].contains(part));
    assert_eq!(told, [true; 3], "who, what and why: {}", lines[0]);

    // What is not refused goes on, on the same connection and on others.
    stub.list_gpus(wire::ListGpusRequest::default()).await.unwrap();
    let gpu = Gpu { metadata: ObjectMeta::named("a"), ..Gpu::default() };
    daemon.api().create(&PostParams::default(), &gpu).await.unwrap();
    let opts = wire::ListOptions { resource_version_match: "NotOlderThan".to_owned(), ..Default::default() };
    let watch = stub.watch_gpus(wire::WatchGpusRequest { opts: Some(opts), ..Default::default() }).await;
    let first = watch.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(first.r#type, "ADDED");
    daemon.assert_well().await;
}
