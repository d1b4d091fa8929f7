// SPDX-License-Identifier: Apache-2.0
//! When a GPU on which a fault stands is looked at next: soon, and less often the longer it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::pause::Backoff;

/// The pause between two looks at a GPU that reports much.
const INTERVAL: Duration = Duration::from_secs(1);
/// How much of a pause is left when it is jittered, at the least, and a little less.
const SHORTEST: f64 = 0.85;

/// The looks that are due at single GPUs, by their UUID.
#[derive(Debug)]
pub(super) struct Looks {
    /// The pause after a look, at first and at most.
    pauses: (Duration, Duration),
    faults: BTreeMap<String, Fault>,
    /// When the last reading began to count that may end a fault.
    counted: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Fault {
    next: Instant,
    backoff: Backoff,
}

impl Looks {
    pub(super) fn new(pauses: (Duration, Duration)) -> Self {
        Self { pauses, faults: BTreeMap::new(), counted: BTreeMap::new() }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.faults.values().map(|fault| fault.next).min()
    }

    /// Something happened to a GPU.
    pub(super) fn soon(&mut self, uuid: &str, now: Instant) {
        let fault = || Fault { next: now, backoff: Backoff::new(self.pauses) };
        let fault = self.faults.entry(uuid.to_owned()).or_insert_with(fault);
        fault.backoff.reset();
        fault.next = fault.next.min(now + INTERVAL);
    }

    /// Something happened that makes the next reading the first that counts.
    pub(super) fn begin_anew(&mut self, uuid: &str) {
        self.counted.remove(uuid);
    }

    /// Whether a reading counts as one more: of those that come closer upon each other than two looks, be it because all GPUs
    /// are looked at or because much happens, the first does. The driver may need a moment for its verdict.
    pub(super) fn counts(&mut self, uuid: &str, now: Instant) -> bool {
        let apart = self.pauses.0.mul_f64(SHORTEST);
        let counts = self.counted.get(uuid).is_none_or(|last| now.duration_since(*last) >= apart);
        if counts {
            self.counted.insert(uuid.to_owned(), now);
        }
        counts
    }

    /// A fault was found at a look.
    pub(super) fn go_on(&mut self, uuid: &str, now: Instant) {
        if !self.faults.contains_key(uuid) {
            let mut backoff = Backoff::new(self.pauses);
            let next = now + backoff.next();
            self.faults.insert(uuid.to_owned(), Fault { next, backoff });
        }
    }

    /// The GPUs that are due. Those that need no attention any more are let go.
    pub(super) fn due(&mut self, now: Instant, needs_attention: impl Fn(&str) -> bool) -> Vec<String> {
        self.faults.retain(|uuid, fault| fault.next > now || needs_attention(uuid));
        let due = self.faults.iter_mut().filter(|(_, fault)| fault.next <= now);
        due.map(|(uuid, fault)| {
            fault.next = now + fault.backoff.next();
            uuid.clone()
        })
        .collect()
    }
}
