// SPDX-License-Identifier: Apache-2.0
//! Calls and watches of a test's server: refused with the same values whatever is in between, and broken
//! as the test says.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod worlds;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use device_api_core::patch::{Patch, PatchType};
use device_api_core::registry::{
    DeleteParams, GetParams, LedgerOptions, Limits, ListParams, PostParams, Verbs, VersionMatch, WatchParams,
};
use device_api_core::resource::{Condition, ConditionStatus, Gpu};
use device_api_core::storage::StorageErrorKind;
use device_api_core::{Error, Result};
use device_api_server::testing::{Call, CallFault, CallFaults, Fault, TestServer, Verb, WatchFault};
use worlds::{gpu, next, until_end, within};

async fn server() -> TestServer {
    server_with(Limits::default()).await
}

async fn server_with(limits: Limits) -> TestServer {
    let options = LedgerOptions::default().with_version_wait(Duration::from_millis(10)).with_limits(limits);
    TestServer::builder().with_gpus(3).with_ledger_options(options).on_socket().start().await
}

fn forbidden() -> Error {
    Error::Forbidden { why: "not in this test".to_owned() }
}

fn refused<T: Debug>(outcome: Result<T>) -> Error {
    outcome.unwrap_err()
}

async fn refusals(_: &TestServer, gpus: impl Verbs<Gpu>) -> Vec<Error> {
    let post = PostParams::default();
    let mut stale = gpu("gpu-0");
    stale.metadata.resource_version = "1".to_owned();
    let json = |text: &str| Patch::new(PatchType::Json, text.as_bytes().to_vec());
    let (mut large, mut elsewhere) = (gpu("large"), gpu("x"));
    large.metadata.annotations.insert("note".to_owned(), "x".repeat(40 << 10));
    elsewhere.metadata.namespace = "right".to_owned();
    vec![
        refused(gpus.get("none").await),
        refused(gpus.create(&post, &gpu("gpu-0")).await),
        refused(gpus.create(&post, &gpu("not a name")).await),
        refused(gpus.replace("gpu-0", &post, &stale).await),
        refused(gpus.replace("gpu-0", &post, &gpu("gpu-1")).await),
        refused(gpus.replace_status("none", &post, &gpu("none")).await),
        refused(gpus.patch("gpu-0", &post, &json(r#"[{"op": "remove", "path": "/metadata/labels/x"}]"#)).await),
        refused(gpus.patch_status("gpu-0", &post, &json("no JSON")).await),
        refused(gpus.delete("gpu-0", &DeleteParams::default().uid("another")).await),
        refused(gpus.list(&ListParams::default().labels("a b")).await),
        refused(gpus.list(&ListParams::default().at("1").continue_token("x")).await),
        refused(gpus.get_with("gpu-0", &GetParams::default().at("99999999999999999")).await),
        refused(gpus.list(&ListParams::default().at("1").matching(VersionMatch::Exact)).await),
        refused(gpus.create(&post, &large).await),
        refused(gpus.create(&post, &gpu("fourth")).await),
        refused(gpus.patch("gpu-0", &post, &json(&" ".repeat(65 << 10))).await),
        refused(gpus.list(&ListParams::default().labels("x".repeat(17 << 10))).await),
        refused(gpus.namespaced("left").create(&post, &elsewhere).await),
        refused(gpus.create(&post.clone().manager("two\nlines"), &gpu("x")).await),
    ]
}

#[tokio::test]
async fn a_refusal_is_the_same_value_whatever_is_in_between() {
    let limits = Limits::default().with_max_objects(3).with_max_object_bytes(32 << 10);
    let refusals = everywhere!(server_with(limits).await, refusals);
    let reasons: BTreeSet<_> = refusals.iter().map(|error| error.reason().as_str()).collect();
    assert!(reasons.len() >= 9, "{reasons:?}");
}

async fn too_large(_: &TestServer, gpus: impl Verbs<Gpu>) -> Error {
    let mut large = gpu("large");
    let said =
        |number| Condition::new(format!("Type{number}"), ConditionStatus::True).with_message("x".repeat(32 << 10));
    large.status.conditions = (0..200).map(said).collect();
    refused(gpus.create(&PostParams::default(), &large).await)
}

#[tokio::test]
async fn what_is_too_large_for_a_message_is_so_whatever_is_in_between() {
    let server = server().await;
    let in_process = within(too_large(&server, server.gpus())).await;
    assert!(matches!(in_process, Error::TooLarge { .. }), "{in_process:?}");
    assert_eq!(within(too_large(&server, worlds::through_grpc(&server))).await, in_process);
    // A socket has a limit of its own, which is reached first.
    let over_socket = within(too_large(&server, worlds::over_socket(&server))).await;
    assert_eq!(over_socket.reason(), in_process.reason(), "{over_socket:?}");
}

async fn three_lists(server: &TestServer, gpus: impl Verbs<Gpu>) -> Vec<Result<usize>> {
    server.faults().nth(Verb::List, 2, CallFault::Fail(forbidden()));
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        // Calls of another verb do not count.
        gpus.get("gpu-0").await.unwrap();
        outcomes.push(gpus.list(&ListParams::default()).await.map(|list| list.items.len()));
    }
    outcomes
}

#[tokio::test]
async fn the_nth_call_fails_with_what_was_planned_and_no_other_does() {
    assert_eq!(everywhere!(server().await, three_lists), [Ok(3), Err(forbidden()), Ok(3)]);
}

/// Every verb once, each of which is planned to fail.
async fn every_verb(server: &TestServer, gpus: impl Verbs<Gpu>) -> Vec<Result<()>> {
    let verbs = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Replace,
        Verb::ReplaceStatus,
        Verb::Patch,
        Verb::PatchStatus,
        Verb::Delete,
    ];
    for verb in verbs {
        let why = format!("{verb:?}");
        server.faults().always(verb, CallFault::Fail(Error::Forbidden { why }));
    }
    let (post, patch) = (PostParams::default(), Patch::new(PatchType::Merge, b"{}".to_vec()));
    let gpu = gpu("gpu-0");
    let outcomes = vec![
        gpus.get("gpu-0").await.map(drop),
        gpus.list(&ListParams::default()).await.map(drop),
        gpus.watch(&WatchParams::default()).await.map(drop),
        gpus.create(&post, &gpu).await.map(drop),
        gpus.replace("gpu-0", &post, &gpu).await.map(drop),
        gpus.replace_status("gpu-0", &post, &gpu).await.map(drop),
        gpus.patch("gpu-0", &post, &patch).await.map(drop),
        gpus.patch_status("gpu-0", &post, &patch).await.map(drop),
        gpus.delete("gpu-0", &DeleteParams::default()).await,
    ];
    let expected = verbs.map(|verb| Err(Error::Forbidden { why: format!("{verb:?}") }));
    assert_eq!(outcomes, expected);
    server.faults().clear();
    gpus.get("gpu-0").await.unwrap();
    outcomes
}

#[tokio::test]
async fn every_verb_meets_its_own_faults_until_they_are_cleared() {
    everywhere!(server().await, every_verb);
}

async fn a_lost_reply(server: &TestServer, gpus: impl Verbs<Gpu>) -> Error {
    server.faults().next(Verb::Create, CallFault::LoseReply);
    let error = refused(gpus.create(&PostParams::default(), &gpu("new")).await);
    gpus.delete("new", &DeleteParams::default()).await.expect("it was created");
    error
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_has_happened_and_may_be_tried_again() {
    let error = everywhere!(server().await, a_lost_reply);
    assert_eq!(error, CallFaults::lost());
    assert!(error.is_unavailable() && error.is_retryable());
}

#[tokio::test]
async fn a_call_that_hangs_does_nothing_until_it_is_released() {
    let server = server().await;
    let gpus = worlds::over_socket(&server);
    server.faults().next(Verb::Delete, CallFault::Hang);
    let delete = tokio::spawn(async move { gpus.delete("gpu-0", &DeleteParams::default()).await });
    within(server.faults().hanging()).await;
    server.registry().get("gpu-0").await.expect("it is not deleted yet");
    server.faults().release();
    within(delete).await.unwrap().unwrap();
    assert!(server.registry().get("gpu-0").await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_delay_of_an_hour_takes_a_test_with_paused_time_no_time() {
    let server = TestServer::builder().with_gpus(1).start().await;
    server.faults().next(Verb::Get, CallFault::Delay(Duration::from_secs(3600)));
    let before = tokio::time::Instant::now();
    server.gpus().get("gpu-0").await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(3600));
}

async fn broken_watches(server: &TestServer, gpus: impl Verbs<Gpu>) -> Vec<(Vec<String>, Option<Error>)> {
    let mut outcomes = Vec::new();
    for fault in [WatchFault::CutAfter(2), WatchFault::EndAfter(1), WatchFault::CutAfter(0)] {
        server.faults().next_watch(fault);
        outcomes.push(until_end(gpus.watch(&WatchParams::default()).await.unwrap()).await);
    }
    outcomes
}

#[tokio::test]
async fn a_watch_is_cut_or_ended_after_as_many_events_as_the_test_says() {
    let [cut, ended, at_once] = everywhere!(server().await, broken_watches).try_into().unwrap();
    assert_eq!(cut, (vec!["added gpu-0".to_owned(), "added gpu-1".to_owned()], Some(CallFaults::lost())));
    assert_eq!(ended, (vec!["added gpu-0".to_owned()], None));
    assert_eq!(at_once, (vec![], Some(CallFaults::lost())));
}

async fn a_cut(server: &TestServer, gpus: impl Verbs<Gpu>) -> (Vec<String>, Option<Error>) {
    let mut watch = gpus.watch(&WatchParams::default()).await.unwrap();
    for _ in 0..3 {
        next(&mut watch).await;
    }
    server.faults().cut_watches();
    let outcome = until_end(watch).await;
    server.faults().every_watch(WatchFault::EndAfter(3));
    let again = until_end(gpus.watch(&WatchParams::default()).await.unwrap()).await;
    assert_eq!((again.0.len(), again.1), (3, None), "a later watch is not cut");
    server.faults().clear();
    outcome
}

#[tokio::test]
async fn a_cut_ends_the_watches_that_are_open_and_no_later_one() {
    assert_eq!(everywhere!(server().await, a_cut), (vec![], Some(CallFaults::lost())));
}

async fn a_disconnect(server: &TestServer, gpus: impl Verbs<Gpu>) -> (Result<()>, Option<Error>) {
    let watch = gpus.watch(&WatchParams::default().at(latest(&gpus).await)).await.unwrap();
    server.faults().next(Verb::Delete, CallFault::Hang);
    let params = DeleteParams::default();
    let disconnect = async {
        server.faults().hanging().await;
        server.faults().disconnect();
    };
    let (delete, ()) = tokio::join!(gpus.delete("gpu-0", &params), disconnect);
    gpus.get("gpu-0").await.expect("the server is still there, and the delete had not begun");
    (delete, until_end(watch).await.1)
}

async fn latest(gpus: &impl Verbs<Gpu>) -> String {
    gpus.list(&ListParams::default()).await.unwrap().metadata.resource_version
}

#[tokio::test]
async fn a_disconnect_loses_the_calls_in_flight_and_the_watches() {
    let lost = CallFaults::lost;
    assert_eq!(everywhere!(server().await, a_disconnect), (Err(lost()), Some(lost())));
}

async fn silence(server: &TestServer, gpus: impl Verbs<Gpu>) -> (Vec<String>, Option<Error>) {
    server.faults().next_watch(WatchFault::StallAfter(1));
    let mut watch = gpus.watch(&WatchParams::default()).await.unwrap();
    assert_eq!(next(&mut watch).await, "added gpu-0");
    // A watch that hears of it stands for the time in which the silent one hears nothing.
    let mut other = gpus.watch(&WatchParams::default()).await.unwrap();
    for _ in 0..3 {
        next(&mut other).await;
    }
    server.faults().cut_watches();
    until_end(watch).await
}

#[tokio::test]
async fn a_watch_that_stalls_says_nothing_more_until_it_is_cut() {
    assert_eq!(everywhere!(server().await, silence), (vec![], Some(CallFaults::lost())));
}

async fn a_full_store(server: &TestServer, gpus: impl Verbs<Gpu>) -> Error {
    server.storage_faults().next(Call::Commit, Fault::Refuse(StorageErrorKind::Busy));
    let error = refused(gpus.create(&PostParams::default(), &gpu("new")).await);
    assert!(gpus.get("new").await.unwrap_err().is_not_found());
    error
}

#[tokio::test]
async fn the_store_fails_when_the_test_says_so() {
    assert!(everywhere!(server().await, a_full_store).is_unavailable());
}

#[tokio::test]
async fn a_handle_in_another_namespace_meets_the_same_faults() {
    let server = TestServer::builder().start().await;
    let left = server.gpus().namespaced("left");
    left.create(&PostParams::default(), &gpu("x")).await.unwrap();
    assert_eq!(left.get("x").await.unwrap().metadata.namespace, "left");
    assert!(server.gpus().get("x").await.unwrap_err().is_not_found());
    server.faults().next(Verb::Get, CallFault::Fail(forbidden()));
    assert_eq!(left.get("x").await, Err(forbidden()));
}
