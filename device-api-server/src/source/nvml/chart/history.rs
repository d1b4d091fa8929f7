// SPDX-License-Identifier: Apache-2.0
//! The XIDs of one GPU: how often, when, and which of them stand.

use std::cmp::Reverse;
use std::time::Duration;

use device_api_core::resource::{Timestamp, XidRecord};

use super::super::policy::Judgement;
use super::super::xid::{Action, Cure};
use super::parts::Parts;

/// How many XIDs of a GPU an object has, each once for every instance that it was about.
const SHOWN: usize = 32;
/// How many are remembered, so that what decides on health and counts does not hang on what is shown: all that a GPU with
/// seven parts may report in practice.
const REMEMBERED: usize = 512;
/// How close an XID 48 and one of [`RETIREMENTS`] belong together.
const TOGETHER: Duration = Duration::from_secs(60);
/// An uncorrectable memory error.
const DOUBLE_BIT: u32 = 48;
/// Memory that is to be replaced, or could not be.
const RETIREMENTS: [u32; 2] = [63, 64];

/// An XID with what is derived of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: XidRecord,
    /// By the policy, with this driver.
    pub(super) action: Action,
    /// Whether it is over once the driver wants nothing done.
    pub(super) heeds_driver: bool,
    /// Whether the GPU has said since that a memory row waits for a reset.
    pub(super) row_waits: bool,
    /// Whether all work has to leave the GPU before it is reset.
    pub(super) drain: bool,
    /// Whether it stood against the GPU's health, and does no more.
    pub(super) settled: bool,
}

impl Entry {
    /// Whether it is among those that keep their place: the gravest first to be kept.
    fn worth(&self) -> Option<Action> {
        self.record.standing.then_some(self.action)
    }

    /// Takes in another one of the same key, which came later.
    fn merge(&mut self, later: Self) {
        // What was asked for before the later one came is no answer to it.
        let answers = |entry: &Self, does: bool| does || !entry.record.standing;
        let reset_requested =
            answers(self, self.record.reset_requested) && answers(&later, later.record.reset_requested);
        self.row_waits = answers(self, self.row_waits) && answers(&later, later.row_waits);
        self.drain |= later.drain;
        self.settled |= later.settled;
        let (this, other) = (&mut self.record, later.record);
        this.count = this.count.saturating_add(other.count);
        this.first_seen = this.first_seen.into_iter().chain(other.first_seen).min();
        this.last_seen = this.last_seen.into_iter().chain(other.last_seen).max();
        this.standing |= other.standing;
        this.reset_requested = reset_requested && this.standing;
        this.boot_id = other.boot_id;
    }
}

/// Which XID, and of what: there is one record of each.
pub(super) fn key(record: &XidRecord) -> (u32, Option<u32>, Option<u32>, bool) {
    (record.xid, record.gpu_instance_id, record.compute_instance_id, record.instance_gone)
}

/// The XIDs, the latest last.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    entries: Vec<Entry>,
}

impl History {
    /// What a status had, seen in the boot `boot_id`.
    pub(super) fn adopt(records: &[XidRecord], judge: impl Fn(u32) -> Judgement, boot_id: Option<&str>) -> Self {
        let newest = records.iter().skip(records.len().saturating_sub(REMEMBERED));
        let entries = newest.map(|record| entry(record.clone(), judge(record.xid))).collect();
        let mut history = Self { entries };
        for index in 0..history.entries.len() {
            history.correlate(index);
        }
        for Entry { record, action, .. } in &mut history.entries {
            let rebooted = boot_id.is_some_and(|boot| !record.boot_id.is_empty() && record.boot_id != boot);
            record.standing &= action.stands() && !(rebooted && action.is_cured_by(Cure::Reboot));
        }
        history
    }

    /// Takes over what stands there and was never known here, or came again since; times that are no further apart than `same` are
    /// of one event. Whether there is any.
    pub(super) fn learn(&mut self, other: Self, same: Duration) -> bool {
        let instance = |record: &XidRecord| (record.xid, record.gpu_instance_id, record.compute_instance_id);
        let mut has_learnt = false;
        for entry in other.entries.into_iter().filter(|entry| entry.record.standing) {
            // An instance that was there at that time may be gone since.
            let is_known = self.entries.iter().any(|own| {
                let (own, record) = (&own.record, &entry.record);
                let came_again =
                    matches!((record.last_seen, own.last_seen), (Some(new), Some(old)) if new.since(old) > same);
                instance(own) == instance(record) && (own.standing || !came_again)
            });
            if !is_known {
                self.entries.retain(|own| key(&own.record) != key(&entry.record));
                self.entries.push(entry);
                has_learnt = true;
            }
        }
        has_learnt
    }

    /// Counts one more. Whether it stands.
    pub(super) fn occurred(&mut self, mut seen: XidRecord, judgement: Judgement, parts: &Parts) -> bool {
        let position = |seen: &XidRecord| self.entries.iter().position(|entry| key(&entry.record) == key(seen));
        // What an instance reports that is not there counts with what one reported that is no more.
        let gone = XidRecord { instance_gone: true, ..seen.clone() };
        if !parts.has(&seen) && position(&seen).is_none() && position(&gone).is_some() {
            seen = gone;
        }
        let mut entry = match position(&seen) {
            Some(index) => self.entries.remove(index),
            None => entry(XidRecord { count: 0, first_seen: seen.last_seen, ..seen.clone() }, judgement),
        };
        // What was asked for before is no answer to this.
        (entry.record.reset_requested, entry.row_waits) = (false, false);
        entry.record.count = entry.record.count.saturating_add(1);
        entry.record.last_seen = seen.last_seen;
        entry.record.boot_id = seen.boot_id;
        entry.record.standing |= entry.action.stands();
        let stands = entry.action.stands();
        self.entries.push(entry);
        for index in 0..self.entries.len() {
            self.correlate(index);
        }
        if self.entries.len() > REMEMBERED {
            // The oldest of those that matter least.
            let least = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.worth());
            if let Some((index, _)) = least {
                self.entries.remove(index);
            }
        }
        stands
    }

    /// The GPU is divided otherwise. What named an instance that is no more is the GPU's from now on, and not that of another
    /// one with the same ids.
    pub(super) fn divided(&mut self, before: &Parts, now: &Parts) {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for mut entry in self.entries.drain(..) {
            let names_one = entry.record.gpu_instance_id.is_some();
            entry.record.instance_gone |= names_one && now.lost(before, &entry.record);
            if let Some(index) = entries.iter().position(|other| key(&other.record) == key(&entry.record)) {
                let mut earlier = entries.remove(index);
                earlier.merge(entry);
                entry = earlier;
            }
            entries.push(entry);
        }
        self.entries = entries;
    }

    /// Judges all anew: the driver is another, or tells other things than before.
    pub(super) fn judge(&mut self, judge: impl Fn(u32) -> Judgement) {
        for entry in &mut self.entries {
            let Judgement { action, heeds_driver, .. } = judge(entry.record.xid);
            entry.record.recommended_action = action.recommended();
            (entry.action, entry.heeds_driver) = (action, heeds_driver);
        }
    }

    /// Notes of all that stand what the GPU says after them: that the driver asks for a reset, that a memory row waits for one.
    pub(super) fn note(&mut self, reset_requested: bool, row_waits: bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.record.standing) {
            entry.record.reset_requested |= reset_requested;
            entry.row_waits |= row_waits;
        }
    }

    /// Notes that what stands and needs a reset was seen to need a drain before it.
    pub(super) fn drain(&mut self) {
        for Entry { record, drain, .. } in &mut self.entries {
            *drain |= record.standing && record.xid == DOUBLE_BIT;
        }
    }

    /// Lets go of what `over` says is over.
    pub(super) fn settle(&mut self, over: impl Fn(&Entry) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.record.standing) {
            if over(entry) {
                (entry.record.standing, entry.record.reset_requested) = (false, false);
                entry.drain = false;
                // One of which nobody knew what it meant took nothing away.
                entry.settled = entry.action != Action::NonePublished;
            }
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Those that stand, wherever.
    pub(super) fn standing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.record.standing)
    }

    /// Notes that the XID 48 at `index` came together with one of [`RETIREMENTS`].
    fn correlate(&mut self, index: usize) {
        let Some(this) = self.entries.get(index) else { return };
        if this.record.xid != DOUBLE_BIT || !this.record.standing || this.drain {
            return;
        }
        let drain = self.entries.iter().any(|other| {
            RETIREMENTS.contains(&other.record.xid)
                && (other.record.standing || are_close(this.record.last_seen, other.record.last_seen))
        });
        if let Some(this) = self.entries.get_mut(index) {
            this.drain = drain;
        }
    }
}

/// As many records as an object may have, the latest last: those that stand go before those that do not, the gravest before
/// others, then newer ones before older ones.
pub(super) fn shown<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<XidRecord> {
    let mut entries: Vec<_> = entries.enumerate().collect();
    entries.sort_by_key(|(place, entry)| Reverse((entry.worth(), *place)));
    entries.truncate(SHOWN);
    entries.sort_by_key(|(place, _)| *place);
    entries.into_iter().map(|(_, entry)| entry.record.clone()).collect()
}

fn entry(record: XidRecord, Judgement { action, heeds_driver, .. }: Judgement) -> Entry {
    Entry {
        record: XidRecord { recommended_action: action.recommended(), ..record },
        action,
        heeds_driver,
        row_waits: false,
        drain: false,
        settled: false,
    }
}

fn are_close(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    // `since` is zero for the earlier of the two.
    let apart = |one: Timestamp, other: Timestamp| one.since(other).max(other.since(one));
    matches!((one, other), (Some(one), Some(other)) if apart(one, other) <= TOGETHER)
}
