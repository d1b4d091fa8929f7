// SPDX-License-Identifier: Apache-2.0
//! The model test: random operations on a registry and on a map with a list of events. Each reply and
//! each watch must be what the model says.

mod state;
mod step;

use std::sync::Arc;
use std::time::Duration;

use self::state::{Model, sorted};
use self::step::{Read, Step, Write};
use super::expect::Events;
use super::given::number;
use super::local::{Fixture, LocalCase, Running, list};
use super::seed::Seed;
use crate::Result;
use crate::error::Reason;
use crate::registry::{DeleteParams, ListParams, PostParams, VersionMatch, WatchEvent, WatchParams};
use crate::resource::Gpu;

/// How many operations a run has.
const STEPS: usize = 400;
/// How many runs a case has, each with a seed of its own.
const RUNS: usize = 4;

pub(super) fn cases() -> Vec<LocalCase> {
    list![model_random_operations_answer_as_a_map_and_a_list_of_events_would]
}

async fn model_random_operations_answer_as_a_map_and_a_list_of_events_would(mut fixture: Fixture) {
    for _ in 0..RUNS {
        run(&fixture, &Seed::new()).await;
        fixture = fixture.with_new_store().await;
    }
}

async fn run(fixture: &Fixture, seed: &Seed) {
    let mut random = seed.random(0);
    let mut running = fixture.start().await;
    let start = number(&list_of(&running, &ListParams::default()).await.0);
    let mut model = Model::new(start);
    // Watches everything, from the start, across restarts.
    let mut follower = Follower { next: 0, events: follow(&running, start).await };
    for index in 0..STEPS {
        let step = Step::random(&mut random, &model);
        let what = format!("step {index}, {step:?}");
        match step {
            Step::Wait(seconds) => fixture.clock.advance(Duration::from_secs(seconds)),
            Step::Write(write) => check_write(fixture, &running, &mut model, &write, &what).await,
            Step::Read(read) => check_read(&running, &model, read, &what).await,
            Step::Follow => follower.catch_up(&model, &what).await,
            Step::Restart => {
                running.stop().await;
                follower.catch_up(&model, &what).await;
                assert_eq!(follower.events.until_ok::<Gpu>().await, [], "{what}: a watch ends with what was committed");
                running = fixture.start().await;
                model.restart(number(&list_of(&running, &ListParams::default()).await.0));
                follower.events = follow(&running, model.revision()).await;
            }
        }
    }
    follower.catch_up(&model, "the end").await;
    for at in model.versions.clone() {
        check_read(&running, &model, Read::Exact(at), "the end").await;
    }
    running.stop().await;
}

/// A watch that lags behind as it likes.
struct Follower<S> {
    next: usize,
    events: Events<S>,
}

async fn follow(running: &Running, from: u64) -> Events<crate::registry::Watch<Gpu>> {
    Events::of(&running.gpus, WatchParams::default().at(from.to_string())).await
}

impl Follower<crate::registry::Watch<Gpu>> {
    async fn catch_up(&mut self, model: &Model, what: &str) {
        for change in &model.changes[self.next..] {
            let event = self.events.event::<Gpu>(what).await;
            assert_eq!(normal(event), change.event(|_| true).expect("a change is an event"), "{what}");
        }
        self.next = model.changes.len();
    }
}

async fn check_write(fixture: &Fixture, running: &Running, model: &mut Model, write: &Write, what: &str) {
    let outcome = perform(running, write).await;
    let found = outcome.as_ref().map(|object| object.as_ref().map(|object| sorted(object)));
    let expected = model.predict(write, fixture.clock.now());
    match (&found, &expected) {
        (Err(error), Err(reason)) => assert_eq!(error.reason(), *reason, "{what}: {error}"),
        (Ok(found), Ok(prediction)) => {
            let mut expected = prediction.object.clone();
            if let (Some(expected), Some(found)) = (&mut expected, found) {
                if expected.metadata.uid.is_empty() {
                    expected.metadata.uid.clone_from(&found.metadata.uid);
                }
                if write.dry_run {
                    // What version a dry run shows is not promised.
                    expected.metadata.resource_version.clone_from(&found.metadata.resource_version);
                }
            }
            assert_eq!(*found, expected, "{what}");
            if !write.dry_run {
                model.commit(write, prediction, found.as_ref());
            }
        }
        (found, expected) => panic!("{what}: expected {expected:?}, got {found:?}"),
    }
}

/// Performs a write; a delete has no object.
async fn perform(running: &Running, write: &Write) -> Result<Option<Arc<Gpu>>> {
    let gpus = running.gpus.namespaced(write.key.0);
    let name = write.key.1;
    let post = if write.dry_run { PostParams::default().dry_run() } else { PostParams::default() };
    let object = match &write.kind {
        step::Kind::Create(object) => gpus.create(&post, object).await?,
        step::Kind::Replace(object) => gpus.replace(name, &post, object).await?,
        step::Kind::ReplaceStatus(object) => gpus.replace_status(name, &post, object).await?,
        step::Kind::Patch(patch_type, change) => gpus.patch(name, &post, &change.patch(*patch_type)).await?,
        step::Kind::PatchStatus(patch_type, change) => {
            gpus.patch_status(name, &post, &change.patch(*patch_type)).await?
        }
        step::Kind::Delete { uid, version } => {
            let mut params = DeleteParams { dry_run: write.dry_run, ..DeleteParams::default() };
            params.preconditions.uid.clone_from(uid);
            params.preconditions.resource_version.clone_from(version);
            gpus.delete(name, &params).await?;
            return Ok(None);
        }
    };
    Ok(Some(object))
}

/// A list's version and its objects.
async fn list_of(running: &Running, params: &ListParams) -> (String, Vec<Gpu>) {
    let list = running.gpus.list(params).await.unwrap_or_else(|error| panic!("{params:?}: {error}"));
    (list.metadata.resource_version, list.items.iter().map(|object| sorted(object)).collect())
}

async fn check_read(running: &Running, model: &Model, read: Read, what: &str) {
    let now = model.revision();
    match read {
        Read::Get((namespace, name)) => {
            let found = running.gpus.namespaced(namespace).get(name).await;
            let expected = model.objects.get(&(namespace, name)).cloned();
            match found {
                Ok(found) => assert_eq!(Some(sorted(&found)), expected, "{what}"),
                Err(error) => {
                    assert_eq!((error.reason(), &expected), (Reason::NotFound, &None), "{what}");
                }
            }
        }
        Read::List => {
            let expected: Vec<_> = model.objects.values().cloned().collect();
            assert_eq!(list_of(running, &ListParams::default()).await, (now.to_string(), expected), "{what}");
        }
        Read::Exact(at) => {
            let params = ListParams::default().at(at.to_string()).matching(VersionMatch::Exact);
            assert_eq!(list_of(running, &params).await, (at.to_string(), model.as_of(at)), "{what}");
        }
        Read::Pages(limit) => {
            let (mut found, mut params) = (Vec::new(), ListParams::default().limit(limit));
            loop {
                let page = running.gpus.list(&params).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(page.metadata.resource_version, now.to_string(), "{what}");
                found.extend(page.items.iter().map(|object| sorted(object)));
                if page.metadata.continue_token.is_empty() {
                    break;
                }
                params = params.continue_token(page.metadata.continue_token);
            }
            assert_eq!(found, model.objects.values().cloned().collect::<Vec<_>>(), "{what}");
        }
        Read::Watch { from, side } => {
            let mut params = WatchParams::default().at(from.to_string());
            if let Some(side) = side {
                params = params.labels(format!("side={side}"));
            }
            let matches =
                |object: &Gpu| side.is_none_or(|side| object.metadata.labels.get("side").is_some_and(|s| s == side));
            let mut events = Events::of(&running.gpus, params).await;
            for change in model.changes.iter().filter(|change| change.revision > from) {
                if let Some(expected) = change.event(matches) {
                    assert_eq!(normal(events.event::<Gpu>(what).await), expected, "{what}");
                }
            }
        }
    }
}

/// The event with its conditions in the model's order: they are a map by type.
fn normal(event: WatchEvent<Gpu>) -> WatchEvent<Gpu> {
    match event {
        WatchEvent::Added(object) => WatchEvent::Added(Arc::new(sorted(&object))),
        WatchEvent::Modified(object) => WatchEvent::Modified(Arc::new(sorted(&object))),
        WatchEvent::Deleted(object) => WatchEvent::Deleted(Arc::new(sorted(&object))),
        WatchEvent::Bookmark(bookmark) => WatchEvent::Bookmark(bookmark),
    }
}
