// SPDX-License-Identifier: Apache-2.0
//! Calls to the driver. Each is a task with a time limit, and nobody waits for a single one: a GPU that hangs is
//! told from the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use device_api_core::resource::GpuTelemetry;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::driver::{Description, Driver, DriverError, Found, Vitals};

/// The calls that are under way.
#[derive(Debug)]
pub(super) struct Calls {
    driver: Arc<dyn Driver>,
    limit: Duration,
    running: JoinSet<Answer>,
    /// How many of them ask which GPUs there are.
    lists: usize,
    /// The GPUs that are being asked, and whether one of them reported something meanwhile.
    busy: BTreeMap<String, bool>,
    /// The GPUs that are to be described when they are asked next, since they were not when they should have been.
    undescribed: BTreeSet<String>,
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Listed(Result<Vec<Found>, DriverError>),
    Inspected { uuid: String, inspection: Box<Inspection> },
    Measured { uuid: String, outcome: Box<Result<GpuTelemetry, DriverError>> },
    Panicked(DriverError),
}

/// What a GPU is asked beside its vitals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Questions {
    pub(super) describe: bool,
    pub(super) subscribe: bool,
}

/// What it said, as far as it was asked. After a call that hangs it is not asked further.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    pub(super) subscription: Option<Result<(), DriverError>>,
    pub(super) description: Option<Result<Description, DriverError>>,
    pub(super) vitals: Option<Result<Vitals, DriverError>>,
    /// Whether it was to be described anew while it was being asked: this may be of before.
    pub(super) is_outdated: bool,
    /// Whether it reported something while it was being asked: this may be of before.
    pub(super) is_early: bool,
}

impl Calls {
    pub(super) fn new(driver: Arc<dyn Driver>, limit: Duration) -> Self {
        let (running, busy, undescribed) = (JoinSet::new(), BTreeMap::new(), BTreeSet::new());
        Self { driver, limit, running, lists: 0, busy, undescribed }
    }

    /// What came of the next call that ends; `None` while there is none.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        let mut answer = match self.running.join_next().await? {
            Ok(answer) => answer,
            Err(panic) => Answer::Panicked(DriverError::Other { call: "a call", why: panic.to_string() }),
        };
        if let Answer::Listed(_) = answer {
            self.lists -= 1;
        }
        if let Answer::Inspected { uuid, inspection } = &mut answer {
            inspection.is_early = self.busy.remove(uuid).unwrap_or(false);
            inspection.is_outdated = self.undescribed.contains(uuid);
            if let Some(Err(_)) = inspection.description {
                self.undescribed.insert(uuid.clone());
            }
        }
        Some(answer)
    }

    /// Whether the driver is being asked which GPUs there are.
    pub(super) fn is_listing(&self) -> bool {
        self.lists > 0
    }

    /// Asks the driver which GPUs there are.
    pub(super) fn list(&mut self) {
        let (driver, limit) = (Arc::clone(&self.driver), self.limit);
        self.lists += 1;
        self.running.spawn(async move {
            let listed = timeout(limit, driver.list()).await;
            Answer::Listed(listed.unwrap_or(Err(DriverError::Hung { call: "list" })))
        });
    }

    /// Something happened to a GPU: what it is being asked was of before.
    pub(super) fn overtake(&mut self, uuid: &str) {
        if let Some(is_early) = self.busy.get_mut(uuid) {
            *is_early = true;
        }
    }

    /// Asks a GPU, unless it is being asked.
    pub(super) fn inspect(&mut self, uuid: &str, Questions { describe, subscribe }: Questions) {
        if !self.busy.contains_key(uuid) {
            self.busy.insert(uuid.to_owned(), false);
            let describe = self.undescribed.remove(uuid) || describe;
            let questions = Questions { describe, subscribe };
            self.running.spawn(inspect(Arc::clone(&self.driver), uuid.to_owned(), questions, self.limit));
        } else if describe {
            self.undescribed.insert(uuid.to_owned());
        }
    }

    /// Asks a GPU what it measures.
    pub(super) fn measure(&mut self, uuid: String) {
        let (driver, limit) = (Arc::clone(&self.driver), self.limit);
        self.running.spawn(async move {
            let outcome = timeout(limit, driver.telemetry(&uuid)).await;
            let outcome = outcome.unwrap_or(Err(DriverError::Hung { call: "telemetry" }));
            Answer::Measured { uuid, outcome: Box::new(outcome) }
        });
    }
}

/// Asks a GPU. Its events are subscribed to first, so that nothing falls between them and its vitals.
async fn inspect(driver: Arc<dyn Driver>, uuid: String, questions: Questions, limit: Duration) -> Answer {
    let mut inspection = Inspection::default();
    let hung = 'asked: {
        if questions.subscribe {
            let Ok(outcome) = timeout(limit, driver.subscribe(&uuid)).await else { break 'asked Some("subscribe") };
            inspection.subscription = Some(outcome);
        }
        if questions.describe {
            let Ok(outcome) = timeout(limit, driver.describe(&uuid)).await else { break 'asked Some("describe") };
            inspection.description = Some(outcome);
        }
        let Ok(outcome) = timeout(limit, driver.vitals(&uuid)).await else { break 'asked Some("vitals") };
        inspection.vitals = Some(outcome);
        None
    };
    if let Some(call) = hung {
        let why = DriverError::Hung { call };
        if questions.describe && inspection.description.is_none() {
            inspection.description = Some(Err(why.clone()));
        }
        inspection.vitals = Some(Err(why));
    }
    Answer::Inspected { uuid, inspection: Box::new(inspection) }
}
