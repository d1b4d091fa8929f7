// SPDX-License-Identifier: Apache-2.0
//! What others do to the objects, as soon as they do it: a deletion, a wiped status, a store that came back empty.

use std::sync::Arc;
use std::time::Duration;

use device_api_client::watcher::{Backoff, Config, Event, Watcher};
use device_api_core::Result;
use device_api_core::registry::Verbs;
use device_api_core::resource::Gpu;
use futures_core::Stream;
use tokio::time::Instant;

use super::super::entry::Entry;
use super::super::merge::ACKNOWLEDGE_XIDS;
use super::super::observation::{Observation, object_name};
use super::{Reconciler, WRITE_INTERVAL};

/// The longest pause before the API is asked again to tell its changes: what it lost is declared anew within a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const GONE: &str = "its object is gone";

/// The changes of all objects, from a watch that heals by itself. A request on its way is kept when nobody waits for it.
pub(super) fn changes<V: Verbs<Gpu>>(gpus: V) -> impl Stream<Item = Result<Event<Gpu>>> + Send {
    let patient = Config::default().with_backoff(Backoff::default().with_longest(LONGEST_PAUSE));
    Watcher::new(gpus, patient).into_stream()
}

impl<V: Verbs<Gpu>> Reconciler<V> {
    /// Takes a change. What it makes necessary is done by the next convergence, or by a look at all objects that is due at
    /// [`Self::ring`]: the source has to know of what is gone, and of a person's word.
    pub(super) fn take_change(&mut self, change: Result<Event<Gpu>>, observation: &Observation) {
        match change {
            Ok(Event::Init) => self.told = Some(Default::default()),
            Ok(Event::InitApply(gpu)) => {
                self.told.get_or_insert_default().insert(gpu.metadata.name.clone());
                self.changed(gpu, true, observation);
            }
            Ok(Event::Apply(gpu)) => self.changed(gpu, false, observation),
            Ok(Event::Delete(gpu)) => {
                let name = &gpu.metadata.name;
                let is_ours = observation.devices.contains_key(name);
                let known = self.objects.get(name).and_then(|entry| entry.actual.as_ref());
                if is_ours && known.is_some_and(|known| known.metadata.uid == gpu.metadata.uid) {
                    self.undone(name, GONE);
                }
            }
            Ok(Event::InitDone) => {
                let told = self.told.take().unwrap_or_default();
                let is_missing = |name: &&String| {
                    !told.contains(*name) && self.objects.get(*name).is_some_and(|entry| entry.actual.is_some())
                };
                let missing: Vec<_> = observation.devices.keys().filter(is_missing).cloned().collect();
                missing.iter().for_each(|name| self.undone(name, GONE));
            }
            // The looks at all objects say what is wrong with the API.
            Err(error) => tracing::debug!(%error, "the changes of the GPUs are not told: trying again"),
        }
    }

    /// An object is as this says; `is_whole`: as part of the whole state, whose versions may be of another store.
    fn changed(&mut self, gpu: Arc<Gpu>, is_whole: bool, observation: &Observation) {
        let Some(observed) = observation.devices.get(&gpu.metadata.name) else { return };
        let Some(entry) = self.objects.get_mut(&gpu.metadata.name) else { return };
        let Some(known) = entry.actual.as_ref().filter(|known| known.metadata.namespace == gpu.metadata.namespace)
        else {
            return;
        };
        let version = |gpu: &Gpu| gpu.metadata.resource_version.parse::<u64>().ok();
        let is_news = known.metadata.resource_version != gpu.metadata.resource_version
            && (is_whole || version(&gpu) > version(known));
        if !is_news {
            return;
        }
        let word = gpu.metadata.annotations.get(ACKNOWLEDGE_XIDS);
        if word.is_some() && word != entry.acknowledged.as_ref() {
            self.ring.at(Instant::now());
        }
        // What is to be written anyhow is written onto what is there then.
        let was_declared = entry.written.as_ref().is_some_and(|written| Arc::ptr_eq(written, observed));
        let as_it_is = Entry { actual: Some(gpu), own_action: entry.own_action.clone(), ..Entry::default() };
        if was_declared && as_it_is.step(self.ownership, Some(observed), true, false).is_some() {
            let name = object_name(&observed.uuid);
            self.undone(&name, "somebody changed what the source declares");
        }
    }

    /// What is declared of an object is not there any more.
    fn undone(&mut self, name: &str, how: &str) {
        let Some(entry) = self.objects.get_mut(name) else { return };
        let now = Instant::now();
        if entry.undone(now) {
            tracing::info!(gpu = name, "{how}: looking at all objects, to declare it anew");
        }
        self.ring.at(entry.patience.unwrap_or(now));
        self.doubt.ask();
    }
}

/// When to look at all objects because of a change: once a second at most.
#[derive(Debug, Default)]
pub(super) struct Ring {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Ring {
    /// It is to be looked then.
    fn at(&mut self, then: Instant) {
        let then = self.last.map_or(then, |last| then.max(last + WRITE_INTERVAL));
        self.due = Some(self.due.map_or(then, |due| due.min(then)));
    }

    /// When it is to be looked, once the lease was renewed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is looked now, for whatever reason.
    pub(super) fn answer(&mut self, now: Instant) {
        if self.due.take().is_some() {
            self.last = Some(now);
        }
    }
}
