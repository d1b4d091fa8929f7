// SPDX-License-Identifier: Apache-2.0
//! Keeps what is stored as it was declared, while the lease is held.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::lease::{AcquireLease, LeaseVerbs};
use device_api_core::registry::{ListParams, PatchParams, Verbs};
use device_api_core::resource::{Condition, Conditions as _, Key, Resource};
use device_api_core::{Error, Result};
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::declaration::{Declaration, Difference};
use crate::bounded::bounded;
use crate::holder::{LeaseHolder, Tenure};
use crate::watcher::Backoff;
use crate::writers::conditions;

/// How many objects are listed at a time.
const PAGE: u64 = 500;
/// How many objects are written at a time: of a hundred that hang, none keeps the others waiting for long.
const AT_ONCE: usize = 8;
/// How long a list or a write may take. It is given up then, and made again with the next round.
const CALL: Duration = Duration::from_secs(10);
/// How long the name of a writer may be in the audit trail, in characters.
const MAX_MANAGER: usize = 128;

/// What was declared last.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) number: u64,
    /// The lease is to be given back. Who is dropped has not said so.
    pub(super) is_over: bool,
    pub(super) declaration: Option<Arc<Declaration>>,
}

/// How far the task has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The number of the declaration that was written last.
    pub(super) number: u64,
    /// What the server refused of it.
    pub(super) refused: Option<Error>,
    /// Why the lease is lost.
    pub(super) lost: Option<Error>,
}

/// Holds the lease and keeps what is declared, until the lease is to be given back. When the other end of `declared` is
/// dropped instead, it is left to expire.
pub(super) async fn hold<R: Resource, V: Verbs<R>, L: LeaseVerbs>(
    mut holder: LeaseHolder<L>,
    mut declarer: Declarer<R, V>,
    mut declared: watch::Receiver<Declared>,
    progress: watch::Sender<Progress>,
) -> Result<()> {
    let is_over = tokio::select! {
        // What is over is known before anything more is written.
        biased;
        lost = holder.hold() => Err(lost),
        is_over = declarer.run(declared.clone(), &progress) => Ok(is_over),
    };
    match is_over {
        Ok(true) => holder.release().await,
        Ok(false) => Ok(()),
        Err(lost) => {
            progress.send_modify(|progress| progress.lost = Some(lost.clone()));
            // Who declares is told; who stops has nothing to give back.
            let _ = declared.wait_for(|declared| declared.is_over).await;
            Err(lost)
        }
    }
}

pub(super) struct Declarer<R, V> {
    objects: V,
    types: Vec<String>,
    params: PatchParams,
    /// How often what is stored is compared to what was declared.
    interval: Duration,
    tenure: Tenure,
    /// The refusal that the log has already.
    said: Option<Error>,
    resource: PhantomData<fn() -> R>,
}

impl<R: Resource, V: Verbs<R>> Declarer<R, V> {
    /// The one of the holder of this request.
    pub(super) fn new(objects: V, request: &AcquireLease, tenure: Tenure) -> Self {
        let manager: String = request.name.chars().take(MAX_MANAGER).collect();
        Self {
            objects,
            types: request.condition_types.clone(),
            params: PatchParams::default().manager(manager),
            interval: request.duration / 3,
            tenure,
            said: None,
            resource: PhantomData,
        }
    }

    /// Until the lease is to be given back: true; or nobody declares any more.
    async fn run(&mut self, mut declared: watch::Receiver<Declared>, progress: &watch::Sender<Progress>) -> bool {
        let mut pauses = Backoff::default().with_longest(self.interval).pauses();
        let mut next = Instant::now() + self.interval;
        // Of the lease under which the last round began.
        let mut lease = self.tenure.number();
        loop {
            tokio::select! {
                changed = declared.changed() => if changed.is_err() {
                    return false;
                },
                () = sleep_until(next) => {}
                // What was written then may not stand any more.
                () = self.tenure.renumbered(lease) => {}
            }
            let number = {
                let declared = declared.borrow_and_update();
                if declared.is_over {
                    return true;
                }
                declared.number
            };
            // Whoever was replaced learns it before it writes.
            lease = tokio::select! {
                lease = self.tenure.confirm() => lease,
                is_over = over(declared.clone(), Duration::ZERO) => return is_over,
            };
            let written = tokio::select! {
                biased;
                () = self.tenure.ended(lease) => None,
                is_over = over(declared.clone(), CALL) => return is_over,
                written = self.write(&declared) => Some(written),
            };
            let pause = match written {
                Some(Ok(refused)) => {
                    self.say(refused.as_ref());
                    progress.send_modify(|progress| {
                        progress.number = number;
                        progress.refused = refused;
                    });
                    pauses.reset();
                    self.interval
                }
                Some(Err(error)) => {
                    let pause = pauses.next_pause();
                    let error = &error as &dyn StdError;
                    tracing::debug!(provider = self.params.field_manager, error, ?pause, "cannot write all now");
                    pause
                }
                None => pauses.next_pause(),
            };
            next = Instant::now() + pause;
        }
    }

    fn say(&mut self, refused: Option<&Error>) {
        if let Some(error) = refused.filter(|error| self.said.as_ref() != Some(*error)) {
            let error = error as &dyn StdError;
            tracing::warn!(provider = self.params.field_manager, error, "what is declared is refused");
        }
        self.said = refused.cloned();
    }

    /// One round: writes what differs, and returns the first error that no other try heals. Each object gets what is declared when its turn
    /// comes. One that cannot be written now keeps no other from being written, and is the failure of the round.
    async fn write(&self, declared: &watch::Receiver<Declared>) -> Result<Option<Error>> {
        if declared.borrow().declaration.is_none() {
            return Ok(None);
        }
        let objects = self.look().await?;
        let mut written =
            stream::iter(objects).map(|(key, stored)| self.bring(key, stored, declared)).buffer_unordered(AT_ONCE);
        let (mut refused, mut failed) = (None, None);
        while let Some(outcome) = written.next().await {
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_unavailable() => drop(failed.get_or_insert(error)),
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(refused), Err)
    }

    /// All objects, with their conditions of the provider's types: read to the end before anything is written, so that no page is too old.
    async fn look(&self) -> Result<Vec<(Key, Vec<Condition>)>> {
        let mut objects = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = bounded(CALL, self.objects.list(&page)).await?;
            for object in &list.items {
                let metadata = object.metadata();
                let key = Key::of::<R>(&metadata.namespace, &metadata.name)?;
                let own = object.status().conditions().iter().filter(|condition| self.types.contains(&condition.type_));
                objects.push((key, own.cloned().collect()));
            }
            if list.metadata.continue_token.is_empty() {
                return Ok(objects);
            }
            page = page.continue_token(list.metadata.continue_token);
        }
    }

    /// Brings one object to what is declared now.
    async fn bring(&self, key: Key, stored: Vec<Condition>, declared: &watch::Receiver<Declared>) -> Result<()> {
        let declaration = declared.borrow().declaration.clone();
        let difference = declaration.and_then(|declaration| declaration.difference(&key, &stored, &self.types));
        let Some(difference) = difference else { return Ok(()) };
        match bounded(CALL, self.patch(&key, &difference)).await {
            // An object that is gone has no conditions.
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn patch(&self, key: &Key, difference: &Difference) -> Result<()> {
        let patch = conditions::patch::<R>(&difference.set, &difference.gone)?;
        self.objects.namespaced(key.namespace()).patch_status(key.name(), &self.params, &patch).await.map(drop)
    }
}

/// Waits until the lease is to be given back, and for so long after that: true; or until nobody declares any more.
async fn over(mut declared: watch::Receiver<Declared>, patience: Duration) -> bool {
    let is_over = declared.wait_for(|declared| declared.is_over).await.is_ok();
    if is_over {
        sleep(patience).await;
    }
    is_over
}
