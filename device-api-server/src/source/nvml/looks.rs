// SPDX-License-Identifier: Apache-2.0
//! When a GPU on which a fault stands is looked at next: soon, and less often the longer it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::pause::Backoff;

/// The pause between two looks at a GPU that reports much.
const INTERVAL: Duration = Duration::from_secs(1);

/// The looks that are due at single GPUs, by their UUID.
#[derive(Debug)]
pub(super) struct Looks {
    /// The pause after a look, at first and at most.
    pauses: (Duration, Duration),
    faults: BTreeMap<String, Fault>,
}

#[derive(Debug)]
struct Fault {
    next: Instant,
    backoff: Backoff,
}

impl Looks {
    pub(super) fn new(pauses: (Duration, Duration)) -> Self {
        Self { pauses, faults: BTreeMap::new() }
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
