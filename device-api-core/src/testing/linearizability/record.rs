// SPDX-License-Identifier: Apache-2.0
//! Lets clients work on few objects at once, and writes down what happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Call, Committed, History, Operation, Reply, State};
use crate::error::Reason;
use crate::registry::{DeleteParams, ListParams, PostParams, Verbs, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{Events, within};
use crate::testing::given::{at_version, gpu, latest, merge, number, version, with_uuid};
use crate::testing::seed::Seed;
use crate::{Error, Result};

/// The object that ends a recording.
pub(super) const MARKER: &str = "marker";

/// How much the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many clients work at once.
    pub clients: usize,
    /// On how many objects.
    pub keys: usize,
    /// How many requests each client makes.
    pub requests: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { clients: 8, keys: 3, requests: 60 }
    }
}

/// The name of the n-th object.
pub(super) fn key(index: usize) -> String {
    format!("key-{index}")
}

/// Lets clients work on an empty store, and writes down what they asked and what they were answered.
///
/// # Panics
/// When an answer is none that the contract allows, or the watch misses the end.
pub(crate) async fn record<A: Verbs<Gpu>>(api: &A, load: Load, seed: &Seed) -> History {
    let start = latest(api).await;
    let mut events = Events::of(api, WatchParams::default().at(start.to_string())).await;
    let clock = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..load.clients)
        .map(|number| {
            let client = Client {
                api: api.clone(),
                clock: Arc::clone(&clock),
                random: seed.random(number as u64),
                number,
                writes: 0,
                done: Vec::new(),
            };
            tokio::spawn(client.work(load))
        })
        .collect();
    let mut operations = Vec::new();
    for client in clients {
        operations.extend(within("the clients to finish", client).await.expect("no client fails"));
    }
    mark(api).await;
    let mut log = Vec::new();
    loop {
        let event = events.event::<Gpu>("the marker").await;
        let deleted = matches!(event, WatchEvent::Deleted(_));
        let object = event.object().expect("no bookmark was asked for");
        if object.metadata.name == MARKER {
            return History { start, operations, log };
        }
        log.push(Committed { key: object.metadata.name.clone(), state: state(object), deleted });
    }
}

/// Writes the marker, however long the store is out of reach.
async fn mark(api: &impl Verbs<Gpu>) {
    within("the marker to be written", async {
        loop {
            match api.create(&PostParams::default(), &gpu(MARKER)).await {
                Ok(_) => return,
                Err(error) if error.is_already_exists() => return,
                Err(error) => assert!(error.is_unavailable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn state(gpu: &Gpu) -> State {
    State { revision: version(gpu), uid: gpu.metadata.uid.clone(), value: gpu.spec.uuid.clone() }
}

struct Client<A> {
    api: A,
    clock: Arc<AtomicU64>,
    random: fastrand::Rng,
    number: usize,
    writes: usize,
    done: Vec<Operation>,
}

impl<A: Verbs<Gpu>> Client<A> {
    async fn work(mut self, load: Load) -> Vec<Operation> {
        while self.done.len() < load.requests {
            let key = key(self.random.usize(..load.keys));
            match self.random.u8(..100) {
                0..20 => self.create(&key).await,
                20..60 => self.read_then_replace(&key).await,
                60..68 => self.replace(&key, None).await,
                68..76 => self.patch(&key).await,
                76..84 => self.read_then_delete(&key).await,
                84..94 => drop(self.get(&key).await),
                _ => self.list().await,
            }
        }
        self.done
    }

    /// A value that no other write has.
    fn value(&mut self) -> String {
        self.writes += 1;
        format!("{}-{}", self.number, self.writes)
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&mut self, key: &str, call: Call, invoked: u64, reply: Reply) {
        let responded = self.now();
        self.done.push(Operation { key: key.to_owned(), call, reply, invoked, responded });
    }

    async fn create(&mut self, key: &str) {
        let value = self.value();
        let object = with_uuid(&gpu(key), &value);
        let invoked = self.now();
        let outcome = self.api.create(&PostParams::default(), &object).await;
        self.note(key, Call::Create { value }, invoked, stored(outcome));
    }

    async fn get(&mut self, key: &str) -> Option<Arc<Gpu>> {
        let invoked = self.now();
        let outcome = self.api.get(key).await;
        let found = outcome.as_ref().ok().cloned();
        let reply = outcome.map_or_else(refusal, |object| Reply::Found(state(&object)));
        self.note(key, Call::Get, invoked, reply);
        // Others should write between this read and the write that follows it.
        tokio::task::yield_now().await;
        found
    }

    async fn read_then_replace(&mut self, key: &str) {
        if let Some(read) = self.get(key).await {
            self.replace(key, Some(read)).await;
        }
    }

    async fn replace(&mut self, key: &str, read: Option<Arc<Gpu>>) {
        let value = self.value();
        let object = match &read {
            Some(read) => at_version(&with_uuid(read, &value), &read.metadata.resource_version),
            None => with_uuid(&gpu(key), &value),
        };
        let version = read.map(|read| version(&*read));
        let invoked = self.now();
        let outcome = self.api.replace(key, &PostParams::default(), &object).await;
        // Of an object that was deleted and made again both the uid and the version differ, and the
        // contract does not say which of the two is looked at first.
        let reply = match outcome {
            Err(error) if version.is_some() && error.is_invalid() => Reply::Conflict,
            outcome => stored(outcome),
        };
        self.note(key, Call::Replace { value, version }, invoked, reply);
    }

    async fn patch(&mut self, key: &str) {
        let value = self.value();
        let change = merge(serde_json::json!({"spec": {"uuid": value}}));
        let invoked = self.now();
        let outcome = self.api.patch(key, &PostParams::default(), &change).await;
        self.note(key, Call::Replace { value, version: None }, invoked, stored(outcome));
    }

    async fn read_then_delete(&mut self, key: &str) {
        if let Some(read) = self.get(key).await {
            let uid = read.metadata.uid.clone();
            let invoked = self.now();
            let outcome = self.api.delete(key, &DeleteParams::default().uid(&uid)).await;
            let reply = outcome.map_or_else(refusal, |()| Reply::Deleted);
            self.note(key, Call::Delete { uid }, invoked, reply);
        }
    }

    async fn list(&mut self) {
        let invoked = self.now();
        let list = self.api.list(&ListParams::default()).await.expect("a list succeeds");
        let items = list.items.iter().map(|object| (object.metadata.name.clone(), state(object))).collect();
        let reply = Reply::Listed(number(&list.metadata.resource_version), items);
        self.note("", Call::List, invoked, reply);
    }
}

fn stored(outcome: Result<Arc<Gpu>>) -> Reply {
    outcome.map_or_else(refusal, |object| Reply::Stored(state(&object)))
}

fn refusal(error: Error) -> Reply {
    match error.reason() {
        Reason::NotFound => Reply::NotFound,
        Reason::AlreadyExists => Reply::AlreadyExists,
        Reason::Conflict => Reply::Conflict,
        Reason::ServiceUnavailable => Reply::Unclear,
        _ => panic!("no client asked for what could be answered with: {error}"),
    }
}
