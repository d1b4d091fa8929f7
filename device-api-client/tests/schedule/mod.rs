// SPDX-License-Identifier: Apache-2.0
//! One random schedule: writes, faults and subscribers, and what must hold after it.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their modules

mod listener;

use std::time::Duration;

use device_api_client::core::Error;
use device_api_client::core::registry::{DeleteParams, History, ListParams, PostParams};
use device_api_client::watcher::Config;
use device_api_client::{Reflector, ReflectorOptions};
use fastrand::Rng;

use self::listener::Listener;
use crate::node::{Fault, Faults, Node, gpu, lost, with_uuid};

/// How often things happened.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) changes: u64,
    pub(crate) restarts: u64,
    pub(crate) resets: u64,
    pub(crate) snapshots: u64,
    pub(crate) lags: u64,
    pub(crate) relists: u64,
    pub(crate) exact: u64,
}

impl Seen {
    fn counts(&self) -> [u64; 7] {
        [self.changes, self.restarts, self.resets, self.snapshots, self.lags, self.relists, self.exact]
    }

    pub(crate) fn is_all_above(&self, least: u64) -> bool {
        self.counts().into_iter().all(|count| count > least)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.restarts += other.restarts;
        self.resets += other.resets;
        self.snapshots += other.snapshots;
        self.lags += other.lags;
        self.relists += other.relists;
        self.exact += other.exact;
    }
}

/// One call of three meets a fault.
#[derive(Debug)]
struct Random {
    random: Rng,
    expires: bool,
}

impl Faults for Random {
    fn next(&mut self) -> Fault {
        let after = self.random.u32(0..6);
        match self.random.u32(0..18) {
            0 => Fault::Fail(lost()),
            1 => Fault::Slow(Duration::from_millis(self.random.u64(0..5000))),
            2 => Fault::Hang,
            3 => Fault::End(after),
            4 => Fault::Cut(after, lost()),
            5 => Fault::Mute(after),
            6 if self.expires => Fault::Cut(after, Error::Expired { requested: 1, oldest: 2 }),
            7 if self.expires => Fault::Fail(Error::Expired { requested: 1, oldest: 2 }),
            _ => Fault::None,
        }
    }
}

/// What the server did, by version.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The versions of all writes, in order.
    pub(crate) versions: Vec<u64>,
    /// Whether the watch of the reflector may have found its history forgotten.
    pub(crate) expired: bool,
}

/// Runs the schedule of this seed.
pub(crate) async fn run(seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let expires = random.bool();
    let history = if expires { History::default().with_max_events(random.usize(1..6)) } else { History::default() };
    let node = Node::start(history).await;
    node.meets(Random { random: random.fork(), expires });
    let queue = if random.bool() { 2 } else { 1024 };
    // Pages come in the order of names; only the stream keeps the order of versions over a relist.
    let paged = random.u32(0..4) == 0;
    let config = if paged { Config::default().paged_lists(2) } else { Config::default() };
    let reflector = Reflector::start(node.remote(), ReflectorOptions::from(config).with_queue(queue));
    let store = reflector.store();
    let (mut truth, mut seen) = (Truth { expired: expires, ..Truth::default() }, Seen::default());
    let mut listeners = vec![Listener::new(&store)];
    for _ in 0..random.u32(10..80) {
        match random.u32(0..40) {
            0 => node.kill().await,
            1..=2 => {
                seen.restarts += u64::from(node.gpus().is_none());
                node.restart().await;
            }
            3 if expires => {
                seen.resets += 1;
                node.reset().await;
            }
            // A jump of the server's clock: its history is too old, and the next revisions come from the past.
            4 if expires => node.clock().advance(Duration::from_secs(7200)),
            5 => node.clock().set("2020-01-01T00:00:00Z".parse().unwrap()),
            6 => listeners.push(Listener::new(&store)),
            7..=12 => tokio::time::sleep(Duration::from_millis(random.u64(0..20_000))).await,
            13..=16 => {
                let at = random.usize(..listeners.len());
                listeners[at].read(random.usize(1..10), &mut seen);
            }
            _ => {
                // A write that changes nothing returns the version that was.
                let version = write(&node, &mut random).await;
                truth.versions.extend(version.filter(|version| truth.versions.last() < Some(version)));
            }
        }
        if random.bool() {
            tokio::task::yield_now().await;
        }
    }
    node.is_well();
    node.restart().await;
    // What comes last is the sign that everything came.
    let gpus = node.gpus().unwrap();
    let last = gpus.create(&PostParams::default(), &gpu("last")).await.unwrap();
    truth.versions.push(last.metadata.resource_version.parse().unwrap());
    let caught_up = async {
        while store.get("last").is_none_or(|found| found != last) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), caught_up).await.expect("the store catches up");
    // In pages, what follows the last one may still be under way.
    tokio::time::sleep(Duration::from_secs(200)).await;
    let list = gpus.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(store.list(), list, "the store is the server's");
    for mut listener in listeners {
        listener.read(usize::MAX, &mut seen);
        listener.check(&list, &truth, !paged, &mut seen);
    }
    seen
}

/// Tries a write, and returns its version.
async fn write(node: &Node, random: &mut Rng) -> Option<u64> {
    let gpus = node.gpus()?;
    let name = format!("gpu-{}", random.u32(0..5));
    let params = PostParams::default();
    let object = with_uuid(&name, &random.u32(0..1000).to_string());
    let written = match random.u32(0..6) {
        0..=1 => gpus.create(&params, &object).await,
        2 => gpus.replace(&name, &params, &object).await,
        3..=4 => {
            let mut object = object;
            object.status.recommended_action = Some(format!("A{}", random.u32(0..1000)).as_str().into());
            gpus.replace_status(&name, &params, &object).await
        }
        _ => {
            gpus.delete(&name, &DeleteParams::default()).await.ok()?;
            return gpus.list(&ListParams::default()).await.unwrap().metadata.resource_version.parse().ok();
        }
    };
    written.ok()?.metadata.resource_version.parse().ok()
}
