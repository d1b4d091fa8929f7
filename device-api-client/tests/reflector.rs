// SPDX-License-Identifier: Apache-2.0
//! A reflector, its store and its subscribers, under one fault at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml's exception for tests does not reach their functions

mod node;

use std::time::Duration;

use device_api_client::core::Error;
use device_api_client::core::registry::{DeleteParams, History, PostParams};
use device_api_client::core::resource::Gpu;
use device_api_client::watcher::Config;
use device_api_client::{Reflector, ReflectorOptions, Store, Subscription, Update};
use node::{Fault, Node, gpu, lost, with_uuid};

async fn create(node: &Node, name: &str) {
    node.gpus().unwrap().create(&PostParams::default(), &gpu(name)).await.unwrap();
}

async fn set_uuid(node: &Node, name: &str, uuid: &str) {
    node.gpus().unwrap().replace(name, &PostParams::default(), &with_uuid(name, uuid)).await.unwrap();
}

async fn delete(node: &Node, name: &str) {
    node.gpus().unwrap().delete(name, &DeleteParams::default()).await.unwrap();
}

fn names(store: &Store<Gpu>) -> Vec<String> {
    store.list().iter().map(|gpu| gpu.metadata.name.clone()).collect()
}

/// An update in a word.
fn word(update: &Update<Gpu>) -> String {
    match update {
        Update::Snapshot { objects, missed } => {
            let names: Vec<_> = objects.iter().map(|gpu| gpu.metadata.name.as_str()).collect();
            format!("={} missed {missed}", names.join(","))
        }
        Update::Added(gpu) => format!("+{}", gpu.metadata.name),
        Update::Modified { before, now } => {
            format!("~{} {}>{}", now.metadata.name, before.spec.uuid, now.spec.uuid)
        }
        Update::Deleted(gpu) => format!("-{}", gpu.metadata.name),
    }
}

async fn next(updates: &mut Subscription<Gpu>) -> String {
    // Virtual time: a hang ends at once.
    let update = tokio::time::timeout(Duration::from_secs(3600), updates.next()).await;
    update.unwrap().as_ref().map_or("end".to_owned(), word)
}

async fn ready(node: &Node) -> (Reflector<Gpu>, Store<Gpu>, Subscription<Gpu>) {
    let reflector = Reflector::start(node.remote(), ReflectorOptions::default());
    let store = reflector.store();
    store.wait_until_ready().await.unwrap();
    let mut updates = store.subscribe();
    assert!(next(&mut updates).await.ends_with("missed 0"));
    (reflector, store, updates)
}

#[tokio::test(start_paused = true)]
async fn the_store_has_what_the_server_has_and_follows_it() {
    let node = Node::start(History::default()).await;
    create(&node, "b").await;
    create(&node, "a").await;
    let (_reflector, store, mut updates) = ready(&node).await;
    assert_eq!(names(&store), ["a", "b"]);
    assert_eq!(store.get("A").unwrap().metadata.name, "a", "names are normalised");
    assert!(store.get("c").is_none() && store.get("no name").is_none() && store.get_in("other", "a").is_none());

    create(&node, "c").await;
    set_uuid(&node, "a", "x").await;
    delete(&node, "b").await;
    let told = [next(&mut updates).await, next(&mut updates).await, next(&mut updates).await];
    assert_eq!(told, ["+c", "~a >x", "-b"]);
    assert_eq!(names(&store), ["a", "c"]);
    assert_eq!(store.find(|gpu| gpu.spec.uuid == "x").unwrap().metadata.name, "a");
    assert_eq!((store.len(), store.filter(|gpu| gpu.spec.uuid.is_empty()).len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn labels_and_indexes_find_objects() {
    let node = Node::start(History::default()).await;
    create(&node, "a").await;
    set_uuid(&node, "a", "x").await;
    let (_reflector, store, mut updates) = ready(&node).await;
    let by_uuid = store.index(|gpu| Some(gpu.spec.uuid.clone()).filter(|uuid| !uuid.is_empty()));
    let under = |uuid: &str| by_uuid.get(uuid).iter().map(|gpu| gpu.metadata.name.clone()).collect::<Vec<_>>();
    assert_eq!(under("x"), ["a"]);

    let mut b = with_uuid("b", "x");
    b.metadata.labels.insert("zone".to_owned(), "left".to_owned());
    node.gpus().unwrap().create(&PostParams::default(), &b).await.unwrap();
    set_uuid(&node, "a", "y").await;
    assert_eq!([next(&mut updates).await, next(&mut updates).await], ["+b", "~a x>y"]);
    assert_eq!(
        (under("x"), under("y"), by_uuid.keys()),
        (vec!["b".into()], vec!["a".into()], vec!["x".into(), "y".into()])
    );
    assert_eq!(store.labels("zone in (left)").unwrap().len(), 1);
    delete(&node, "b").await;
    assert_eq!(next(&mut updates).await, "-b");
    assert_eq!((under("x"), by_uuid.keys()), (vec![], vec!["y".to_owned()]));
    assert!(store.labels("zone in (left)").unwrap().is_empty());
    assert!(store.labels("(").unwrap_err().is_invalid());
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_is_found_again_and_nothing_is_told_twice() {
    let node = Node::start(History::default()).await;
    create(&node, "a").await;
    let (_reflector, store, mut updates) = ready(&node).await;
    node.kill().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(store.last_error().unwrap().is_unavailable());
    assert!(store.last_contact().unwrap() >= Duration::from_secs(59));
    assert_eq!(names(&store), ["a"], "what it had, it keeps");
    node.restart().await;
    create(&node, "b").await;
    assert_eq!(next(&mut updates).await, "+b");
    assert_eq!((store.last_error(), store.last_contact()), (None, Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn after_expired_only_what_differs_is_told() {
    let node = Node::start(History::default().with_max_events(1)).await;
    for name in ["a", "b", "c", "d"] {
        create(&node, name).await;
    }
    let (_reflector, store, mut updates) = ready(&node).await;
    node.meets_once([Fault::Fail(lost()), Fault::Slow(Duration::from_secs(5))]);
    node.kill().await;
    node.restart().await;
    delete(&node, "b").await;
    create(&node, "b").await;
    set_uuid(&node, "c", "x").await;
    delete(&node, "d").await;
    create(&node, "e").await;
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(next(&mut updates).await);
    }
    // The same name with another object behind it is an end and a beginning.
    assert_eq!(told, ["-b", "+b", "~c >x", "+e", "-d"]);
    assert_eq!(names(&store), ["a", "b", "c", "e"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lost_everything_empties_the_store() {
    let node = Node::start(History::default()).await;
    create(&node, "a").await;
    create(&node, "b").await;
    let (_reflector, store, mut updates) = ready(&node).await;
    node.reset().await;
    create(&node, "b").await;
    let told = [next(&mut updates).await, next(&mut updates).await, next(&mut updates).await];
    assert_eq!(told, ["-b", "+b", "-a"]);
    assert_eq!(names(&store), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_gone_silent_is_made_anew() {
    let node = Node::start(History::default()).await;
    create(&node, "a").await;
    // One event, and the end of the initial ones.
    node.meets_once([Fault::Mute(2)]);
    let (_reflector, store, mut updates) = ready(&node).await;
    create(&node, "b").await;
    let before = tokio::time::Instant::now();
    assert_eq!(next(&mut updates).await, "+b");
    let waited = before.elapsed();
    assert!(waited >= Config::default().silence && waited < Config::default().silence * 2, "{waited:?}");
    assert_eq!(names(&store), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_keep_a_quiet_stream_alive() {
    let node = Node::start(History::default()).await;
    let (_reflector, store, _updates) = ready(&node).await;
    node.meets_once(vec![Fault::Fail(lost()); 3]);
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    assert!(store.last_contact().unwrap() <= Duration::from_secs(60));
    assert_eq!(store.last_error(), None, "nothing was asked for anew");
}

#[tokio::test(start_paused = true)]
async fn a_reflector_that_panics_begins_anew_and_its_subscribers_miss_nothing() {
    let node = Node::start(History::default()).await;
    for name in ["a", "b"] {
        create(&node, name).await;
    }
    let (_reflector, store, mut updates) = ready(&node).await;
    node.meets_once([Fault::Panic, Fault::Panic]);
    node.kill().await;
    node.restart().await;
    delete(&node, "b").await;
    create(&node, "c").await;
    assert_eq!([next(&mut updates).await, next(&mut updates).await], ["+c", "-b"]);
    assert_eq!(names(&store), ["a", "c"]);
    set_uuid(&node, "a", "x").await;
    assert_eq!(next(&mut updates).await, "~a >x");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_given_up() {
    let node = Node::start(History::default()).await;
    for config in [Config::default(), Config::default().paged_lists(1)] {
        node.meets_once([Fault::Hang]);
        let reflector = Reflector::start(node.remote(), config);
        reflector.store().wait_until_ready().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_and_its_watch_make_the_same_store() {
    let node = Node::start(History::default()).await;
    for name in ["a", "b", "c", "d", "e"] {
        create(&node, name).await;
    }
    let reflector = Reflector::start(node.remote(), Config::default().paged_lists(2).fields("metadata.name!=d"));
    let store = reflector.store();
    store.wait_until_ready().await.unwrap();
    assert_eq!(names(&store), ["a", "b", "c", "e"]);
    let mut updates = store.subscribe();
    next(&mut updates).await;
    create(&node, "f").await;
    assert_eq!(next(&mut updates).await, "+f");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_know_initial_events_is_listed() {
    for old in [Fault::IgnoreInitialEvents, Fault::RefuseInitialEvents] {
        let node = Node::start(History::default().with_max_events(1)).await;
        for name in ["a", "b"] {
            create(&node, name).await;
        }
        node.meets_always(old.clone());
        let reflector = Reflector::start(node.remote(), Config::default());
        let store = reflector.store();
        tokio::time::timeout(Duration::from_secs(3600), store.wait_until_ready())
            .await
            .expect("it gets ready")
            .unwrap();
        let mut updates = store.subscribe();
        assert_eq!(next(&mut updates).await, "=a,b missed 0");
        create(&node, "c").await;
        assert_eq!(next(&mut updates).await, "+c");
        // Its history is forgotten meanwhile, so it is asked for the whole state again.
        node.kill().await;
        node.restart().await;
        delete(&node, "a").await;
        delete(&node, "b").await;
        let told = [next(&mut updates).await, next(&mut updates).await];
        assert_eq!((told, names(&store)), (["-a".to_owned(), "-b".to_owned()], vec!["c".to_owned()]), "{old:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_reflector_that_gives_up_is_told_why() {
    let node = Node::start(History::default()).await;
    let reflector = Reflector::start(node.remote(), Config::default().labels("("));
    let store = reflector.store();
    let mut updates = store.subscribe();
    let error = store.wait_until_ready().await.unwrap_err();
    assert!(matches!(&error, Error::BadRequest { field, .. } if field == "labelSelector"), "{error}");
    assert_eq!(next(&mut updates).await, "end");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_reflector_ends_its_subscriptions_and_leaves_the_store() {
    let node = Node::start(History::default()).await;
    create(&node, "a").await;
    let (reflector, store, mut updates) = ready(&node).await;
    reflector.stop().await;
    assert_eq!(next(&mut updates).await, "end");
    assert_eq!(names(&store), ["a"]);
    node.kill().await;
    let reflector = Reflector::start(node.remote(), Config::default());
    let waiting = reflector.store();
    drop(reflector);
    assert!(waiting.wait_until_ready().await.unwrap_err().is_unavailable());
}
