// SPDX-License-Identifier: Apache-2.0
//! What makes a controller look at an object: changes to it, and to what it depends on.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;

use device_api_core::registry::Verbs;
use device_api_core::resource::{Key, Resource};
use device_api_core::{Error, Result};
use futures_core::Stream;

use crate::watcher::{Config, Event, Watcher};

/// Keys of objects to look at. An error ends the controller.
pub(super) type Triggers = Pin<Box<dyn Stream<Item = Result<Vec<Key>>> + Send>>;

/// The keys that `keys` makes of the events of a watcher.
pub(super) fn of_watcher<R: Resource>(
    objects: impl Verbs<R>,
    config: Config,
    keys: impl FnMut(Event<R>) -> Vec<Key> + Send + 'static,
) -> Triggers {
    let start = (Watcher::new(objects, config), keys, None);
    Box::pin(futures_util::stream::unfold(start, |(mut watcher, mut keys, mut failure)| async move {
        loop {
            match watcher.next().await {
                Some(Ok(event)) => {
                    let keys_now = keys(event);
                    if !keys_now.is_empty() {
                        return Some((Ok(keys_now), (watcher, keys, None)));
                    }
                }
                Some(Err(error)) => {
                    let told = &error as &dyn std::error::Error;
                    tracing::warn!(resource = R::PLURAL, error = told, "a controller's watch failed");
                    failure = Some(error);
                }
                // No retry helps: the last failure says why.
                None => return failure.map(|error: Error| (Err(error), (watcher, keys, None))),
            }
        }
    }))
}

/// The key of an object itself.
pub(super) fn own<R: Resource>(event: Event<R>) -> Vec<Key> {
    match event {
        Event::Init | Event::InitDone => Vec::new(),
        Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) => key(&*object).into_iter().collect(),
    }
}

/// The key of an object; `None` when a server sent one that has no valid name.
pub(super) fn key<R: Resource>(object: &R) -> Option<Key> {
    let metadata = object.metadata();
    Key::of::<R>(&metadata.namespace, &metadata.name)
        .inspect_err(|error| tracing::warn!(%error, "a controller was sent an object without a name"))
        .ok()
}

/// What depends on other objects, by what was seen of them last: when one changes or vanishes, both what depended on it and
/// what depends on it now is looked at.
pub(super) struct Dependents<M> {
    map: M,
    known: HashMap<Key, Vec<Key>>,
    /// What the whole state has not shown yet.
    unseen: HashSet<Key>,
}

impl<M> Dependents<M> {
    pub(super) fn new(map: M) -> Self {
        Self { map, known: HashMap::new(), unseen: HashSet::new() }
    }

    pub(super) fn take<S: Resource>(&mut self, event: Event<S>) -> Vec<Key>
    where
        M: FnMut(&S) -> Vec<Key>,
    {
        match event {
            Event::Init => {
                self.unseen = self.known.keys().cloned().collect();
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let Some(key) = key(&*object) else { return Vec::new() };
                self.unseen.remove(&key);
                let mut keys = (self.map)(&object);
                let before = self.known.insert(key, keys.clone());
                keys.extend(before.unwrap_or_default());
                keys
            }
            Event::Delete(object) => key(&*object).and_then(|key| self.known.remove(&key)).unwrap_or_default(),
            Event::InitDone => {
                let gone = std::mem::take(&mut self.unseen);
                gone.iter().filter_map(|key| self.known.remove(key)).flatten().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use device_api_core::resource::{Gpu, ObjectMeta};

    use super::*;

    /// An adapter that belongs to a GPU.
    fn of(name: &str, owner: &str) -> Arc<Gpu> {
        Arc::new(Gpu { metadata: ObjectMeta::named(name).with_label("owner", owner), ..Gpu::default() })
    }

    fn dependents() -> Dependents<impl FnMut(&Gpu) -> Vec<Key>> {
        Dependents::new(|adapter: &Gpu| vec![Key::of::<Gpu>("", &adapter.metadata.labels["owner"]).unwrap()])
    }

    fn names(keys: Vec<Key>) -> Vec<String> {
        keys.iter().map(|key| key.name().to_owned()).collect()
    }

    #[test]
    fn who_loses_a_dependency_is_looked_at_as_who_gets_it() {
        let mut dependents = dependents();
        assert_eq!(names(dependents.take(Event::Apply(of("x", "a")))), ["a"]);
        assert_eq!(names(dependents.take(Event::Apply(of("x", "b")))), ["b", "a"]);
        assert_eq!(names(dependents.take(Event::Delete(of("x", "b")))), ["b"]);
    }

    #[test]
    fn what_vanished_while_nobody_watched_is_looked_at() {
        let mut dependents = dependents();
        for (name, owner) in [("x", "a"), ("y", "b")] {
            dependents.take(Event::Apply(of(name, owner)));
        }
        assert!(dependents.take::<Gpu>(Event::Init).is_empty());
        assert_eq!(names(dependents.take(Event::InitApply(of("y", "b")))), ["b", "b"]);
        assert_eq!(names(dependents.take::<Gpu>(Event::InitDone)), ["a"]);
        assert!(dependents.take::<Gpu>(Event::InitDone).is_empty());
    }
}
