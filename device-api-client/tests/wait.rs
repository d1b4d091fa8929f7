// SPDX-License-Identifier: Apache-2.0
//! Waiting for an object, through everything that may happen meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml's exception for tests does not reach their functions

mod node;

use std::time::Duration;

use device_api_client::core::registry::{DeleteParams, History, PostParams, Verbs as _};
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu};
use device_api_client::wait::conditions::{exists, has_condition, is_deleted};
use device_api_client::wait::{Condition as _, WaitError, wait_for};
use node::{Fault, Node, gpu, lost, with_uuid};

const PATIENCE: Duration = Duration::from_secs(600);

async fn create(node: &Node, object: &Gpu) -> String {
    node.gpus().unwrap().create(&PostParams::default(), object).await.unwrap().metadata.uid.clone()
}

async fn delete(node: &Node, name: &str) {
    node.gpus().unwrap().delete(name, &DeleteParams::default()).await.unwrap();
}

/// Does this a second later.
fn later(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        task.await;
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_so_already_is_found_at_once() {
    let node = Node::start(History::default()).await;
    create(&node, &with_uuid("a", "x")).await;
    let known = |gpu: Option<&Gpu>| gpu.is_some_and(|gpu| gpu.spec.uuid == "x");
    let found = wait_for(&node.remote(), "A", known, PATIENCE).await.unwrap().unwrap();
    assert_eq!(found.metadata.name, "a");
    assert_eq!(wait_for(&node.remote(), "b", exists().not(), PATIENCE).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_comes_later_is_waited_for_through_a_restart() {
    let node = Node::start(History::default()).await;
    create(&node, &gpu("other")).await;
    node.meets_once([Fault::Fail(lost()), Fault::Cut(1, lost())]);
    let server = node.clone();
    later(async move {
        server.kill().await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        server.restart().await;
        create(&server, &gpu("a")).await;
        let mut ready = gpu("a");
        ready.status.conditions = vec![Condition::new("Ready", ConditionStatus::True)];
        server.gpus().unwrap().replace_status("a", &PostParams::default(), &ready).await.unwrap();
    });
    let ready = has_condition("Ready", ConditionStatus::True);
    let found = wait_for(&node.remote(), "a", ready, PATIENCE).await.unwrap().unwrap();
    assert_eq!(found.status.conditions[0].type_, "Ready");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_deleted_even_if_another_has_its_name() {
    let node = Node::start(History::default()).await;
    let uid = create(&node, &gpu("a")).await;
    let server = node.clone();
    later(async move {
        delete(&server, "a").await;
        create(&server, &gpu("a")).await;
    });
    wait_for(&node.remote(), "a", is_deleted(&uid), PATIENCE).await.unwrap();
    // Nobody watched while it was replaced.
    let other = wait_for(&node.remote(), "a", is_deleted(&uid), PATIENCE).await.unwrap().unwrap();
    assert_ne!(other.metadata.uid, uid);
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_in_half_a_list_counts_for_nothing_in_the_next_one() {
    let node = Node::start(History::default()).await;
    create(&node, &gpu("a")).await;
    node.meets_once([Fault::Cut(1, lost()), Fault::Slow(Duration::from_secs(5))]);
    let server = node.clone();
    later(async move { delete(&server, "a").await });
    assert_eq!(wait_for(&node.remote(), "a", exists().not(), PATIENCE).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn the_object_is_that_of_the_handles_namespace_and_of_default_where_it_has_none() {
    let node = Node::start(History::default()).await;
    let mut left = with_uuid("a", "left");
    left.metadata.namespace = "left".to_owned();
    create(&node, &left).await;
    let found = wait_for(&node.remote().namespaced("left"), "a", exists(), PATIENCE).await.unwrap();
    assert_eq!(found.unwrap().spec.uuid, "left");
    assert_eq!(wait_for(&node.remote(), "a", exists().not(), PATIENCE).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_for_what_and_whether_the_server_was_there() {
    let node = Node::start(History::default()).await;
    let ready = has_condition::<Gpu>("Ready", ConditionStatus::True).or(|gpu: Option<&Gpu>| gpu.is_some());
    let error = wait_for(&node.remote(), "a", ready, PATIENCE).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "gpus \"a\" has not come to the wanted state within 600s: check what should bring it there"
    );
    assert!(matches!(error, WaitError::TimedOut { source: None, .. }));
    // After a failure it says nothing but that it is there.
    node.meets_once([Fault::Cut(1, lost())]);
    let error = wait_for(&node.remote(), "a", exists(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, WaitError::TimedOut { source: None, .. }), "{error:?}");
    node.kill().await;
    let error = wait_for(&node.remote(), "a", exists(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, WaitError::TimedOut { source: Some(source), .. } if source == lost()));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_none_can_have_is_not_waited_for() {
    let node = Node::start(History::default()).await;
    let error = wait_for(&node.remote(), "a,b", exists(), PATIENCE).await.unwrap_err();
    assert!(matches!(&error, WaitError::Refused { source, .. } if source.is_invalid()), "{error}");
}

#[test]
fn conditions_are_put_together() {
    let named = |name: &'static str| move |gpu: Option<&Gpu>| gpu.is_some_and(|gpu| gpu.metadata.name == name);
    let a = gpu("a");
    assert!(named("a").and(exists()).is_met(Some(&a)) && !named("a").and(named("b")).is_met(Some(&a)));
    assert!(named("b").or(named("a")).is_met(Some(&a)) && !named("b").or(named("c")).is_met(Some(&a)));
    assert!(named("b").not().is_met(Some(&a)) && !named("a").not().is_met(Some(&a)));
    assert!(exists().not().and(is_deleted::<Gpu>("x")).is_met(None::<&Gpu>));
}
