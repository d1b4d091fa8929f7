// SPDX-License-Identifier: Apache-2.0
//! What an update lacks: on the wire, a client that does not know a field cannot be told from one that wants it empty, unless it says so.

use super::v1alpha1 as wire;
use crate::registry::PostParams;
use crate::resource::{Gpu, condition};

const LABELS: &str = "metadata.labels";
const ANNOTATIONS: &str = "metadata.annotations";
const DEVICE: &str = "status.device";
const TELEMETRY: &str = "status.telemetry";
const XIDS: &str = "status.xids";
const OBSERVED_GENERATION: &str = "status.conditions.observed_generation";
/// Every field, those that come to be later, too.
const ALL: &str = "*";

/// The fields that were added to what the first clients know. Whoever adds one adds it here, and to [`keep_absent`].
const ADDED: [&str; 6] = [LABELS, ANNOTATIONS, DEVICE, TELEMETRY, XIDS, OBSERVED_GENERATION];

/// An update of an object that has all that its sender wants: it names the fields that are known here, so that a later server keeps those
/// that are not.
impl From<&PostParams> for wire::UpdateOptions {
    fn from(params: &PostParams) -> Self {
        let PostParams { dry_run, field_manager } = params;
        let clear_absent = ADDED.map(str::to_owned).to_vec();
        Self { dry_run: *dry_run, field_manager: field_manager.clone(), clear_absent }
    }
}

/// Leaves what `clear_absent` has to [`Cleared`].
impl From<wire::UpdateOptions> for PostParams {
    fn from(options: wire::UpdateOptions) -> Self {
        let wire::UpdateOptions { dry_run, field_manager, clear_absent: _ } = options;
        Self { dry_run, field_manager }
    }
}

/// Which fields an update clears where it lacks them, of those that are known here.
///
/// No list of names, since an update waits for its turn with it, and as many empty names as a message holds take twelve times its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared([bool; ADDED.len()]);

impl Cleared {
    /// Those that an update [names](wire::UpdateOptions::clear_absent).
    #[must_use]
    pub fn of(names: &[String]) -> Self {
        let mut cleared = Self::default();
        for name in names {
            for (field, is_cleared) in ADDED.iter().zip(&mut cleared.0) {
                *is_cleared |= name == ALL || name == field;
            }
        }
        cleared
    }

    fn has(self, field: &str) -> bool {
        ADDED.iter().zip(self.0).any(|(added, is_cleared)| is_cleared && *added == field)
    }
}

/// Gives an object of an update what it lacks of the stored one, save for what the update clears: clients that do not know a field must
/// not erase it.
///
/// What a field holds is not looked into: a client that sends telemetry sends all of it. Conditions are: each is the one that is stored of
/// its type.
pub fn keep_absent(cleared: Cleared, stored: &Gpu, sent: &mut Gpu) {
    let keeps = |field: &str| !cleared.has(field);
    let (kept, metadata) = (&stored.metadata, &mut sent.metadata);
    if metadata.labels.is_empty() && keeps(LABELS) {
        metadata.labels.clone_from(&kept.labels);
    }
    if metadata.annotations.is_empty() && keeps(ANNOTATIONS) {
        metadata.annotations.clone_from(&kept.annotations);
    }
    let (kept, status) = (&stored.status, &mut sent.status);
    if status.device.is_none() && keeps(DEVICE) {
        status.device.clone_from(&kept.device);
    }
    if status.telemetry.is_none() && keeps(TELEMETRY) {
        status.telemetry.clone_from(&kept.telemetry);
    }
    if status.xids.is_empty() && keeps(XIDS) {
        status.xids.clone_from(&kept.xids);
    }
    if keeps(OBSERVED_GENERATION) {
        for condition in status.conditions.iter_mut().filter(|condition| condition.observed_generation.is_none()) {
            let same = condition::find(&kept.conditions, &condition.type_);
            condition.observed_generation = same.and_then(|same| same.observed_generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_update_clears_takes_no_more_room_however_much_it_names() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let some = Cleared::of(&names(&[XIDS, LABELS]));
        assert_eq!(Cleared::of(&names(&["", LABELS, XIDS, "status", LABELS].repeat(1000))), some);
        assert!(some.has(LABELS) && some.has(XIDS) && !some.has(DEVICE) && !some.has(ALL));
        assert_eq!(Cleared::of(&names(&[ALL])), Cleared::of(&ADDED.map(str::to_owned)));
        assert_eq!(Cleared::of(&[]), Cleared::default());
        // An update waits for its turn with this and no name.
        assert_eq!(size_of::<Cleared>(), ADDED.len());
    }
}
