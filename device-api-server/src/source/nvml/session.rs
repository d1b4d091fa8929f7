// SPDX-License-Identifier: Apache-2.0
//! One session with the driver, from one initialisation to the next.
//!
//! Every call to the driver is a task with a time limit, and the session waits for none of them: a GPU
//! that hangs is told from the others, and an event is handled while it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use device_api_core::resource::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::calls::{Answer, Inspection, Questions, inspect};
use super::driver::{Driver, DriverError, EventKind, Found};
use super::gpus::Gpus;
use super::options::SourceOptions;
use super::pump::{Pumped, QUEUE, pump};
use crate::source::observation::{Observation, Stored};
use crate::source::pause::{Backoff, jittered};

/// The pause between two looks at a GPU that reports much.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often at most the driver is initialised anew because a lost GPU spoils the wait for events.
const REATTACH_INTERVAL: Duration = Duration::from_secs(60);
/// How long a wait for events may take beyond its own time.
const WAIT_PATIENCE: Duration = Duration::from_secs(8);

/// A session.
pub(super) struct Session<'a> {
    driver: Arc<dyn Driver>,
    options: &'a SourceOptions,
    gpus: &'a mut Gpus,
    out: &'a watch::Sender<Observation>,
    began: Instant,
    calls: JoinSet<Answer>,
    /// The GPUs that a call is about.
    busy: BTreeSet<String>,
    /// The GPUs whose events are delivered.
    subscribed: BTreeSet<String>,
    /// When a GPU on which a fault stands is looked at next.
    faults: BTreeMap<String, Fault>,
    /// Why waits for events fail, while they do.
    broken: Option<DriverError>,
}

#[derive(Debug)]
struct Fault {
    next_look: Instant,
    backoff: Backoff,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        driver: Arc<dyn Driver>,
        options: &'a SourceOptions,
        gpus: &'a mut Gpus,
        out: &'a watch::Sender<Observation>,
    ) -> Self {
        Self {
            driver,
            options,
            gpus,
            out,
            began: Instant::now(),
            calls: JoinSet::new(),
            busy: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            faults: BTreeMap::new(),
            broken: None,
        }
    }

    /// Follows the driver until it has to be initialised anew, and says why; `None` when nobody shows what
    /// is stored any more.
    pub(super) async fn follow(mut self, stored: &mut watch::Receiver<Stored>) -> Option<DriverError> {
        let (sender, mut events) = mpsc::channel(QUEUE);
        let mut pumps = JoinSet::new();
        pumps.spawn(pump(Arc::clone(&self.driver), self.options.event_wait, WAIT_PATIENCE, sender));
        let mut batch = Vec::with_capacity(QUEUE);
        let mut resync = Instant::now();
        let mut sample = self.options.telemetry.map(|_| Instant::now() + LOOK_INTERVAL);
        loop {
            let next_look = self.faults.values().map(|fault| fault.next_look).min();
            let wake = [Some(resync), sample, next_look].into_iter().flatten().min().unwrap_or(resync);
            let outcome = tokio::select! {
                Some(answer) = self.calls.join_next() => match answer {
                    Ok(answer) => self.take(answer),
                    Err(panic) => Err(DriverError::Other { call: "a call", why: panic.to_string() }),
                },
                count = events.recv_many(&mut batch, QUEUE) => {
                    if count == 0 { Err(DriverError::Uninitialized) } else { self.take_events(&mut batch) }
                }
                changed = stored.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    self.gpus.adopt(&stored.borrow_and_update().clone(), self.options.clock.now());
                    Ok(())
                }
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= resync {
                        resync = now + jittered(self.options.resync);
                        self.list();
                    }
                    let outcome = self.mend();
                    if sample.is_some_and(|at| now >= at) {
                        sample = self.options.telemetry.map(|period| now + jittered(period));
                        self.measure();
                    }
                    self.look_at_faults(now);
                    outcome
                }
            };
            if let Err(why) = outcome {
                // What was reported before the driver went is not forgotten with it.
                let now = self.now();
                while let Ok(pumped) = events.try_recv() {
                    if let Pumped::Event(event) = pumped {
                        self.gpus.reported(&event, now);
                    }
                }
                return Some(why);
            }
            self.out.send_replace(self.gpus.observation());
        }
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Asks the driver which GPUs there are.
    fn list(&mut self) {
        let (driver, limit) = (Arc::clone(&self.driver), self.options.call_timeout);
        self.calls.spawn(async move {
            let listed = timeout(limit, driver.list()).await;
            Answer::Listed(listed.unwrap_or(Err(DriverError::Hung { call: "list" })))
        });
    }

    /// Asks a GPU, unless a call about it is still under way.
    fn ask(&mut self, uuid: &str, questions: Questions) {
        if self.busy.insert(uuid.to_owned()) {
            let questions = Questions { subscribe: !self.subscribed.contains(uuid), ..questions };
            let call = inspect(Arc::clone(&self.driver), uuid.to_owned(), questions, self.options.call_timeout);
            self.calls.spawn(call);
        }
    }

    /// Asks every GPU what it measures.
    fn measure(&mut self) {
        for uuid in self.gpus.listed_uuids() {
            let (driver, limit) = (Arc::clone(&self.driver), self.options.call_timeout);
            self.calls.spawn(async move {
                let outcome = timeout(limit, driver.telemetry(&uuid)).await;
                let outcome = outcome.unwrap_or(Err(DriverError::Hung { call: "telemetry" }));
                Answer::Measured { uuid, outcome: Box::new(outcome) }
            });
        }
    }

    /// Looks at the GPUs on which a fault stands, less often the longer it does.
    fn look_at_faults(&mut self, now: Instant) {
        let due = self.faults.iter().filter(|(_, fault)| fault.next_look <= now);
        for uuid in due.map(|(uuid, _)| uuid.clone()).collect::<Vec<_>>() {
            if !self.gpus.needs_attention(&uuid) {
                self.faults.remove(&uuid);
                continue;
            }
            if let Some(fault) = self.faults.get_mut(&uuid) {
                fault.next_look = now + fault.backoff.next();
            }
            self.ask(&uuid, Questions::default());
        }
    }

    /// Looks at a GPU soon, because something happened to it.
    fn look_soon(&mut self, uuid: &str) {
        let (first, longest) = self.options.fault_poll;
        let now = Instant::now();
        let fault = self
            .faults
            .entry(uuid.to_owned())
            .or_insert_with(|| Fault { next_look: now, backoff: Backoff::new(first, longest) });
        fault.backoff.reset();
        fault.next_look = fault.next_look.min(now + LOOK_INTERVAL);
    }

    /// Takes what came of a call.
    ///
    /// # Errors
    /// When the driver has to be initialised anew.
    fn take(&mut self, answer: Answer) -> Result<(), DriverError> {
        match answer {
            Answer::Listed(listed) => self.take_list(listed),
            Answer::Inspected { uuid, inspection } => self.take_inspection(&uuid, *inspection),
            Answer::Measured { uuid, outcome } => {
                match *outcome {
                    Ok(telemetry) => self.gpus.measured(&uuid, telemetry, self.now()),
                    // Its vitals say what that means.
                    Err(error) => tracing::debug!(gpu = uuid, %error, "cannot measure"),
                }
                Ok(())
            }
        }
    }

    fn take_list(&mut self, listed: Result<Vec<Found>, DriverError>) -> Result<(), DriverError> {
        let found = listed.map_err(DriverError::of_all)?;
        let mut errors = found.iter().filter_map(|found| found.identity.as_ref().err());
        if let Some(why) = errors.find(|why| why.is_of_the_driver()) {
            return Err(why.clone());
        }
        for uuid in self.gpus.listed(&found, self.now()) {
            self.ask(&uuid, Questions { describe: true, ..Questions::default() });
        }
        let listed: BTreeSet<_> = self.gpus.listed_uuids().into_iter().collect();
        // A GPU that comes back is subscribed to anew.
        self.subscribed.retain(|uuid| listed.contains(uuid));
        Ok(())
    }

    fn take_inspection(&mut self, uuid: &str, inspection: Inspection) -> Result<(), DriverError> {
        self.busy.remove(uuid);
        let now = self.now();
        let errors = [
            inspection.description.as_ref().and_then(|outcome| outcome.as_ref().err()),
            inspection.vitals.as_ref().and_then(|outcome| outcome.as_ref().err()),
        ];
        if let Some(why) = errors.into_iter().flatten().find(|error| error.is_of_the_driver()) {
            return Err(why.clone());
        }
        if let Some(subscription) = inspection.subscription {
            if subscription.is_ok() {
                self.subscribed.insert(uuid.to_owned());
            }
            self.gpus.subscribed(uuid, subscription.as_ref().copied());
        }
        match inspection.description {
            Some(Ok(description)) => self.gpus.described(uuid, description),
            // Its vitals say what that means; it is what it was.
            Some(Err(error)) => tracing::debug!(gpu = uuid, %error, "cannot describe a GPU"),
            None => {}
        }
        if let Some(vitals) = inspection.vitals {
            self.gpus.examined(uuid, &vitals, now);
        }
        if let Some(broken) = &self.broken {
            self.gpus.deafened(uuid, broken, now);
        }
        if self.gpus.needs_attention(uuid) && !self.faults.contains_key(uuid) {
            let (first, longest) = self.options.fault_poll;
            let mut backoff = Backoff::new(first, longest);
            let next_look = Instant::now() + backoff.next();
            self.faults.insert(uuid.to_owned(), Fault { next_look, backoff });
        }
        Ok(())
    }

    fn take_events(&mut self, batch: &mut Vec<Pumped>) -> Result<(), DriverError> {
        let mut touched = BTreeSet::new();
        let mut outcome = Ok(());
        let now = self.now();
        for pumped in batch.drain(..) {
            match pumped {
                Pumped::Event(event) => {
                    tracing::debug!(gpu = event.uuid, kind = ?event.kind, "an event");
                    self.gpus.reported(&event, now);
                    match event.kind {
                        EventKind::SingleBitEcc | EventKind::Other(_) => {}
                        EventKind::MigConfigChanged => {
                            self.ask(&event.uuid, Questions { describe: true, ..Questions::default() });
                        }
                        _ => self.look_soon(&event.uuid),
                    }
                    touched.insert(event.uuid);
                }
                Pumped::Broken(error) => outcome = outcome.and(self.deafen(error)),
                Pumped::Mended => {
                    self.broken = None;
                    for uuid in &self.subscribed {
                        self.gpus.subscribed(uuid, Ok(()));
                    }
                    self.list();
                }
            }
        }
        for uuid in touched {
            self.gpus.refresh(&uuid);
        }
        outcome
    }

    /// A lost GPU can spoil the wait for the events of all. Subscribed to anew, the others are heard.
    fn mend(&self) -> Result<(), DriverError> {
        let is_spoilt = self.broken.as_ref().is_some_and(DriverError::is_of_one_gpu);
        if is_spoilt && self.began.elapsed() > REATTACH_INTERVAL { Err(DriverError::GpuLost) } else { Ok(()) }
    }

    /// No event of any GPU is delivered any more: nobody may believe that there was none.
    fn deafen(&mut self, why: DriverError) -> Result<(), DriverError> {
        if why.is_of_the_driver() {
            return Err(why);
        }
        tracing::warn!(error = %why, "cannot wait for events: trying again");
        for uuid in self.gpus.listed_uuids() {
            self.gpus.deafened(&uuid, &why, self.now());
        }
        self.broken = Some(why);
        // If a GPU was lost, the list says which.
        self.list();
        self.mend()
    }
}
