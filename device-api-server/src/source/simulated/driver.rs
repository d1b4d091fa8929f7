// SPDX-License-Identifier: Apache-2.0
//! The driver that plays a scenario.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device_api_core::resource::GpuTelemetry;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::nvml::driver::{Description, Driver, DriverError, Event, Found, System, Vitals};
use super::action::Call;
use super::door::Door;
use super::play::{Outcome, Play};
use super::scenario::{Board, Scenario};
use super::{telemetry, timeline};

/// How long a wait for events takes to fail, at most: as with NVML's binding, who asks again and again does
/// not spin.
const FAILS_AFTER: Duration = Duration::from_millis(200);

/// A driver whose GPUs do what a [`Scenario`] says. Its timeline starts at the first call of
/// [`init`](Driver::init), and no later call of it starts it again.
///
/// It needs tokio's timer and nothing else: with tokio's time paused, a timeline of hours plays at once.
#[derive(Debug)]
pub struct Simulated {
    // All of the state; held for moments, by whoever calls.
    play: Mutex<Play>,
    /// Wakes those who wait for events when something else than time changed what they wait for.
    changed: Notify,
    /// The GPUs as they were at first, for what is made to happen.
    boards: Vec<Board>,
    door: Option<Door>,
}

impl Simulated {
    /// A driver that plays this.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let boards = scenario.boards.clone();
        Self { play: Mutex::new(Play::new(scenario)), changed: Notify::new(), boards, door: None }
    }

    /// Lets its owner make things happen through this door, for as long as somebody [attends](Driver::attend) it.
    #[must_use]
    pub fn with_door(mut self, door: Door) -> Self {
        self.door = Some(door);
        self
    }

    /// Makes something happen now: a step of a scenario's file, without a time.
    ///
    /// ```
    /// use device_api_server::source::simulated::{Scenario, Simulated};
    ///
    /// let driver = Simulated::new(Scenario::from_spec("2")?);
    /// assert_eq!(driver.make("event = \"xid\"\ngpu = 1\nxid = 79"), Ok(()));
    /// assert!(driver.make("event = \"xid\"\ngpu = 2\nxid = 79").is_err());
    /// # Ok::<(), device_api_server::source::simulated::ScenarioError>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the step.
    pub fn make(&self, event: &str) -> Result<(), String> {
        let action = timeline::event(event, &self.boards).map_err(|fault| fault.why)?;
        let step = event.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
        tracing::info!(%step, "somebody made this happen in the simulation");
        let (mut play, now) = self.now();
        play.happen(&action, now);
        drop(play);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The state, at this moment of the timeline.
    fn now(&self) -> (MutexGuard<'_, Play>, Instant) {
        // Nothing is half done after a panic: there is none while the lock is held.
        let mut play = self.play.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        play.advance(now);
        (play, now)
    }

    /// Answers a call, unless the scenario says that it goes wrong.
    async fn call<T>(
        &self,
        call: Call,
        uuid: Option<&str>,
        answer: impl FnOnce(&mut Play, Instant) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        loop {
            let until = {
                let (mut play, now) = self.now();
                match play.outcome(call, uuid) {
                    None => return answer(&mut play, now),
                    Some(Outcome::Fails(error)) => return Err(error),
                    Some(Outcome::Hangs(until)) => until,
                }
            };
            hang(until).await;
        }
    }

    /// The next event, until then.
    async fn wait_for_event(&self, end: Option<Instant>) -> Result<Option<Event>, DriverError> {
        loop {
            // Before the look at the state, or a change between the two would wake nobody.
            let changed = self.changed.notified();
            let (wake, hangs) = {
                let (mut play, now) = self.now();
                match play.outcome(Call::Event, None) {
                    Some(Outcome::Fails(error)) => return Err(error),
                    Some(Outcome::Hangs(until)) => (until, true),
                    None => {
                        play.check_ready()?;
                        let event = play.take_event(now);
                        if event.is_some() || end.is_some_and(|end| end <= now) {
                            return Ok(event);
                        }
                        if play.lost_subscription() {
                            return Err(DriverError::GpuLost);
                        }
                        (play.next_change().into_iter().chain(end).min(), false)
                    }
                }
            };
            tokio::select! {
                () = hang(wake) => {}
                () = changed, if !hangs => {}
            }
        }
    }
}

/// Returns then, or never.
async fn hang(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

#[async_trait::async_trait]
impl Driver for Simulated {
    fn boot_id(&self) -> Option<String> {
        Some(self.play.lock().unwrap_or_else(PoisonError::into_inner).node.boot_id().to_owned())
    }

    async fn init(&self) -> Result<System, DriverError> {
        // Not `now`: the steps at time zero come before the answer.
        self.play.lock().unwrap_or_else(PoisonError::into_inner).start(Instant::now());
        let init = self.call(Call::Init, None, |play, _| {
            play.init()?;
            Ok(play.node.system().clone())
        });
        let outcome = init.await;
        self.changed.notify_waiters();
        outcome
    }

    async fn shutdown(&self) {
        self.now().0.shutdown();
        self.changed.notify_waiters();
    }

    async fn list(&self) -> Result<Vec<Found>, DriverError> {
        let list = |play: &mut Play, _| {
            play.check_ready()?;
            Ok(play.node.found())
        };
        self.call(Call::List, None, list).await
    }

    async fn describe(&self, uuid: &str) -> Result<Description, DriverError> {
        let describe = |play: &mut Play, _| {
            play.check_ready()?;
            play.node.describe(uuid)
        };
        self.call(Call::Describe, Some(uuid), describe).await
    }

    async fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError> {
        let vitals = |play: &mut Play, _| {
            play.check_ready()?;
            play.node.vitals(uuid)
        };
        self.call(Call::Vitals, Some(uuid), vitals).await
    }

    async fn telemetry(&self, uuid: &str) -> Result<GpuTelemetry, DriverError> {
        let sample = |play: &mut Play, now| {
            play.check_ready()?;
            let slot = play.node.slot(uuid).unwrap_or_default();
            Ok(telemetry::sample(play.node.card(uuid)?, slot, play.elapsed(now)))
        };
        self.call(Call::Telemetry, Some(uuid), sample).await
    }

    async fn subscribe(&self, uuid: &str) -> Result<(), DriverError> {
        let subscribe = |play: &mut Play, now| {
            play.check_ready()?;
            play.subscribe(uuid, now)
        };
        self.call(Call::Subscribe, Some(uuid), subscribe).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn next_event(&self, wait: Duration) -> Result<Option<Event>, DriverError> {
        let begin = Instant::now();
        let outcome = self.wait_for_event(begin.checked_add(wait)).await;
        if outcome.is_err() {
            sleep_until(begin + FAILS_AFTER.min(wait)).await;
        }
        outcome
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn attend(&self) {
        if let Some(door) = &self.door {
            door.attend(|event| self.make(event)).await;
        }
        pending().await
    }
}
