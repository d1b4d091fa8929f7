// SPDX-License-Identifier: Apache-2.0
//! From what is known to conditions and the recommended action.

use std::cmp::Reverse;

use device_api_core::resource::{Condition, ConditionStatus, MigDevice, RecommendedAction};

use super::super::driver::{DriverError, RecoveryAction};
use super::super::xid::{Action, explain};
use super::ecc::Finding;
use super::history::Entry;
use super::verdict::{needs, word};
use super::words::{broken, condition, sentences, status};
use super::{
    CONTAINED, Chart, DRAIN_REQUIRED, ECC_HEALTHY, Link, NVML_READY, REBOOT_REQUIRED, RESET_REQUIRED,
    ROW_REMAP_HEALTHY, UNCONTAINED, XID_HEALTHY,
};

const INITIALIZED: &str = "Initialized";
const RECOVERED: &str = "Recovered";
/// The driver says that nothing is to be done about memory errors.
pub(super) const RECOVERY_ACTION_NONE: &str = "RecoveryActionNone";
/// XIDs of uncorrectable memory errors: while one stands, the errors are of consequence.
const MEMORY_ERRORS: [u32; 4] = [48, CONTAINED, UNCONTAINED, 140];
/// The reason of a GPU whose driver says that it reports no XIDs of it.
const NO_XID_REPORTS: &str = "NoXidReports";
const ONLY_ASKED: &str = "; its driver reports no XIDs of it, so only what is wrong when it is asked is known";
/// The reason of what the driver told before, and not this time.
const NOT_REPORTED: &str = "NotReported";

/// Whether a stored `NVMLReady` tells that something is or was wrong with the GPU.
pub(super) fn tells_of_trouble(ready: &Condition) -> bool {
    ready.reason == RECOVERED || (ready.status != ConditionStatus::True && ready.reason != INITIALIZED)
}

impl Chart {
    /// What is to be said of this MIG device's health, or of the GPU's own (`None`), in the order of
    /// [`CONDITION_TYPES`](super::CONDITION_TYPES) and without times. What this GPU cannot tell is left out.
    #[must_use]
    pub fn conditions(&self, mig: Option<&MigDevice>) -> Vec<Condition> {
        let standing = self.standing(mig);
        let mut conditions = vec![self.nvml_ready(&standing, mig)];
        if !self.is_mute() || !standing.is_empty() {
            conditions.push(self.xid_healthy(&standing, mig));
        }
        conditions.extend(self.requirements(&standing));
        conditions.extend(self.row_remap_healthy());
        conditions.extend(self.ecc_healthy(mig));
        conditions
    }

    /// What to do about the worst of [`Self::conditions`]; `None`: nothing.
    #[must_use]
    pub fn recommended_action(&self, mig: Option<&MigDevice>) -> Option<RecommendedAction> {
        let mut actions = Vec::new();
        let mut wanted = None;
        match &self.link {
            Link::Answers => {
                wanted = self.recovery.told().filter(|action| *action != RecoveryAction::None);
                actions.extend(wanted.and_then(|action| needs(action).action()));
                if self.remapping_failed.told() == Some(true) {
                    actions.push(Action::ContactSupport);
                }
                if self.remapping_pending.told() == Some(true) || self.ecc_finding(mig) == Some(Finding::Fault) {
                    actions.push(Action::ResetGpu);
                }
            }
            // As the XID that the driver reports of it: 79.
            Link::Broken(DriverError::GpuLost | DriverError::NotFound) => actions.push(Action::RebootNode),
            Link::Broken(DriverError::ResetRequired) => actions.push(Action::ResetGpu),
            Link::Broken(_) | Link::Unread => {}
        }
        for entry in self.standing(mig) {
            // Of what it speaks of the driver knows better than the catalogue how much is needed.
            if wanted.is_none() || !entry.heeds_driver {
                actions.push(entry.action);
            }
        }
        // What the driver wants and has no word among the actions is lighter than all that have one.
        let other = wanted.map(|action| match action {
            RecoveryAction::Other(_) => RecommendedAction::Unknown,
            _ => RecommendedAction::Custom,
        });
        actions.into_iter().max().and_then(Action::recommended).or(other)
    }

    /// What stands of this MIG device, or of the GPU itself, the gravest first.
    fn standing(&self, mig: Option<&MigDevice>) -> Vec<&Entry> {
        let concerns = |entry: &&Entry| self.parts.concern(&entry.record, mig);
        let mut standing: Vec<_> = self.history.standing().filter(concerns).collect();
        // Not by time: two that take turns would change the conditions with each.
        standing.sort_by_key(|entry| (Reverse(entry.action), entry.record.xid, entry.record.gpu_instance_id));
        standing
    }

    fn nvml_ready(&self, standing: &[&Entry], mig: Option<&MigDevice>) -> Condition {
        let (status, reason, message) = match &self.link {
            Link::Unread => {
                (ConditionStatus::Unknown, INITIALIZED, "the GPU was found and not asked yet how it is".to_owned())
            }
            Link::Broken(why) => {
                let (status, reason) = broken(why);
                (status, reason, why.to_string())
            }
            Link::Answers if standing.iter().any(|entry| !self.is_in_doubt(entry)) => {
                (ConditionStatus::False, "XidError", "NVML answers, but an XID stands: see XidHealthy".to_owned())
            }
            Link::Answers if self.troubled || self.has_settled(mig) => {
                (ConditionStatus::True, RECOVERED, "NVML answers for this GPU again".to_owned())
            }
            Link::Answers if self.is_mute() => {
                (ConditionStatus::True, NO_XID_REPORTS, "NVML answers for this GPU".to_owned())
            }
            Link::Answers => (ConditionStatus::True, "Healthy", "NVML answers for this GPU".to_owned()),
        };
        let mute = if self.is_mute() && status == ConditionStatus::True { ONLY_ASKED } else { "" };
        condition(NVML_READY, status, reason, message + mute)
    }

    fn xid_healthy(&self, standing: &[&Entry], mig: Option<&MigDevice>) -> Condition {
        let unknown = |reason, message: String| condition(XID_HEALTHY, ConditionStatus::Unknown, reason, message);
        if let Some(worst) = standing.iter().find(|entry| !self.is_in_doubt(entry)) {
            let reason = format!("Xid{}", worst.record.xid);
            return condition(XID_HEALTHY, ConditionStatus::False, &reason, sentences(standing));
        }
        match (&self.link, &self.subscription) {
            (Link::Unread, _) => unknown(INITIALIZED, "the GPU was found and not asked yet how it is".to_owned()),
            (Link::Broken(why), _) => unknown(broken(why).1, why.to_string()),
            (Link::Answers, None) => unknown("NotSubscribed", "the driver was not asked yet to report XIDs".to_owned()),
            (Link::Answers, Some(Err(why @ DriverError::NotSupported))) => {
                unknown(NOT_REPORTED, format!("the driver reported this GPU's XIDs before, and does not now: {why}"))
            }
            (Link::Answers, Some(Err(why))) => {
                unknown("NotSubscribed", format!("the driver does not report this GPU's XIDs: {why}"))
            }
            (Link::Answers, Some(Ok(()))) => {
                if let Some(worst) = standing.first() {
                    return unknown(&format!("Xid{}", worst.record.xid), sentences(standing));
                }
                let elsewhere: Vec<_> = self.history.standing().filter(|_| mig.is_none()).collect();
                let message = match elsewhere.as_slice() {
                    [] => "no XID stands".to_owned(),
                    parts => format!("no XID stands of the GPU as a whole, only of parts: {}", sentences(parts)),
                };
                condition(XID_HEALTHY, ConditionStatus::True, "NoXid", message)
            }
        }
    }

    /// Whether nobody can say that this XID needs anything: no action is published, and the driver wants none.
    fn is_in_doubt(&self, entry: &Entry) -> bool {
        let wanted =
            self.link == Link::Answers && self.recovery.told().is_some_and(|action| action != RecoveryAction::None);
        entry.action.is_doubtful() && !(entry.action == Action::AskDriver && wanted)
    }

    /// `ResetRequired`, `RebootRequired`, `DrainRequired`: what the driver wants, and what XIDs imply of which it does not
    /// speak.
    fn requirements(&self, standing: &[&Entry]) -> Vec<Condition> {
        let told = self.recovery.told().filter(|_| self.link == Link::Answers).map(|action| {
            let word = word(action);
            let message = format!("the driver's recovery action: {word}");
            needs(action).each().map(|(type_, need)| condition(type_, status(need), &word, message.clone()))
        });
        let drain = standing.iter().any(|entry| entry.drain);
        let implied = [
            (RESET_REQUIRED, Action::ResetGpu, if drain { "DrainAndReset" } else { "GpuReset" }),
            (REBOOT_REQUIRED, Action::RebootNode, "NodeReboot"),
            (DRAIN_REQUIRED, Action::ResetGpu, "DrainAndReset"),
        ];
        let (reason, silence) = self.silence();
        let conditions = implied.into_iter().filter_map(|(type_, action, word)| {
            let told = told.as_ref().and_then(|told| told.iter().find(|told| told.type_ == type_));
            if told.is_some_and(|told| told.status == ConditionStatus::True) {
                return told.cloned();
            }
            let implies = |entry: &&&Entry| {
                let is_spoken_of = told.is_some() && entry.heeds_driver;
                entry.action == action && (entry.drain || type_ != DRAIN_REQUIRED) && !is_spoken_of
            };
            let by: Vec<_> = standing.iter().filter(implies).copied().collect();
            if !by.is_empty() {
                return Some(condition(type_, ConditionStatus::True, word, sentences(&by)));
            }
            if told.is_some() {
                return told.cloned();
            }
            if type_ == RESET_REQUIRED && self.link == Link::Broken(DriverError::ResetRequired) {
                return Some(condition(type_, ConditionStatus::True, word, silence.clone()));
            }
            let unknown = || condition(type_, ConditionStatus::Unknown, reason, silence.clone());
            (!self.recovery.is_untold()).then(unknown)
        });
        conditions.collect()
    }

    fn row_remap_healthy(&self) -> Option<Condition> {
        let facts = [self.remapping_failed, self.remapping_pending];
        if facts.iter().all(|fact| fact.is_untold()) {
            return None;
        }
        let told = facts.map(|fact| fact.told().filter(|_| self.link == Link::Answers));
        let of = |status, reason, message: &str| Some(condition(ROW_REMAP_HEALTHY, status, reason, message.to_owned()));
        match told {
            [Some(true), _] => {
                of(ConditionStatus::False, "RemapFailed", "a memory row could not be remapped: no spare row is left")
            }
            [_, Some(true)] => {
                of(ConditionStatus::False, "RemapPending", "a memory row is remapped at the GPU's next reset")
            }
            _ if facts.iter().zip(told).any(|(fact, told)| !fact.is_untold() && told.is_none()) => {
                let (reason, silence) = self.silence();
                of(ConditionStatus::Unknown, reason, &silence)
            }
            _ => of(ConditionStatus::True, "Ok", "no memory row waits to be remapped"),
        }
    }

    /// Whether something that concerned this MIG device, or the GPU itself, is over.
    fn has_settled(&self, mig: Option<&MigDevice>) -> bool {
        self.history.entries().any(|entry| entry.settled && self.parts.concern(&entry.record, mig))
    }

    fn ecc_healthy(&self, mig: Option<&MigDevice>) -> Option<Condition> {
        if self.ecc.uncorrected.is_untold() {
            return None;
        }
        let errors = |what: &str| {
            let count = self.ecc.uncorrected.told().unwrap_or_default();
            format!("uncorrected memory errors since the driver was loaded: {count}{what}")
        };
        let (status, reason, message) = match self.ecc_finding(mig).filter(|_| self.link == Link::Answers) {
            Some(Finding::None) => {
                let message = "no uncorrected memory errors since the driver was loaded".to_owned();
                (ConditionStatus::True, "Ok", message)
            }
            Some(Finding::Harmless) => {
                let message = errors(", about which the driver wants nothing done");
                (ConditionStatus::True, RECOVERY_ACTION_NONE, message)
            }
            Some(Finding::Awaiting) => {
                let message = errors("; the driver has yet to say whether something is to be done");
                (ConditionStatus::Unknown, "UncorrectedErrors", message)
            }
            Some(Finding::Fault) => (ConditionStatus::False, "UncorrectedErrors", errors("")),
            None => {
                let (reason, silence) = self.silence();
                (ConditionStatus::Unknown, reason, silence)
            }
        };
        Some(condition(ECC_HEALTHY, status, reason, message))
    }

    /// What uncorrected errors mean for this MIG device, or for the GPU.
    pub(super) fn ecc_finding(&self, mig: Option<&MigDevice>) -> Option<Finding> {
        let is_memory_error = |entry: &&Entry| MEMORY_ERRORS.contains(&entry.record.xid);
        let is_spoken_of = || explain(UNCONTAINED).spoken_of_from <= self.branch;
        let nothing_to_do = match self.recovery.told() {
            _ if self.standing(mig).iter().any(is_memory_error) => Some(false),
            Some(action) => Some(action == RecoveryAction::None && is_spoken_of()),
            // A driver that never tells leaves a reset as the safe answer.
            None => self.recovery.is_untold().then_some(false),
        };
        self.ecc.finding(nothing_to_do)
    }

    /// Why a fact is not known.
    fn silence(&self) -> (&'static str, String) {
        match &self.link {
            Link::Unread => (INITIALIZED, "the GPU was found and not asked yet how it is".to_owned()),
            Link::Answers => (NOT_REPORTED, "the GPU answers, but did not tell this time".to_owned()),
            Link::Broken(why) => (broken(why).1, why.to_string()),
        }
    }
}
