// SPDX-License-Identifier: Apache-2.0
//! SIGKILL amid writes, again and again on one database: nothing that was acknowledged is lost, and watches miss nothing.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;

use device_api_client::Api;
use device_api_core::Error;
use device_api_core::patch::Patch;
use device_api_core::registry::{DeleteParams, ListParams, PostParams, VersionMatch, WatchEvent, WatchParams};
use device_api_core::resource::{Gpu, GpuSpec, ObjectMeta};
use support::{Daemon, PATIENCE};
use tempfile::TempDir;
use tokio::sync::mpsc;

const ROUNDS: usize = 30;
const WRITERS: usize = 4;
const KEYS: usize = 3;

/// What became of an object: its `spec.uuid`, which is another for each write, or `None` when it was deleted.
type Value = Option<String>;

/// One committed write, as a watch tells of it.
#[derive(Clone, Debug, PartialEq)]
struct Commit {
    version: u64,
    name: String,
    value: Value,
}

fn version(object: &Gpu) -> u64 {
    object.metadata.resource_version.parse().unwrap()
}

/// A client that alone writes some objects, so that it knows what they are.
struct Writer {
    api: Api<Gpu>,
    number: usize,
    random: fastrand::Rng,
    writes: usize,
    /// What its objects are now, as far as it knows.
    objects: BTreeMap<String, Value>,
    /// What it did, in order, and the version where it was told.
    done: Vec<(String, Value, Option<u64>)>,
}

impl Writer {
    fn new(api: Api<Gpu>, number: usize, random: fastrand::Rng) -> Self {
        let objects = (0..KEYS).map(|key| (format!("gpu-{number}-{key}"), None)).collect();
        Self { api, number, random, writes: 0, objects, done: Vec::new() }
    }

    /// Writes until the server is gone.
    async fn work(mut self, acknowledged: mpsc::Sender<()>) -> Self {
        loop {
            let name = self.random.choice(self.objects.keys()).unwrap().clone();
            let before = self.objects[&name].clone();
            let after = self.random.u8(..4).ne(&0).then(|| format!("{}-{}", self.number, self.writes));
            let after = if before.is_none() { Some(format!("{}-{}", self.number, self.writes)) } else { after };
            self.writes += 1;
            match self.write(&name, before.is_some(), after.clone()).await {
                Ok(version) => self.record(name, after, version),
                Err(error) if error.is_unavailable() => return self,
                Err(error) => panic!("{name}: {error}"),
            }
            // Nobody counts any more once the round is over.
            let _ = acknowledged.send(()).await;
        }
    }

    fn record(&mut self, name: String, value: Value, version: Option<u64>) {
        self.objects.insert(name.clone(), value.clone());
        self.done.push((name, value, version));
    }

    async fn write(&mut self, name: &str, is_there: bool, value: Value) -> Result<Option<u64>, Error> {
        let params = PostParams::default();
        let Some(uuid) = value else {
            return self.api.delete(name, &DeleteParams::default()).await.map(|()| None);
        };
        let spec = GpuSpec { uuid: uuid.clone() };
        let gpu = Gpu { metadata: ObjectMeta::named(name), spec, ..Gpu::default() };
        let stored = match (is_there, self.random.bool()) {
            (false, _) => self.api.create(&params, &gpu).await?,
            (true, false) => self.api.replace(name, &params, &gpu).await?,
            (true, true) => {
                let patch = Patch::merge(&serde_json::json!({ "spec": { "uuid": uuid } })).unwrap();
                self.api.patch(name, &params, &patch).await?
            }
        };
        Ok(Some(version(&stored)))
    }

    /// Looks after a restart what became of the write that nobody answered: it happened or it did not, and nothing
    /// else did.
    async fn look(&mut self) {
        let mut unanswered = 0;
        for (name, known) in self.objects.clone() {
            let found = self.api.get_opt(&name).await.unwrap();
            let value = found.as_ref().map(|gpu| gpu.spec.uuid.clone());
            if value != known {
                let last = format!("{}-{}", self.number, self.writes - 1);
                assert!(value.is_none() || value == Some(last), "{name} was {known:?} and is {value:?}");
                unanswered += 1;
                self.record(name, value, found.map(|gpu| version(&gpu)));
            }
        }
        assert!(unanswered <= 1, "writer {} had one write in flight, not {unanswered}", self.number);
    }
}

/// A watch that resumes from the last version that it saw.
struct Watcher {
    api: Api<Gpu>,
    start: u64,
    seen: Vec<Commit>,
}

impl Watcher {
    fn last(&self) -> u64 {
        self.seen.last().map_or(self.start, |commit| commit.version)
    }

    /// Watches until the server is gone, so many events came, or this one did.
    async fn watch(mut self, events: usize, until: u64) -> Self {
        let params = WatchParams::default().at(self.last().to_string());
        let mut watch = match self.api.watch(&params).await {
            Ok(watch) => watch,
            Err(error) if error.is_unavailable() => return self,
            Err(error) => panic!("{error}"),
        };
        let enough = self.seen.len().saturating_add(events);
        while self.seen.len() < enough && self.last() < until {
            let event = match watch.next().await {
                Some(Ok(event)) => event,
                Some(Err(error)) if error.is_unavailable() => break,
                other => panic!("{other:?}"),
            };
            let object = event.object().unwrap();
            let is_there = !matches!(event, WatchEvent::Deleted(_));
            let value = is_there.then(|| object.spec.uuid.clone());
            let commit = Commit { version: version(object), name: object.metadata.name.clone(), value };
            assert!(commit.version > self.last(), "each version once and in order");
            self.seen.push(commit);
        }
        self
    }
}

async fn latest(api: &Api<Gpu>) -> u64 {
    api.list(&ListParams::default()).await.unwrap().metadata.resource_version.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_sigkill_and_watches_miss_nothing() {
    let seed = std::env::var("DEVICE_API_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("to replay: DEVICE_API_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    // The same clients all along: they come back by themselves.
    let api = daemon.api();
    let start = latest(&api).await;
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(daemon.api(), number, random.fork())).collect();
    let mut watchers: Vec<_> = (0..3).map(|_| Watcher { api: daemon.api(), start, seen: Vec::new() }).collect();

    for round in 0..ROUNDS {
        let (acknowledged, mut acknowledgements) = mpsc::channel(1);
        let writing: Vec<_> = writers.drain(..).map(|writer| tokio::spawn(writer.work(acknowledged.clone()))).collect();
        // The last one reads little, and falls behind over the restarts.
        let limits = [usize::MAX, usize::MAX, random.usize(..20)];
        let watching = watchers.drain(..).zip(limits);
        let watching: Vec<_> = watching.map(|(watcher, limit)| tokio::spawn(watcher.watch(limit, u64::MAX))).collect();
        for _ in 0..random.usize(20..120) {
            tokio::time::timeout(PATIENCE, acknowledgements.recv()).await.unwrap().unwrap();
        }
        daemon.kill();
        drop(acknowledgements);
        for writer in writing {
            writers.push(tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap());
        }
        for watcher in watching {
            watchers.push(tokio::time::timeout(PATIENCE, watcher).await.unwrap().unwrap());
        }

        daemon = Daemon::start_in(folder.path(), &[]);
        let told = writers.iter().flat_map(|writer| &writer.done).filter_map(|(_, _, version)| *version);
        let told = told.chain(watchers.iter().map(Watcher::last)).max().unwrap();
        let now = latest(&api).await;
        assert!(now >= told, "round {round}: back from {told} to {now}");
        for writer in &mut writers {
            writer.look().await;
        }
    }

    // What the server says at the end about all that happened. The version after a restart is no write's own.
    let last = Gpu { metadata: ObjectMeta::named("last"), ..Gpu::default() };
    let end = version(&api.create(&PostParams::default(), &last).await.unwrap());
    let replay = Watcher { api: api.clone(), start, seen: Vec::new() }.watch(usize::MAX, end);
    let replay = tokio::time::timeout(PATIENCE, replay).await.unwrap().seen;
    for watcher in watchers {
        let watched = tokio::time::timeout(PATIENCE, watcher.watch(usize::MAX, end)).await.unwrap();
        assert_eq!(watched.seen, replay);
    }
    for writer in &writers {
        let own = replay.iter().filter(|commit| writer.objects.contains_key(&commit.name));
        for (commit, (name, value, version)) in own.clone().zip(&writer.done) {
            assert_eq!((&commit.name, &commit.value), (name, value), "at version {}", commit.version);
            assert!(version.is_none_or(|version| version == commit.version), "{name}: {version:?} is {commit:?}");
        }
        assert_eq!(own.count(), writer.done.len());
    }
    for _ in 0..20 {
        let at = random.choice(&replay).unwrap().version;
        let mut expected = BTreeMap::new();
        for commit in replay.iter().take_while(|commit| commit.version <= at) {
            expected.insert(commit.name.clone(), commit.value.clone());
        }
        expected.retain(|_, value| value.is_some());
        let list = api.list(&ListParams::default().at(at.to_string()).matching(VersionMatch::Exact)).await.unwrap();
        let found = list.items.iter().map(|gpu| (gpu.metadata.name.clone(), Some(gpu.spec.uuid.clone())));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "the state at version {at}");
    }
    eprintln!("{} writes survived {ROUNDS} kills", replay.len());
}
