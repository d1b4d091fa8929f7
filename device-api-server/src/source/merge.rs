// SPDX-License-Identifier: Apache-2.0
//! How what a source declares and what others wrote come together in one object.

use std::sync::LazyLock;

use device_api_core::health::{Polarities, Verdict};
use device_api_core::resource::{Condition, Gpu, GpuStatus, ObjectMeta, RecommendedAction};

use super::observation::Observed;

/// Who made an object: its source may delete it again. As Kubernetes' recommended label.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// A person's word that XIDs are dealt with: `all`, or their numbers with commas between. The source
/// removes it when it has heeded it.
pub const ACKNOWLEDGE_XIDS: &str = "device.nvidia.com/acknowledge-xids";

/// Which conditions are the source's own, and the name that it goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ownership {
    /// The value of [`MANAGED_BY`].
    pub(crate) source: &'static str,
    /// The types of its conditions, whether or not a device has them all.
    pub(crate) condition_types: &'static [&'static str],
}

impl Ownership {
    /// Whether this source made the object.
    #[must_use]
    pub(crate) fn made(self, gpu: &Gpu) -> bool {
        gpu.metadata.labels.get(MANAGED_BY).is_some_and(|made_by| made_by == self.source)
    }

    /// The object that a new device gets.
    #[must_use]
    pub(crate) fn create(self, name: &str, observed: &Observed) -> Gpu {
        let mut gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
        gpu.metadata.labels.insert(MANAGED_BY.to_owned(), self.source.to_owned());
        self.merge_main(&mut gpu, observed, None);
        self.merge_status(&mut gpu.status, observed, None);
        gpu
    }

    /// The action of a status that an earlier run of the source must have written: its own conditions are not all good,
    /// and of nobody else's is it known that they are bad.
    #[must_use]
    pub(crate) fn own_action(self, status: &GpuStatus) -> Option<RecommendedAction> {
        let (own, foreign): (Vec<_>, Vec<_>) = status.conditions.iter().partition(|found| self.is_own(found));
        let is_bad = |found: &&Condition| verdict(found) == Verdict::Unhealthy;
        let is_own = !own.iter().all(|found| is_good(found)) && !foreign.iter().any(is_bad);
        status.recommended_action.clone().filter(|_| is_own)
    }

    fn is_own(self, condition: &Condition) -> bool {
        self.condition_types.contains(&condition.type_.as_str())
    }

    /// Puts labels and spec into an object that is there, and removes the acknowledgement that was heeded, unless there is
    /// another by now.
    pub(crate) fn merge_main(self, gpu: &mut Gpu, observed: &Observed, heeded: Option<&str>) {
        gpu.spec.uuid.clone_from(&observed.uuid);
        gpu.metadata.labels.extend(observed.labels.clone());
        if heeded.is_some() && gpu.metadata.annotations.get(ACKNOWLEDGE_XIDS).map(String::as_str) == heeded {
            gpu.metadata.annotations.remove(ACKNOWLEDGE_XIDS);
        }
    }

    /// Puts the source's part into a status that is there. `last`: the action that is the source's own. Returns the one
    /// that is from now on: none where somebody else recommends the same.
    pub(crate) fn merge_status(
        self,
        status: &mut GpuStatus,
        observed: &Observed,
        last: Option<&RecommendedAction>,
    ) -> Option<RecommendedAction> {
        let declared = |type_: &str| observed.conditions.iter().find(|condition| condition.type_ == type_);
        status.conditions.retain_mut(|condition| match declared(&condition.type_) {
            Some(new) => {
                put(condition, new);
                true
            }
            None => !self.is_own(condition),
        });
        for new in &observed.conditions {
            if !status.conditions.iter().any(|condition| condition.type_ == new.type_) {
                status.conditions.push(new.clone());
            }
        }
        let foreign = status.recommended_action.take().filter(|action| Some(action) != last);
        let foreign = foreign.filter(|_| status.conditions.iter().any(|found| !self.is_own(found) && !is_good(found)));
        let own = observed.recommended_action.clone().filter(|action| foreign.as_ref() != Some(action));
        status.recommended_action = RecommendedAction::gravest(foreign.into_iter().chain(own.clone()));
        status.device = Some(observed.device.clone());
        status.xids.clone_from(&observed.xids);
        if observed.telemetry.is_some() {
            status.telemetry.clone_from(&observed.telemetry);
        }
        own
    }

    /// Takes back what the source said of a device that is not there any more. `last`: the action that is its own.
    pub(crate) fn leave(self, status: &mut GpuStatus, last: Option<&RecommendedAction>) {
        status.conditions.retain(|condition| !self.is_own(condition));
        status.recommended_action.take_if(|action| Some(&*action) == last);
        (status.device, status.telemetry) = (None, None);
        status.xids.clear();
    }
}

/// The new condition in the old one's place; the time moves only with the status.
fn put(old: &mut Condition, new: &Condition) {
    let same = old.status == new.status;
    let time = old.last_transition_time.filter(|_| same);
    *old = Condition { last_transition_time: time, ..new.clone() };
}

/// Whether it is known that a condition of somebody else's asks for nothing.
fn is_good(condition: &Condition) -> bool {
    verdict(condition) == Verdict::Healthy
}

fn verdict(condition: &Condition) -> Verdict {
    static KNOWN: LazyLock<Polarities> = LazyLock::new(Polarities::default);
    KNOWN.judge(std::slice::from_ref(condition)).verdict
}
