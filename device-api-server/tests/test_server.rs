// SPDX-License-Identifier: Apache-2.0
//! The life of a test's server: what it starts with, and what is left after a restart, a kill, an expiry.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod worlds;

use std::path::Path;
use std::time::Duration;

use device_api_core::Error;
use device_api_core::registry::{DeleteParams, ListParams, PostParams, Verbs, WatchParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu};
use device_api_server::testing::{CallFault, CallFaults, TestServer, Verb, WatchFault};
use worlds::{failure, gpu, next, over_socket, through_grpc, until_end, within};

async fn names(gpus: &impl Verbs<Gpu>) -> Vec<String> {
    let list = within(gpus.list(&ListParams::default())).await.unwrap();
    list.items.iter().map(|gpu| gpu.metadata.name.clone()).collect()
}

#[tokio::test]
async fn it_starts_with_the_gpus_of_its_builder_and_their_status() {
    let mut own = gpu("own");
    own.status.conditions.push(Condition::new("Healthy", ConditionStatus::False));
    let server = TestServer::builder().with_gpus(1).with_gpu(own).with_gpus(1).start().await;
    assert_eq!(names(&server.gpus()).await, ["gpu-0", "gpu-1", "own"]);
    assert_eq!(server.gpus().get("own").await.unwrap().status.conditions[0].type_, "Healthy");
    let uuid = server.gpus().get("gpu-1").await.unwrap().spec.uuid.clone();
    assert_eq!(uuid, "GPU-00000000-0000-0000-0000-000000000001");
    assert_eq!(server.faults().calls(Verb::Create), 0, "what it starts with are no calls");
}

#[tokio::test]
async fn it_stores_the_time_of_the_clock_that_the_test_moves() {
    let server = TestServer::builder().on_socket().start().await;
    server.clock().advance(Duration::from_secs(90));
    let created = within(over_socket(&server).create(&PostParams::default(), &gpu("x"))).await.unwrap();
    assert_eq!(created.metadata.creation_timestamp.unwrap().to_string(), "2026-01-01T00:01:30Z");
}

/// A handle of each kind, which lives on while its server comes and goes.
macro_rules! with_each_handle {
    ($scenario:ident) => {{
        let mut server = TestServer::builder().with_gpus(2).start().await;
        let gpus = server.gpus();
        $scenario(&mut server, gpus).await;
        let mut server = TestServer::builder().with_gpus(2).start().await;
        let gpus = through_grpc(&server);
        $scenario(&mut server, gpus).await;
        let mut server = TestServer::builder().with_gpus(2).on_socket().start().await;
        let gpus = over_socket(&server);
        $scenario(&mut server, gpus).await;
    }};
}

async fn restarted(server: &mut TestServer, gpus: impl Verbs<Gpu>) {
    let before = within(gpus.list(&ListParams::default())).await.unwrap();
    let mut watch = within(gpus.watch(&WatchParams::default())).await.unwrap();
    assert_eq!(next(&mut watch).await, "added gpu-0");

    within(server.stop()).await;
    assert_eq!(until_end(watch).await, (vec!["added gpu-1".to_owned()], None), "it ends well, after all was sent");
    let error = within(gpus.get("gpu-0")).await.unwrap_err();
    assert_eq!((error.reason(), error.retry_after()), (CallFaults::lost().reason(), CallFaults::lost().retry_after()));

    within(server.start()).await;
    assert_eq!(within(gpus.list(&ListParams::default())).await.unwrap(), before);
    let resumed = WatchParams::default().at(&before.metadata.resource_version);
    let mut watch = within(gpus.watch(&resumed)).await.unwrap();
    within(gpus.create(&PostParams::default(), &gpu("new"))).await.unwrap();
    assert_eq!(next(&mut watch).await, "added new");
}

#[tokio::test]
async fn a_handle_from_before_a_restart_finds_everything_as_it_was() {
    with_each_handle!(restarted);
}

async fn killed(server: &mut TestServer, gpus: impl Verbs<Gpu>) {
    let mut watch = within(gpus.watch(&WatchParams::default())).await.unwrap();
    for _ in 0..2 {
        next(&mut watch).await;
    }
    within(gpus.create(&PostParams::default(), &gpu("new"))).await.unwrap();
    assert_eq!(next(&mut watch).await, "added new");

    within(server.kill()).await;
    let (events, failure) = until_end(watch).await;
    assert!(events.is_empty(), "{events:?}");
    assert!(failure.as_ref().is_some_and(Error::is_unavailable), "{failure:?}");
    assert!(within(gpus.get("gpu-0")).await.unwrap_err().is_unavailable());

    within(server.start()).await;
    assert_eq!(names(&gpus).await, ["gpu-0", "gpu-1", "new"], "what was acknowledged is kept");
}

#[tokio::test]
async fn a_kill_breaks_the_watches_and_keeps_what_was_acknowledged() {
    with_each_handle!(killed);
}

async fn killed_during_a_call(server: &mut TestServer, gpus: impl Verbs<Gpu>) {
    server.faults().next(Verb::Get, CallFault::Hang);
    let faults = server.faults().clone();
    let kill = async {
        faults.hanging().await;
        server.kill().await;
    };
    let (answer, ()) = within(async { tokio::join!(gpus.get("gpu-0"), kill) }).await;
    assert_eq!(answer, Err(CallFaults::lost()));
}

#[tokio::test]
async fn a_call_in_flight_at_a_kill_loses_its_connection() {
    with_each_handle!(killed_during_a_call);
}

async fn expired(server: &mut TestServer, gpus: impl Verbs<Gpu>) {
    let seen = within(gpus.list(&ListParams::default())).await.unwrap().metadata.resource_version;
    let mut watch = within(gpus.watch(&WatchParams::default().at(&seen))).await.unwrap();
    // The consumer is away while something happens and is forgotten.
    server.faults().cut_watches();
    assert_eq!(within(failure(&mut watch)).await, Some(CallFaults::lost()));
    server.faults().next(Verb::Watch, CallFault::Hang);
    let again = async {
        let mut watch = gpus.watch(&WatchParams::default().at(&seen)).await?;
        failure(&mut watch).await.map_or(Ok(()), Err)
    };
    let meanwhile = async {
        server.faults().hanging().await;
        server.registry().delete("gpu-0", &DeleteParams::default()).await.unwrap();
        server.expire_history().await;
        server.faults().release();
    };
    let (again, ()) = within(async { tokio::join!(again, meanwhile) }).await;
    assert!(again.unwrap_err().is_expired());

    let now = within(gpus.list(&ListParams::default())).await.unwrap().metadata.resource_version;
    let mut watch = within(gpus.watch(&WatchParams::default().at(&now))).await.unwrap();
    within(server.expire_history()).await;
    within(gpus.create(&PostParams::default(), &gpu("new"))).await.unwrap();
    assert_eq!(next(&mut watch).await, "added new", "who was up to date goes on");

    within(server.restart()).await;
    let mut watch = match within(gpus.watch(&WatchParams::default().at(&seen))).await {
        Err(error) => return assert!(error.is_expired()),
        Ok(watch) => watch,
    };
    assert!(within(failure(&mut watch)).await.unwrap().is_expired(), "what was forgotten stays so");
}

#[tokio::test]
async fn a_version_from_before_an_expiry_is_expired_and_the_last_one_is_not() {
    with_each_handle!(expired);
}

#[tokio::test]
async fn a_stop_waits_for_no_call_that_hangs_and_no_watch_that_is_silent() {
    let mut server = TestServer::builder().with_gpus(1).on_socket().start().await;
    server.faults().next(Verb::Get, CallFault::Hang);
    let gpus = over_socket(&server);
    let hangs = tokio::spawn(async move { gpus.get("gpu-0").await });
    within(server.faults().hanging()).await;
    server.faults().next_watch(WatchFault::StallAfter(0));
    let silent = within(over_socket(&server).watch(&WatchParams::default())).await.unwrap();
    within(server.stop()).await;
    within(hangs).await.unwrap().expect("it was answered");
    assert_eq!(until_end(silent).await, (vec![], None));
}

#[tokio::test]
async fn to_start_or_stop_twice_is_to_do_it_once() {
    let mut server = TestServer::builder().with_gpus(1).start().await;
    server.start().await;
    assert_eq!(names(&server.gpus()).await, ["gpu-0"]);
    server.stop().await;
    server.stop().await;
    server.kill().await;
    server.start().await;
    assert_eq!(names(&server.gpus()).await, ["gpu-0"]);
}

#[tokio::test]
async fn two_servers_have_nothing_in_common_and_leave_no_folder() {
    let (one, other) =
        (TestServer::builder().on_socket().start().await, TestServer::builder().on_socket().start().await);
    within(over_socket(&one).create(&PostParams::default(), &gpu("x"))).await.unwrap();
    assert!(names(&over_socket(&other)).await.is_empty());
    let path = one.address().strip_prefix("unix://").unwrap().to_owned();
    let folder = Path::new(&path).parent().unwrap().to_owned();
    assert!(folder.exists());
    drop(one);
    assert!(!folder.exists());
}
