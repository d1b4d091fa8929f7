// SPDX-License-Identifier: Apache-2.0
//! The XIDs of one GPU: how often, when, and which of them stand.

use std::time::Duration;

use device_api_core::resource::{MigDevice, Timestamp, XidRecord};

use super::super::policy::Judgement;
use super::super::xid::{Action, Cure};

/// How many XIDs of a GPU are kept, each once for every instance that it was about.
const KEPT: usize = 32;
/// How close an XID 48 and one of [`RETIREMENTS`] belong together.
const TOGETHER: Duration = Duration::from_secs(60);
/// An uncorrectable memory error.
const DOUBLE_BIT: u32 = 48;
/// Memory that is to be replaced, or could not be.
const RETIREMENTS: [u32; 2] = [63, 64];
/// An uncorrectable error that stayed within one application.
const CONTAINED: u32 = 94;

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
    settled: bool,
}

impl Entry {
    /// Whether it says something of this MIG device, or of the GPU itself (`None`). What is about the whole GPU says
    /// something of all its parts; what is about a part says nothing of the whole, which stays usable.
    pub(super) fn concerns(&self, mig: Option<&MigDevice>) -> bool {
        let (Some(instance), Some(mig)) = (self.record.gpu_instance_id, mig) else {
            return self.record.gpu_instance_id.is_none();
        };
        let compute = match (self.record.compute_instance_id, mig.compute_instance_id) {
            (Some(about), Some(own)) => about == own,
            _ => true,
        };
        mig.gpu_instance_id == Some(instance) && compute
    }

    /// Whether it is among those that keep their place: the gravest first to be kept.
    fn worth(&self) -> Option<Action> {
        self.record.standing.then_some(self.action)
    }
}

/// The last XIDs, the latest last.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    entries: Vec<Entry>,
}

impl History {
    /// What a status had, seen in the boot `boot_id`.
    pub(super) fn adopt(records: &[XidRecord], judge: impl Fn(u32) -> Judgement, boot_id: Option<&str>) -> Self {
        let newest = records.iter().skip(records.len().saturating_sub(KEPT));
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

    /// Counts one more. Whether it stands.
    pub(super) fn occurred(&mut self, seen: XidRecord, judgement: Judgement) -> bool {
        let same = |entry: &Entry| {
            (entry.record.xid, entry.record.gpu_instance_id, entry.record.compute_instance_id)
                == (seen.xid, seen.gpu_instance_id, seen.compute_instance_id)
        };
        let mut entry = match self.entries.iter().position(same) {
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
        if self.entries.len() > KEPT {
            // The oldest of those that matter least; the one that has just come is none of them.
            let earlier = self.entries.iter().enumerate().take(KEPT);
            if let Some((index, _)) = earlier.min_by_key(|(_, entry)| entry.worth()) {
                self.entries.remove(index);
            }
        }
        stands
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

    /// Whether something that concerns this MIG device, or the GPU itself, is over.
    pub(super) fn has_settled(&self, mig: Option<&MigDevice>) -> bool {
        self.entries.iter().any(|entry| entry.settled && entry.concerns(mig))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Those that stand, wherever.
    pub(super) fn standing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.record.standing)
    }

    /// Whether, in this boot, an uncorrectable error stayed within one application, and the policy lets that pass.
    pub(super) fn has_contained(&self, boot_id: Option<&str>) -> bool {
        self.entries.iter().any(|Entry { record, action, .. }| {
            record.xid == CONTAINED && !action.stands() && record.boot_id == boot_id.unwrap_or_default()
        })
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
