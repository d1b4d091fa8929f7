// SPDX-License-Identifier: Apache-2.0
//! Brings the objects to what a source declares, and writes nothing where they are that already.
//!
//! Written once against [`Verbs`]: it runs on the registry in the server's process and on a remote client.

mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::error::Cause;
use device_api_core::registry::{DeleteParams, ListParams, Part, PostParams, Verbs};
use device_api_core::resource::{DEFAULT_NAMESPACE, Gpu, RecommendedAction};
use device_api_core::{Error, Result};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::changes::{Ring, changes};
use super::doubt::Doubt;
use super::entry::{Entry, Step};
use super::merge::{ACKNOWLEDGE_XIDS, Ownership};
use super::observation::{Observation, Observed, Stored, object_name};
use super::pause::{Backoff, jittered};
use super::told::{Told, tell};

/// At most one write in so much time for each object, however much its device reports.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// So many objects are written at once: enough for a store to commit them together, and of a node with a hundred devices
/// not all are in memory twice.
const AT_ONCE: usize = 8;
/// The pause after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How long a look or a step may take. It is given up then, and made again after a pause.
const CALL: Duration = Duration::from_secs(10);

/// Brings objects to what a source declares.
#[derive(Debug)]
pub(crate) struct Reconciler<V> {
    gpus: V,
    ownership: Ownership,
    params: PostParams,
    /// How often it looks at all objects anew.
    resync: Duration,
    objects: BTreeMap<String, Entry>,
    /// The look at all objects that `objects` are of.
    number: u64,
    /// What is declared without knowledge of this look is not written.
    needed: u64,
    /// The lease has been held without a break since the last look.
    is_alone: bool,
    /// An object was made or deleted by somebody else since the last look.
    is_stale: bool,
    /// When a look is due because of what others did.
    ring: Ring,
    /// Whether the lease was renewed since, so that it was nobody who took it over.
    doubt: Doubt,
    /// What the log has of each device, and how many it was told of.
    said: BTreeMap<String, Said>,
    found: usize,
    /// The objects of the whole state that is being told; `None` while none is.
    told: Option<BTreeSet<String>>,
}

/// What the log has of a device.
#[derive(Debug, Default)]
struct Said {
    told: Option<Told>,
    /// What was declared when it was told last, or there was no news.
    seen: Option<Arc<Observed>>,
    /// No news is told before this.
    not_before: Option<Instant>,
}

/// A step that is due.
#[derive(Debug)]
struct Due<'a> {
    name: &'a str,
    step: Step,
    observed: Option<&'a Arc<Observed>>,
    /// The acknowledgement that may be removed.
    acknowledged: Option<&'a str>,
    /// The action that is this source's own; after the step, the one that it wrote.
    own_action: Option<RecommendedAction>,
}

impl<V: Verbs<Gpu>> Reconciler<V> {
    /// A reconciler that writes as this source.
    #[must_use]
    pub(super) fn new(gpus: V, ownership: Ownership, resync: Duration, doubt: Doubt) -> Self {
        let params = PostParams::default().manager(ownership.source);
        // What is written without a namespace is in this one. An object of the same name in another is another object.
        let gpus = if gpus.namespace().is_empty() { gpus.namespaced(DEFAULT_NAMESPACE) } else { gpus };
        Self {
            gpus,
            ownership,
            params,
            resync,
            objects: BTreeMap::new(),
            number: 0,
            needed: 0,
            is_alone: false,
            is_stale: false,
            ring: Ring::default(),
            doubt,
            said: BTreeMap::new(),
            found: 0,
            told: None,
        }
    }

    /// Looks at all objects, tells `stored`, and follows `observations` until their sender is gone. While
    /// `may_write` says no, nothing is written.
    pub(crate) async fn run(
        mut self,
        mut observations: watch::Receiver<Observation>,
        stored: watch::Sender<Stored>,
        mut may_write: watch::Receiver<bool>,
    ) {
        let mut list_backoff = Backoff::new(RETRY);
        let mut look = Instant::now();
        let mut changes = pin!(changes(self.gpus.clone()));
        let mut is_told = true;
        loop {
            let now = Instant::now();
            let rings = self.doubt.is_over() && self.ring.due().is_some_and(|due| now >= due);
            if now >= look || self.is_stale || rings {
                self.ring.answer(now);
                let holds = *may_write.borrow();
                look = match self.look(&stored, holds).await {
                    Ok(()) => {
                        list_backoff.reset();
                        Instant::now() + jittered(self.resync)
                    }
                    Err(error) => {
                        // The next look is due anyhow, and not before the pause is over.
                        self.is_stale = false;
                        let pause = list_backoff.next();
                        tracing::warn!(%error, ?pause, "cannot list the GPUs");
                        Instant::now() + pause
                    }
                };
            }
            let observation = observations.borrow_and_update().clone();
            let tells = self.tell(&observation);
            let writes = *may_write.borrow_and_update() && self.number > 0 && observation.knows >= self.needed;
            let again = if writes { self.converge(&observation, &may_write).await } else { None };
            let ring = self.ring.due().filter(|_| self.doubt.is_over());
            let next = [again, ring, tells].into_iter().flatten().fold(look, Instant::min);
            let wake = if self.is_stale { Instant::now() } else { next };
            tokio::select! {
                changed = observations.changed() => if changed.is_err() { return },
                changed = may_write.changed() => match changed {
                    // Who holds the lease again may have missed what others did meanwhile.
                    Ok(()) => (look, self.is_alone) = (Instant::now(), false),
                    Err(_) => return,
                },
                // What others do concerns who writes, and has looked once.
                change = changes.next(), if is_told && writes => match change {
                    Some(change) => self.take_change(change, &observation),
                    None => is_told = false,
                },
                () = self.doubt.over(), if !self.doubt.is_over() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Looks at all objects anew; `holds`: while this process has the lease.
    async fn look(&mut self, stored: &watch::Sender<Stored>, holds: bool) -> Result<()> {
        // Whether or not it succeeds: who cannot list now tries again after a pause.
        self.is_stale = false;
        let list = bounded(self.gpus.list_all(&ListParams::default())).await?;
        self.number += 1;
        let by_others = !(holds && self.is_alone);
        if by_others {
            self.needed = self.number;
        }
        self.is_alone = holds;
        let now = Instant::now();
        // An object that is gone is forgotten, save for when it may be written again.
        self.objects.retain(|_, entry| {
            (entry.actual, entry.settled, entry.acknowledged) = (None, None, None);
            entry.is_undone = false;
            entry.not_before.is_some_and(|not_before| not_before > now)
                || entry.own_action.is_some()
                || entry.is_contested(now)
        });
        for gpu in &list.items {
            let own_action = || self.ownership.own_action(&gpu.status);
            let entry = self.objects.entry(gpu.metadata.name.clone());
            let entry = entry.or_insert_with(|| Entry { own_action: own_action(), ..Entry::default() });
            entry.actual = Some(Arc::clone(gpu));
            entry.acknowledged = gpu.metadata.annotations.get(ACKNOWLEDGE_XIDS).cloned();
            entry.is_told = false;
        }
        stored.send_replace(Stored { number: self.number, by_others, gpus: list.items });
        Ok(())
    }

    /// Tells the log what is new of the devices, whether or not it can be written: while the API is away the log is all that there
    /// is. Says when there is more.
    fn tell(&mut self, observation: &Observation) -> Option<Instant> {
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        self.said.retain(|name, _| observation.devices.contains_key(name));
        for (name, observed) in &observation.devices {
            let said = self.said.entry(name.clone()).or_default();
            if said.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, observed)) {
                continue;
            }
            if let Some(then) = said.not_before.filter(|then| *then > now) {
                again = Some(again.map_or(then, |again| again.min(then)));
                continue;
            }
            let whole = observed.device.mig.as_ref().map(|mig| object_name(&mig.parent_uuid));
            let whole = whole.and_then(|name| observation.devices.get(&name)).map(Arc::as_ref);
            if tell(&mut said.told, observed, whole, &mut self.found) {
                said.not_before = Some(now + WRITE_INTERVAL);
            }
            said.seen = Some(Arc::clone(observed));
        }
        again
    }

    /// Does one step for each object that needs one and may be written now, for as long as `may_write` says so. Says when the
    /// next may be.
    async fn converge(&mut self, observation: &Observation, may_write: &watch::Receiver<bool>) -> Option<Instant> {
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        let mut due = Vec::new();
        let heeded = observation.knows >= self.number;
        for name in observation.devices.keys().chain(&observation.gone) {
            let observed = observation.devices.get(name);
            let entry = self.objects.entry(name.clone()).or_default();
            // In a storm this is reached hundreds of times a second, and an object may be written once.
            if let Some(then) = entry.waits_until(observed, now) {
                again = Some(again.map_or(then, |again| again.min(then)));
                continue;
            }
            if observed.zip(entry.settled.as_ref()).is_some_and(|(new, settled)| Arc::ptr_eq(new, settled)) {
                continue;
            }
            let acknowledged =
                observation.heeded.get(name).filter(|text| heeded && entry.acknowledged.as_ref() == Some(text));
            match entry.step(self.ownership, observed, heeded, acknowledged.is_some()) {
                Some(step) => {
                    let (acknowledged, own_action) = (acknowledged.map(String::as_str), entry.own_action.clone());
                    due.push(Due { name, step, observed, acknowledged, own_action });
                }
                None if heeded => (entry.settled, entry.written) = (observed.cloned(), observed.cloned()),
                None => {}
            }
        }
        while !due.is_empty() {
            let this = &*self;
            let taken = due.drain(..due.len().min(AT_ONCE)).map(async |mut due| {
                let outcome = bounded(this.take(&mut due)).await;
                (due, outcome)
            });
            let mut may_write = may_write.clone();
            let taken = tokio::select! {
                biased;
                // The look that comes once this may write again tells what became of them.
                _ = may_write.wait_for(|may_write| !may_write) => return None,
                taken = join_all(taken) => taken,
            };
            for (due, outcome) in taken {
                let next = self.note(due, outcome);
                again = Some(again.map_or(next, |again| again.min(next)));
            }
        }
        again
    }

    /// Takes a step: one write.
    async fn take(&self, due: &mut Due<'_>) -> Result<Option<Arc<Gpu>>> {
        let (ownership, gpus) = (self.ownership, &self.gpus);
        let Due { name, step, observed, acknowledged, own_action } = due;
        let last = own_action.clone();
        match (step, *observed) {
            (Step::Create, Some(observed)) => {
                own_action.clone_from(&observed.recommended_action);
                gpus.create(&self.params, &ownership.create(name, observed)).await.map(Some)
            }
            (Step::Write(Part::Main), Some(observed)) => {
                let change = |gpu: &mut Gpu| {
                    ownership.merge_main(gpu, observed, *acknowledged);
                    Ok(())
                };
                gpus.modify(Part::Main, name, &self.params, change).await.map(Some)
            }
            (Step::Write(part), Some(observed)) => {
                let change = |gpu: &mut Gpu| {
                    *own_action = ownership.merge_status(&mut gpu.status, observed, last.as_ref());
                    Ok(())
                };
                gpus.modify(*part, name, &self.params, change).await.map(Some)
            }
            (Step::Leave, _) => {
                let change = |gpu: &mut Gpu| {
                    ownership.leave(&mut gpu.status, last.as_ref());
                    Ok(())
                };
                *own_action = None;
                gpus.modify(Part::Status, name, &self.params, change).await.map(Some)
            }
            _ => {
                *own_action = None;
                match gpus.delete(name, &DeleteParams::default()).await {
                    Err(error) if error.is_not_found() => Ok(None),
                    other => other.map(|()| None),
                }
            }
        }
    }

    /// Notes what became of a step, and says when the object may be looked at again.
    fn note(&mut self, due: Due<'_>, outcome: Result<Option<Arc<Gpu>>>) -> Instant {
        let Due { name, step, observed, acknowledged, own_action } = due;
        let entry = self.objects.entry(name.to_owned()).or_default();
        entry.settled = None;
        let pause = match outcome {
            Ok(actual) => {
                tracing::debug!(gpu = name, ?step, "written");
                entry.actual = actual;
                entry.own_action = own_action;
                entry.written = observed.cloned();
                if matches!(step, Step::Write(Part::Main)) {
                    entry.acknowledged = None;
                    // The same word said again is told from this one only if its absence was seen.
                    self.is_stale |= acknowledged.is_some();
                } else {
                    entry.is_told |= acknowledged.is_some();
                }
                entry.backoff.reset();
                if entry.said.take().is_some() {
                    tracing::info!(gpu = name, "written again");
                }
                WRITE_INTERVAL
            }
            // Somebody was faster, and deleted it or made it; or the store was lost, and more than this is gone.
            Err(error) if error.is_not_found() || error.is_already_exists() => {
                self.is_stale = true;
                entry.backoff.next()
            }
            Err(error) => {
                let (pause, why) = (entry.backoff.next(), error.to_string());
                if entry.said.as_ref() == Some(&why) {
                    tracing::debug!(gpu = name, %error, ?pause, "still cannot write");
                } else {
                    tracing::warn!(gpu = name, %error, ?pause, "cannot write: trying again");
                    entry.said = Some(why);
                }
                pause
            }
        };
        let next = Instant::now() + pause;
        entry.not_before = Some(next);
        next
    }
}

/// Waits for a call, but no longer than [`CALL`].
async fn bounded<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(CALL, call).await.unwrap_or_else(|elapsed| {
        let why = format!("no reply within {CALL:?}; a write may still have happened");
        Err(Error::Unavailable { why, retry_after: None, cause: Cause::of(elapsed) })
    })
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
