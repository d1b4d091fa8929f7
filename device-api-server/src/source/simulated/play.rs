// SPDX-License-Identifier: Apache-2.0
//! A scenario that is being played: where its timeline stands, and what stands because of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::nvml::driver::{DriverError, Event};
use super::action::{Action, Call, Step};
use super::burst::Burst;
use super::node::Node;
use super::scenario::Scenario;
use super::words::{Count, Time};

/// The most bursts that wait to be taken; the driver's own queue has a bound, too.
const MOST_BURSTS: usize = 1_024;

/// The state of a [`Simulated`](super::Simulated). Nothing runs by itself: whoever asks moves it on first.
#[derive(Debug)]
pub(super) struct Play {
    steps: Vec<Step>,
    repeat: Option<Duration>,
    /// When this round of the timeline began; `None` before the first call of `init`.
    round: Option<Instant>,
    /// The step that comes next in it.
    next: usize,
    /// When the first round began.
    started: Option<Instant>,
    pub(super) node: Node,
    is_initialized: bool,
    /// The GPUs whose events are asked for, and since when.
    subscribed: BTreeMap<String, Instant>,
    bursts: Vec<Burst>,
    troubles: Vec<Trouble>,
}

/// A call that goes wrong.
#[derive(Debug)]
struct Trouble {
    call: Call,
    slot: Option<usize>,
    until: Option<Instant>,
    outcome: Outcome,
}

/// How a call goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It returns then, or never.
    Hangs(Option<Instant>),
    Fails(DriverError),
}

impl Play {
    pub(super) fn new(scenario: Scenario) -> Self {
        Self {
            node: Node::new(&scenario),
            steps: scenario.steps,
            repeat: scenario.repeat,
            round: None,
            next: 0,
            started: None,
            is_initialized: false,
            subscribed: BTreeMap::new(),
            bursts: Vec::new(),
            troubles: Vec::new(),
        }
    }

    /// Begins the timeline, unless it runs.
    pub(super) fn start(&mut self, now: Instant) {
        self.started.get_or_insert(now);
        self.round.get_or_insert(now);
    }

    /// How long the timeline has been running.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started))
    }

    /// Does everything that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(due) = self.next_step().filter(|due| *due <= now) {
            let action = self.steps[self.next].action.clone();
            self.next += 1;
            if self.next == self.steps.len()
                && let (Some(round), Some(repeat)) = (&mut self.round, self.repeat)
            {
                *round += repeat;
                self.next = 0;
            }
            self.act(&action, due);
        }
        self.troubles.retain(|trouble| trouble.until.is_none_or(|until| until > now));
    }

    /// Does this now, beside the timeline.
    pub(super) fn happen(&mut self, action: &Action, now: Instant) {
        self.act(action, now);
    }

    fn next_step(&self) -> Option<Instant> {
        Some(self.round? + self.steps.get(self.next)?.time)
    }

    fn act(&mut self, action: &Action, due: Instant) {
        match action {
            Action::Hang { call, gpu, lasts } => {
                let until = lasts.map(|Time(lasts)| due + lasts);
                self.trouble(*call, gpu.as_ref().map(|gpu| *gpu.get_ref()), until, Outcome::Hangs(until));
            }
            Action::Fail { call, error, gpu, lasts } => {
                let until = lasts.map(|Time(lasts)| due + lasts);
                let outcome = Outcome::Fails(error.of(*call));
                self.trouble(*call, gpu.as_ref().map(|gpu| *gpu.get_ref()), until, outcome);
            }
            Action::DriverUnload {} => self.shutdown(),
            _ => {}
        }
        let (Some(kind), Some(slot)) = (self.node.apply(action), action.slot()) else { return };
        let (Time(over), Count(count)) = match action {
            Action::Xid { over, count, .. } => (*over, *count),
            _ => Default::default(),
        };
        if self.bursts.len() == MOST_BURSTS {
            let oldest = self.bursts.remove(0);
            tracing::warn!(uuid = oldest.uuid(), "the simulated driver drops events that nobody took");
        }
        let event = Event { uuid: self.node.uuid(*slot.get_ref()).to_owned(), kind };
        self.bursts.push(Burst::new(event, due, over, count));
    }

    /// Makes a call go wrong, in the place of how it went wrong before.
    fn trouble(&mut self, call: Call, slot: Option<usize>, until: Option<Instant>, outcome: Outcome) {
        self.troubles.retain(|trouble| (trouble.call, trouble.slot) != (call, slot));
        self.troubles.push(Trouble { call, slot, until, outcome });
    }

    /// How this call goes wrong now.
    pub(super) fn outcome(&self, call: Call, uuid: Option<&str>) -> Option<Outcome> {
        let slot = uuid.and_then(|uuid| self.node.slot(uuid));
        let meant = |trouble: &&Trouble| trouble.call == call && (trouble.slot.is_none() || trouble.slot == slot);
        self.troubles.iter().rev().find(meant).map(|trouble| trouble.outcome.clone())
    }

    /// Refuses what comes before `init`, or while there is no driver.
    pub(super) fn check_ready(&self) -> Result<(), DriverError> {
        if !self.node.is_loaded {
            Err(DriverError::DriverNotLoaded)
        } else if !self.is_initialized {
            Err(DriverError::Uninitialized)
        } else {
            Ok(())
        }
    }

    pub(super) fn init(&mut self) -> Result<(), DriverError> {
        self.shutdown();
        self.is_initialized = self.node.is_loaded;
        self.check_ready()
    }

    pub(super) fn shutdown(&mut self) {
        self.is_initialized = false;
        self.subscribed.clear();
    }

    pub(super) fn subscribe(&mut self, uuid: &str, now: Instant) -> Result<(), DriverError> {
        self.node.card(uuid)?;
        self.subscribed.entry(uuid.to_owned()).or_insert(now);
        Ok(())
    }

    /// Takes an event that has come.
    pub(super) fn take_event(&mut self, now: Instant) -> Option<Event> {
        for burst in &mut self.bursts {
            // What came before somebody asked for it is lost, as it is in the driver.
            let since = self.subscribed.get(burst.uuid()).copied();
            burst.skip_before(since.unwrap_or(now));
        }
        self.bursts.retain(|burst| burst.due().is_some());
        let wanted = self.bursts.iter_mut().filter(|burst| self.subscribed.contains_key(burst.uuid()));
        let first = wanted.min_by_key(|burst| burst.due());
        first.filter(|burst| burst.due().is_some_and(|due| due <= now)).map(Burst::take)
    }

    /// Whether a GPU whose events are asked for is lost: NVML then answers each wait with that, at once.
    pub(super) fn lost_subscription(&self) -> bool {
        self.subscribed.keys().any(|uuid| self.node.is_lost(uuid))
    }

    /// When there may be something new for whoever waits for events.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let wanted = self.bursts.iter().filter(|burst| self.subscribed.contains_key(burst.uuid()));
        wanted.filter_map(Burst::due).chain(self.next_step()).min()
    }
}
