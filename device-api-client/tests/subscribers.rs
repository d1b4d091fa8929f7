// SPDX-License-Identifier: Apache-2.0
//! A hundred subscribers of one store, one of which does not read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml's exception for tests does not reach their functions

mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use device_api_client::core::registry::{History, PostParams};
use device_api_client::core::resource::Gpu;
use device_api_client::{Reflector, ReflectorOptions, Subscription, Update};
use futures_util::FutureExt as _;
use node::{Node, gpu, with_uuid};

const QUEUE: usize = 16;
const CHANGES: usize = 200;

/// Reads until the change with this uuid was told; says how many changes there were, and how many snapshots.
async fn read_to(mut updates: Subscription<Gpu>, last: String) -> (usize, usize) {
    let (mut changes, mut snapshots) = (0, 0);
    loop {
        match updates.next().await.expect("the reflector goes on") {
            Update::Snapshot { .. } => snapshots += 1,
            Update::Modified { now, .. } if now.spec.uuid == last => return (changes + 1, snapshots),
            _ => changes += 1,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_subscribers_only_the_slow_one_misses_something_and_is_told_so() {
    let node = Node::start(History::default()).await;
    let gpus = node.gpus().unwrap();
    gpus.create(&PostParams::default(), &gpu("a")).await.unwrap();
    let reflector = Reflector::start(node.remote(), ReflectorOptions::default().with_queue(QUEUE));
    let store = reflector.store();
    store.wait_until_ready().await.unwrap();

    let mut slow = store.subscribe();
    assert!(matches!(slow.next().await, Some(Update::Snapshot { missed: 0, .. })));
    let last = format!("GPU-{CHANGES}");
    let others: Vec<_> = (0..99).map(|_| tokio::spawn(read_to(store.subscribe(), last.clone()))).collect();
    tokio::task::yield_now().await;
    for number in 1..=CHANGES {
        gpus.replace("a", &PostParams::default(), &with_uuid("a", &format!("GPU-{number}"))).await.unwrap();
        // Each write waits for the store, so whatever the slow one held up would end this by the time limit.
        let arrives = async {
            while store.get("a").unwrap().spec.uuid != format!("GPU-{number}") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), arrives).await.expect("nobody waits for the slow one");
    }
    for other in others {
        assert_eq!(other.await.unwrap(), (CHANGES, 1), "every change was told, and one snapshot");
    }
    let update = slow.next().now_or_never().flatten().expect("a snapshot is there at once");
    let Update::Snapshot { objects, missed } = update else { panic!("{update:?}") };
    assert_eq!((objects.len(), objects[0].spec.uuid.as_str(), missed), (1, last.as_str(), CHANGES as u64));
    assert!(slow.next().now_or_never().is_none(), "the snapshot has everything");
}

#[tokio::test(start_paused = true)]
async fn who_lagged_or_comes_late_gets_the_last_state_of_a_reflector_that_has_stopped() {
    let node = Node::start(History::default()).await;
    let gpus = node.gpus().unwrap();
    let reflector = Reflector::start(node.remote(), ReflectorOptions::default().with_queue(2));
    let store = reflector.store();
    store.wait_until_ready().await.unwrap();
    let (mut lagging, mut punctual, mut late) = (store.subscribe(), store.subscribe(), store.subscribe());
    let snapshot = |names: &[&str], missed| Some((names.iter().map(ToString::to_string).collect::<Vec<_>>(), missed));
    for reader in [&mut lagging, &mut punctual] {
        assert_eq!(next_snapshot(reader).await, snapshot(&[], 0));
    }
    for name in ["a", "b", "c", "d"] {
        gpus.create(&PostParams::default(), &gpu(name)).await.unwrap();
        assert!(matches!(punctual.next().await, Some(Update::Added(gpu)) if gpu.metadata.name == name));
    }
    reflector.stop().await;
    assert!(punctual.next().await.is_none());
    assert_eq!(next_snapshot(&mut lagging).await, snapshot(&["a", "b", "c", "d"], 4));
    assert_eq!(next_snapshot(&mut late).await, snapshot(&["a", "b", "c", "d"], 0));
    assert!(lagging.next().await.is_none() && late.next().await.is_none());
}

/// The names in a snapshot, and how much was missed before it.
async fn next_snapshot(updates: &mut Subscription<Gpu>) -> Option<(Vec<String>, u64)> {
    match updates.next().await? {
        Update::Snapshot { objects, missed } => {
            Some((objects.iter().map(|gpu| gpu.metadata.name.clone()).collect(), missed))
        }
        other => panic!("{other:?} is no snapshot"),
    }
}

/// On two threads: a change falls between a snapshot and what follows it, or into one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_a_snapshot_and_its_changes_there_is_no_gap_at_any_time() {
    let node = Node::start(History::default()).await;
    let gpus = node.gpus().unwrap();
    gpus.create(&PostParams::default(), &with_uuid("a", "0")).await.unwrap();
    let reflector = Reflector::start(node.remote(), ReflectorOptions::default().with_queue(4));
    let store = reflector.store();
    store.wait_until_ready().await.unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&enough);
    let writer = tokio::spawn(async move {
        for number in (1..).take_while(|_| !ends.load(Ordering::Relaxed)) {
            gpus.replace("a", &PostParams::default(), &with_uuid("a", &number.to_string())).await.unwrap();
        }
    });
    let number = |gpu: &Gpu| gpu.spec.uuid.parse::<u32>().unwrap();
    let mut told = 0;
    while told < 500 {
        let mut updates = store.subscribe();
        let mut known = None;
        for _ in 0..5 {
            let update = tokio::time::timeout(Duration::from_secs(60), updates.next()).await;
            match update.expect("an update comes").expect("the reflector goes on") {
                Update::Snapshot { objects, .. } => known = Some(number(&objects[0])),
                Update::Modified { before, now } => {
                    assert_eq!(Some(number(&before)), known);
                    assert_eq!(number(&now), number(&before) + 1);
                    known = Some(number(&now));
                    told += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    enough.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}
