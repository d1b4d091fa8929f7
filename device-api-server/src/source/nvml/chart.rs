// SPDX-License-Identifier: Apache-2.0
//! The chart of one GPU: what it said, and what that means for its health. Pure: facts and times come in, conditions
//! go out.
//!
//! What is behind each rule is written in `docs/nvml.md`.

mod acknowledgement;
mod conditions;
mod ecc;
mod history;
mod parts;
mod reading;
mod stored;
mod verdict;
mod words;

use std::sync::Arc;

use device_api_core::resource::{GpuDevice, MigDevice, Timestamp, XidRecord};

use self::ecc::{Ecc, Finding};
use self::history::History;
use self::parts::Parts;
use self::reading::Reading;
use super::driver::{DriverError, EventKind, RecoveryAction, Vitals};
use super::policy::{Judgement, Policy};
use super::xid::{Action, Cure};

pub use self::acknowledgement::{Acknowledgement, AcknowledgementError};

/// True: NVML answers for this GPU, and no XID stands that needs an action.
pub const NVML_READY: &str = "NVMLReady";
/// True: no XID stands that needs an action.
pub const XID_HEALTHY: &str = "XidHealthy";
/// True is bad: the GPU needs a reset.
pub const RESET_REQUIRED: &str = "ResetRequired";
/// True is bad: the node needs a reboot.
pub const REBOOT_REQUIRED: &str = "RebootRequired";
/// True is bad: work has to leave the GPU.
pub const DRAIN_REQUIRED: &str = "DrainRequired";
/// True: no memory row waits to be remapped, or could not be.
pub const ROW_REMAP_HEALTHY: &str = "RowRemapHealthy";
/// True: no uncorrected memory error that is of consequence.
pub const ECC_HEALTHY: &str = "EccHealthy";
/// All types of conditions that a chart may say something of, in the order in which it does.
pub const CONDITION_TYPES: [&str; 7] =
    [NVML_READY, XID_HEALTHY, RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED, ROW_REMAP_HEALTHY, ECC_HEALTHY];

/// How many readings in a row have to say that all is well before a fault is over.
const CONFIRMED: u8 = 2;
/// An uncorrectable error that stayed within one application, and one that did not.
const CONTAINED: u32 = 94;
const UNCONTAINED: u32 = 95;

/// What is known of one GPU's health.
///
/// ```
/// use device_api_core::resource::{ConditionStatus, Timestamp, condition};
/// use device_api_server::source::nvml::chart::{Chart, XID_HEALTHY};
/// use device_api_server::source::nvml::driver::{EventKind, Vitals};
///
/// let now = Timestamp::from_unix(1_800_000_000, 0)?;
/// let mut chart = Chart::new(Default::default(), None);
/// let xid_healthy = |chart: &Chart| condition::find(&chart.conditions(None), XID_HEALTHY).unwrap().status.clone();
/// assert_eq!(xid_healthy(&chart), ConditionStatus::Unknown);
///
/// chart.subscribed(Ok(()));
/// chart.vitals(Ok(&Vitals::default()));
/// assert_eq!(xid_healthy(&chart), ConditionStatus::True);
///
/// chart.event(&EventKind::Xid { xid: 79, gpu_instance_id: None, compute_instance_id: None }, now);
/// assert_eq!(xid_healthy(&chart), ConditionStatus::False);
/// # Ok::<(), device_api_core::resource::TimestampError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chart {
    policy: Arc<Policy>,
    boot_id: Option<String>,
    /// The driver's branch, such as 580; `None` where nobody knows.
    branch: Option<u32>,
    link: Link,
    /// Whether the driver delivers the GPU's events; `None` before anybody asked it to.
    subscription: Option<Result<(), DriverError>>,
    /// Whether it ever did, as far as anybody knows.
    was_heard: bool,
    history: History,
    parts: Parts,
    recovery: Reading<RecoveryAction>,
    ecc: Ecc,
    remapping_pending: Reading<bool>,
    remapping_failed: Reading<bool>,
    /// How many readings in a row, since the last XID that stands, said that nothing is to be done.
    verdicts: u8,
    /// How many of those in a row named no other fault, either.
    clean: u8,
    /// Whether the GPU or the driver did not answer before, or something was wrong before our start.
    troubled: bool,
    /// Whether something happened that the next reading will tell more of.
    alert: bool,
}

/// Whether the GPU answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// Nobody asked since the driver was loaded.
    Unread,
    /// It does.
    Answers,
    /// It does not.
    Broken(DriverError),
}

impl Chart {
    /// The chart of a GPU of which nothing is known, on a node in this boot. Silence is not health: all is Unknown.
    #[must_use]
    pub fn new(policy: Arc<Policy>, boot_id: Option<String>) -> Self {
        Self {
            policy,
            boot_id,
            branch: None,
            link: Link::Unread,
            subscription: None,
            was_heard: false,
            history: History::default(),
            parts: Parts::default(),
            recovery: Reading::Untold,
            ecc: Ecc::new(),
            remapping_pending: Reading::Untold,
            remapping_failed: Reading::Untold,
            verdicts: 0,
            clean: 0,
            troubled: false,
            alert: false,
        }
    }

    /// Takes an event. XIDs are counted exactly, apart for each instance. ECC events are no XIDs:
    /// they say that the vitals are worth a look.
    ///
    /// Whether it outdates readings that have begun already: [`Self::early_vitals`].
    pub fn event(&mut self, kind: &EventKind, now: Timestamp) -> bool {
        match *kind {
            EventKind::Xid { xid, gpu_instance_id, compute_instance_id } => {
                let seen = XidRecord {
                    xid,
                    last_seen: Some(now),
                    gpu_instance_id,
                    compute_instance_id,
                    boot_id: self.boot_id.clone().unwrap_or_default(),
                    ..XidRecord::default()
                };
                let judgement = self.judging()(xid);
                let stands = self.history.occurred(seen, judgement, &self.parts);
                if xid == CONTAINED && !stands {
                    self.ecc.contain();
                }
                if stands {
                    (self.verdicts, self.clean) = (0, 0);
                }
                stands
            }
            EventKind::DoubleBitEcc | EventKind::RecoveryActionChanged => {
                self.alert = true;
                true
            }
            EventKind::SingleBitEcc | EventKind::MigConfigChanged | EventKind::Other(_) => false,
        }
    }

    /// Takes a reading of the vitals, or why there is none.
    pub fn vitals(&mut self, vitals: Result<&Vitals, &DriverError>) {
        let vitals = match vitals {
            Ok(vitals) => vitals,
            Err(why) => return self.unreachable(why),
        };
        self.early_vitals(vitals);
        self.alert = false;
        // Only a reset uses the row that stands by (NVIDIA's "GPU Memory Error Management").
        if vitals.remapping_pending == Some(false) {
            self.history.settle(|entry| entry.row_waits && entry.action.is_cured_by(Cure::Reset));
        }
        self.history
            .note(vitals.recovery_action.is_some_and(verdict::is_reset), vitals.remapping_pending == Some(true));

        let nothing_to_do = vitals.recovery_action == Some(RecoveryAction::None);
        self.verdicts = self.verdicts.saturating_add(nothing_to_do.into());
        self.clean = self.clean.saturating_add((nothing_to_do && !is_faulty(vitals)).into());
        if nothing_to_do {
            // One that waits for the driver's word has it.
            self.history.settle(|entry| entry.heeds_driver && entry.action == Action::AskDriver);
        }
        if self.verdicts >= CONFIRMED {
            self.history.settle(|entry| {
                let was_reset = entry.record.reset_requested && entry.action.is_cured_by(Cure::Reset);
                entry.heeds_driver || was_reset
            });
            self.ecc.is_settled = true;
        }
        if self.clean >= CONFIRMED {
            self.history.settle(|entry| entry.action == Action::NonePublished);
        }
    }

    /// Takes a reading that began before the latest event, or too soon after another one: the newest facts that there
    /// are, and yet nothing is over by them.
    pub fn early_vitals(&mut self, vitals: &Vitals) {
        self.link = Link::Answers;
        self.recovery.read(vitals.recovery_action, |action| action != RecoveryAction::None);
        let has_new_errors = self.ecc.read(vitals.ecc_uncorrected_volatile);
        self.remapping_pending.read(vitals.remapping_pending, |waits| waits);
        self.remapping_failed.read(vitals.remapping_failed, |failed| failed);
        if has_new_errors || vitals.recovery_action != Some(RecoveryAction::None) {
            self.verdicts = 0;
        }
        self.ecc.is_settled &= vitals.recovery_action.is_none_or(|action| action == RecoveryAction::None);
        if is_faulty(vitals) || vitals.recovery_action != Some(RecoveryAction::None) {
            self.clean = 0;
        }
        self.judge();
    }

    /// Takes which driver there is, such as `580.95.05`: by its branch it speaks of more XIDs or fewer. Where nobody knows, its
    /// recovery action ends nothing that it may not speak of.
    pub fn driver_version(&mut self, version: Option<&str>) {
        self.branch = version.and_then(|version| version.split('.').next()?.parse().ok());
        self.judge();
    }

    /// Takes that the driver was initialised anew, as where a lost GPU spoils the events of all. Nobody knows then how long ago
    /// it was read, and two readings that end a fault are not to come closer upon each other for that.
    pub fn initialised(&mut self) {
        (self.verdicts, self.clean) = (0, 0);
    }

    /// What the policy says of XIDs, with this driver.
    fn judging(&self) -> impl Fn(u32) -> Judgement + use<> {
        // One that answers and tells no recovery action will give no verdict.
        let is_silent = self.link == Link::Answers && self.recovery.is_untold();
        let (policy, branch) = (Arc::clone(&self.policy), self.branch.unwrap_or_default());
        move |xid| policy.judge(xid, (!is_silent).then_some(branch))
    }

    fn judge(&mut self) {
        let judging = self.judging();
        self.history.judge(judging);
    }

    /// Takes whether the driver delivers this GPU's events. Where it does not, nobody can say that no XID stands; of one that
    /// says that it never does, as on WSL and of some virtual GPUs, XIDs are no part of what it tells.
    pub fn subscribed(&mut self, outcome: Result<(), &DriverError>) {
        self.was_heard |= outcome.is_ok();
        if !(self.is_mute() && outcome.is_err()) {
            self.subscription = Some(outcome.map_err(Clone::clone));
        }
    }

    /// Whether its XIDs are not reported, and never were. One that was heard before, and says now that it cannot report
    /// any, is in doubt.
    fn is_mute(&self) -> bool {
        self.subscription == Some(Err(DriverError::NotSupported)) && !self.was_heard
    }

    /// Takes that the driver was loaded again: that resets the GPU, and ends all subscriptions.
    pub fn driver_reloaded(&mut self) {
        self.history.settle(|entry| entry.action.is_cured_by(Cure::Reload));
        self.link = Link::Unread;
        if !self.is_mute() {
            self.subscription = None;
        }
        self.recovery.lapse();
        self.ecc.lapse();
        self.remapping_pending.lapse();
        self.remapping_failed.lapse();
        (self.verdicts, self.clean) = (0, 0);
    }

    /// Takes that the GPU, or the driver, does not answer. XIDs that stand go on standing, whether or not it comes back.
    pub fn unreachable(&mut self, why: &DriverError) {
        self.link = Link::Broken(why.clone());
        self.troubled = true;
        (self.verdicts, self.clean) = (0, 0);
    }

    /// Whether a fault stands somewhere on the GPU, or may: its vitals should be read more often.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.alert
            || matches!(self.link, Link::Broken(_))
            || self.history.standing().next().is_some()
            || self.recovery.told().is_some_and(|action| action != RecoveryAction::None)
            || [self.remapping_pending.told(), self.remapping_failed.told()].contains(&Some(true))
            || matches!(self.ecc_finding(None), Some(Finding::Awaiting | Finding::Fault))
    }

    /// The XIDs that this MIG device should know of, or those of the GPU and all its parts (`None`), the latest last: the 32 that
    /// matter most.
    #[must_use]
    pub fn xids(&self, mig: Option<&MigDevice>) -> Vec<XidRecord> {
        let concerns = |record: &XidRecord| mig.is_none() || self.parts.concern(record, mig);
        history::shown(self.history.entries().filter(|entry| concerns(&entry.record)))
    }

    /// Takes how the GPU is divided now: its MIG devices with their UUIDs. A fault of an instance that is no more is the GPU's,
    /// and not that of another instance with the same ids.
    pub fn divided(&mut self, parts: &[(String, GpuDevice)]) {
        let parts = parts.iter().filter_map(|(uuid, device)| Some((uuid.clone(), device.mig.clone()?)));
        let before = std::mem::replace(&mut self.parts, Parts::new(parts));
        self.history.divided(&before, &self.parts);
    }
}

/// Whether a reading names a fault.
fn is_faulty(vitals: &Vitals) -> bool {
    [vitals.remapping_pending, vitals.remapping_failed].contains(&Some(true))
        || vitals.recovery_action.is_some_and(|action| action != RecoveryAction::None)
}

#[cfg(test)]
mod tests;
