// SPDX-License-Identifier: Apache-2.0
//! Notes that leases have expired, and sets the conditions of their providers to Unknown.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::record::LeaseSpec;
use super::{Leases, PROVIDER_LOST};
use crate::error::short;
use crate::registry::{Decided, Ledger, LedgerState, Registry, Watch, WatchEvent, WatchParams};
use crate::resource::{Condition, ConditionStatus, Conditions, ObjectMeta, Resource, Timestamp};
use crate::{Error, Result};

/// Who is noted in the store as the writer.
const ACTOR: &str = "lease-keeper";
/// How long to wait after a store did not take a write.
const PAUSE: Duration = Duration::from_secs(1);

/// Condition types whose provider is lost: what to say of each.
type Lost = BTreeMap<String, String>;

impl Leases {
    /// Keeps the conditions of these objects true to the leases, until the ledger is closed: once for each kind of objects that
    /// has [conditions](Conditions).
    ///
    /// For as long as a lease is expired, its condition types are Unknown with the reason [`PROVIDER_LOST`] on every object
    /// that has them, whoever writes them: a provider that was paused is overruled until it renews. Types that another lease
    /// has, which is held, are left alone.
    ///
    /// Whatever goes wrong is logged and tried again. [`Self::try_keep`] is for who does that himself. Neither keeps the ledger
    /// open: when nobody else has a handle any more, it is closed, and they end.
    pub async fn keep<R: Resource>(self, objects: Registry<R>) {
        let (leases, objects) = (self.into_weak(), objects.into_weak());
        let mut said = None;
        while is_open(objects.ledger()) {
            let began = Instant::now();
            // Nobody would notice that there is no keeper any more.
            let trouble = match AssertUnwindSafe(leases.clone().try_keep(objects.clone())).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            };
            if is_open(objects.ledger()) {
                // Of trouble that lasts the log has one line.
                let lasts = began.elapsed() < 10 * PAUSE && said.as_ref() == Some(&trouble);
                if !lasts {
                    tracing::error!(trouble, resource = R::PLURAL, "cannot see to expired leases now; trying again");
                }
                said = Some(trouble);
                sleep(PAUSE).await;
            }
        }
    }

    /// As [`Self::keep`], for who watches over it and shows others when there is no keeper: it catches no panic, and what goes
    /// wrong ends it. Begin it anew then, for nobody else notices that a provider is lost.
    ///
    /// # Errors
    /// When the store does not take the keeper's writes, or its watch fails. It returns well only when the ledger is closed.
    pub async fn try_keep<R: Resource>(self, objects: Registry<R>) -> Result<()> {
        let (leases, objects) = (self.into_weak().as_actor(ACTOR), objects.into_weak().namespaced("").as_actor(ACTOR));
        let mut doubting = std::pin::pin!(leases.doubt(&objects));
        let mut doubts = true;
        while is_open(objects.ledger()) {
            let ended = tokio::select! {
                ended = leases.attend(&objects) => ended,
                settled = &mut doubting, if doubts => {
                    doubts = false;
                    settled
                }
            };
            match ended {
                // Nothing is left to be kept, whatever ended first.
                Err(_) if !is_open(objects.ledger()) => break,
                ended => ended?,
            }
        }
        Ok(())
    }

    /// Until a watch ends.
    async fn attend<R: Resource>(&self, objects: &Registry<R>) -> Result<()> {
        let mut changes = self.records.watch(&WatchParams::default()).await?;
        loop {
            self.note_expiries().await?;
            let lost = self.lost();
            // What is lost may change faster than all objects are looked at, and whoever begins anew each time never comes to the last
            // of them: so that is for a round that is over.
            let is_through = AtomicBool::new(lost.is_empty());
            let overruling = self.overrule(objects, &lost, &is_through);
            tokio::pin!(overruling);
            while self.lost() == lost || !is_through.load(Ordering::Relaxed) {
                tokio::select! {
                    biased;
                    ended = &mut overruling, if !lost.is_empty() => return ended,
                    change = changes.next() => match change {
                        Some(change) => drop(change?),
                        None => return Ok(()),
                    },
                    () = self.wait_until(self.next_deadline()) => {}
                }
                self.note_expiries().await?;
            }
        }
    }

    /// Notes in the store which leases are over.
    async fn note_expiries(&self) -> Result<()> {
        let records = self.records.all();
        let held: HashSet<&str> = records
            .iter()
            .map(|record| record.spec())
            .filter(|spec| !spec.expired)
            .map(|spec| spec.id.as_str())
            .collect();
        self.deadlines.retain(&held);
        for record in records.iter().filter(|record| !record.spec().expired) {
            if !self.deadlines.is_over(record.spec()) {
                continue;
            }
            let (deadlines, name) = (Arc::clone(&self.deadlines), record.name().to_owned());
            let is_noted = self
                .records
                .decide(record.name(), move |all| {
                    let current = all.iter().find(|record| record.name() == name).map(|record| record.spec());
                    // It may have been renewed, taken over or released by now.
                    Ok(match current.filter(|spec| !spec.expired && deadlines.is_over(spec)) {
                        Some(spec) => {
                            let renewed_at = deadlines.of(spec).1;
                            (Decided::Put(LeaseSpec { expired: true, renewed_at, ..spec.clone() }), true)
                        }
                        None => (Decided::Keep, false),
                    })
                })
                .await?;
            if is_noted {
                // Only the first of many: whoever lets them expire over and over does not fill the log.
                let types = short(&record.spec().condition_types.join(","));
                tracing::warn!(lease = record.name(), types, "a provider has not renewed its lease in time");
            }
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let records = self.records.all();
        records.iter().filter(|record| !record.spec().expired).map(|record| self.deadlines.of(record.spec()).0).min()
    }

    async fn wait_until(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.deadlines.pass(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// The types of leases whose expiry is noted, but for those of leases that are held.
    fn lost(&self) -> Lost {
        let records = self.records.all();
        let (expired, held): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.spec().expired);
        let held: BTreeSet<&String> = held.iter().flat_map(|record| &record.spec().condition_types).collect();
        let mut lost = Lost::new();
        for record in expired {
            for type_ in record.spec().condition_types.iter().filter(|type_| !held.contains(type_)) {
                lost.entry(type_.clone()).or_insert_with(|| {
                    let (name, duration) = (record.name(), record.spec().duration);
                    format!(
                        "provider {name:?} has not renewed its lease of {duration:?}: what it said may be out of date"
                    )
                });
            }
        }
        lost
    }

    /// Sets the lost conditions of all objects, and of those that are written from now on, to Unknown, until the watch ends. Says when it
    /// is through with those that were there, and ends then if other conditions are lost by now.
    async fn overrule<R: Resource>(&self, objects: &Registry<R>, lost: &Lost, is_through: &AtomicBool) -> Result<()> {
        let mut written: Watch<R> =
            objects.watch(&WatchParams { send_initial_events: Some(true), ..WatchParams::default() }).await?;
        // What is wrong with one object keeps from no other; a while later, once it is through, all is tried again.
        let mut failed: Option<(Error, Instant)> = None;
        loop {
            let until = failed.as_ref().filter(|_| is_through.load(Ordering::Relaxed)).map(|(_, until)| *until);
            let event = tokio::select! {
                event = written.next() => event,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => None,
            };
            let Some(event) = event else { return failed.map_or(Ok(()), |(error, _)| Err(error)) };
            let object = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => object,
                WatchEvent::Bookmark(bookmark) if bookmark.initial_events_end => {
                    is_through.store(true, Ordering::Relaxed);
                    if failed.is_none() && self.lost() != *lost {
                        return Ok(());
                    }
                    continue;
                }
                WatchEvent::Bookmark(_) | WatchEvent::Deleted(_) => continue,
            };
            if object.status().conditions().iter().any(|condition| claims(condition, lost)) {
                let (leases, now) = (self.clone(), self.now().truncated_to_seconds());
                let change = move |conditions: &mut [Condition]| {
                    // Asked again here, between other writes: when a renewal was answered, nothing that its provider writes then is
                    // overruled.
                    let lost = leases.lost();
                    conditions.iter_mut().for_each(|condition| set_unknown(condition, &lost, now));
                };
                match change_conditions(objects, object.metadata(), change).await {
                    Err(error) if !error.is_unavailable() => {
                        failed.get_or_insert_with(|| (error, Instant::now() + PAUSE));
                    }
                    other => other?,
                }
            }
        }
    }
}

/// Writes the keeper's change of an object's conditions, if it is there still.
pub(super) async fn change_conditions<R: Resource>(
    objects: &Registry<R>,
    metadata: &ObjectMeta,
    change: impl Fn(&mut [Condition]) + Send + 'static,
) -> Result<()> {
    match objects.namespaced(&metadata.namespace).overrule(&metadata.name, change).await {
        Err(error) if error.is_not_found() => Ok(()),
        written => written,
    }
}

/// Whether a condition says something that nobody stands for any more.
fn claims(condition: &Condition, lost: &Lost) -> bool {
    let is_so = condition.status == ConditionStatus::Unknown && condition.reason == PROVIDER_LOST;
    !is_so && lost.contains_key(&condition.type_)
}

fn set_unknown(condition: &mut Condition, lost: &Lost, now: Timestamp) {
    if !claims(condition, lost) {
        return;
    }
    if condition.status != ConditionStatus::Unknown {
        condition.status = ConditionStatus::Unknown;
        condition.last_transition_time = Some(now);
    }
    PROVIDER_LOST.clone_into(&mut condition.reason);
    condition.message = lost.get(&condition.type_).cloned().unwrap_or_default();
}

fn is_open(ledger: &Ledger) -> bool {
    !matches!(*ledger.state().borrow(), LedgerState::Closed | LedgerState::Failed)
}
