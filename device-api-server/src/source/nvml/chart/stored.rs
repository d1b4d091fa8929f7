// SPDX-License-Identifier: Apache-2.0
//! What the store tells a chart: of before its time, of other processes of the source, of people.

use std::time::Duration;

use device_api_core::resource::{ConditionStatus, GpuStatus, MigDevice, Timestamp, XidRecord, condition};

use super::acknowledgement::Acknowledgement;
use super::conditions::{self, RECOVERY_ACTION_NONE};
use super::history::{self, History};
use super::{
    CONTAINED, Chart, DRAIN_REQUIRED, ECC_HEALTHY, NVML_READY, REBOOT_REQUIRED, RESET_REQUIRED, ROW_REMAP_HEALTHY,
    XID_HEALTHY,
};
use crate::source::nvml::driver::DriverError;

/// How far apart two processes note the same event at most.
const SAME_EVENT: Duration = Duration::from_secs(1);

impl Chart {
    /// Takes over what the stored object says, before anything else is told: our own restart makes nothing well. An XID
    /// that stood in another boot of the node is over; what the policy of today ignores is, too.
    pub fn adopt(&mut self, status: &GpuStatus) {
        self.history = History::adopt(&status.xids, self.judging(), self.boot_id.as_deref());
        let find = |type_: &str| condition::find(&status.conditions, type_);
        self.troubled = find(NVML_READY).is_some_and(conditions::tells_of_trouble);
        match (find(NVML_READY), find(XID_HEALTHY)) {
            (_, Some(_)) => self.was_heard = true,
            (Some(_), None) => self.subscription = Some(Err(DriverError::NotSupported)),
            (None, None) => {}
        }
        // An XID implies one or two of them; a driver that tells its recovery action tells of all.
        if [RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED].iter().all(|type_| find(type_).is_some()) {
            self.recovery.expect();
        }
        if find(ROW_REMAP_HEALTHY).is_some() {
            self.remapping_pending.expect();
        }
        let says = |type_: &str, status: ConditionStatus, reason: &str| {
            find(type_).is_some_and(|found| found.status == status && found.reason == reason)
        };
        if says(DRAIN_REQUIRED, ConditionStatus::True, "DrainAndReset") {
            // What it was seen with may have left the record, or come again.
            self.history.drain();
        }
        if find(ECC_HEALTHY).is_some() {
            self.ecc.uncorrected.expect();
        }
        let of_this_boot = |record: &XidRecord| self.boot_id.as_ref().is_some_and(|boot| *boot == record.boot_id);
        let is_same_boot = self.boot_id.is_some() && (status.xids.is_empty() || status.xids.iter().any(of_this_boot));
        self.ecc.is_settled = is_same_boot && says(ECC_HEALTHY, ConditionStatus::True, RECOVERY_ACTION_NONE);
        let is_contained = |record: &XidRecord| record.xid == CONTAINED && of_this_boot(record);
        if status.xids.iter().any(is_contained) && !self.policy.action(CONTAINED).stands() {
            self.ecc.contain();
        }
    }

    /// Takes over a MIG device of which the store knows: until the driver describes the GPU, what names it is about it.
    pub fn adopt_part(&mut self, uuid: &str, mig: &MigDevice) {
        self.parts.add(uuid, mig);
    }

    /// Takes over what another process of the source, which held the lease meanwhile, found to be over, and what was reported
    /// to it alone.
    pub fn heed(&mut self, stored: &[XidRecord]) {
        let is_over = |record: &XidRecord| {
            let same = |other: &&XidRecord| history::key(other) == history::key(record);
            // Each notes the time at which an event reached it.
            let was_seen = |last: Timestamp| record.last_seen.is_none_or(|own| own.since(last) <= SAME_EVENT);
            let stored = stored.iter().find(same).filter(|other| !other.standing);
            stored.and_then(|other| other.last_seen).is_some_and(was_seen)
        };
        self.history.settle(|entry| is_over(&entry.record));
        let heard = History::adopt(stored, self.judging(), self.boot_id.as_deref());
        if self.history.learn(heard, SAME_EVENT) {
            (self.verdicts, self.clean) = (0, 0);
        }
    }

    /// Takes a person's word that XIDs are dealt with.
    pub fn acknowledge(&mut self, xids: &Acknowledgement) {
        self.history.settle(|entry| xids.covers(entry.record.xid));
    }
}
