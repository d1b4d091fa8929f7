// SPDX-License-Identifier: Apache-2.0
//! Which MIG devices a GPU has, and whom an XID concerns: one of them, or the GPU and all of them.

use device_api_core::resource::{MigDevice, XidRecord};

use super::super::xid::concerns_the_chip;

/// The MIG devices of a GPU, as they were described last; none where it is not divided, or nobody knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(Vec<Part>);

/// A MIG device, with its UUID.
type Part = (String, MigDevice);

impl Parts {
    pub(super) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// One more is known of.
    pub(super) fn add(&mut self, uuid: &str, mig: &MigDevice) {
        self.0.push((uuid.to_owned(), mig.clone()));
    }

    /// Whether a part is there that this XID names.
    pub(super) fn has(&self, record: &XidRecord) -> bool {
        self.named(record).next().is_some()
    }

    /// Whether an XID says something of this MIG device, or of the GPU itself (`None`). What is about the whole GPU says
    /// something of all its parts, and what is about a part says nothing of the whole, which stays usable. Where the part is
    /// not there nobody can say whom a fault spares; what is no fault is of interest to the GPU's history then.
    pub(super) fn concern(&self, record: &XidRecord, mig: Option<&MigDevice>) -> bool {
        if record.gpu_instance_id.is_none() || concerns_the_chip(record.xid) {
            return true;
        }
        if record.instance_gone || !self.has(record) {
            return record.standing || mig.is_none();
        }
        mig.is_some_and(|mig| names(record, mig))
    }

    /// Whether what this XID named is not there any more. The ids of instances, and the UUIDs that come of them, are used
    /// again: another profile is another instance.
    pub(super) fn lost(&self, before: &Self, record: &XidRecord) -> bool {
        if self.0.iter().any(|(_, mig)| mig.gpu_instance_id.is_none()) {
            // It may be the one that does not say which it is.
            return false;
        }
        let mut named = before.named(record).peekable();
        let is_there = |part: &Part| self.0.iter().any(|other| is_same(part, other));
        !self.has(record) || (named.peek().is_some() && !named.any(is_there))
    }

    fn named<'a>(&'a self, record: &'a XidRecord) -> impl Iterator<Item = &'a Part> {
        self.0.iter().filter(move |(_, mig)| names(record, mig))
    }
}

/// Whether this is the instance that an XID names, or one of the compute instances in it.
fn names(record: &XidRecord, mig: &MigDevice) -> bool {
    let compute = match (record.compute_instance_id, mig.compute_instance_id) {
        (Some(about), Some(own)) => about == own,
        _ => true,
    };
    record.gpu_instance_id.is_some() && mig.gpu_instance_id == record.gpu_instance_id && compute
}

/// Whether two descriptions are of one instance.
fn is_same((uuid, mig): &Part, (other_uuid, other): &Part) -> bool {
    let profile = match (&mig.profile, &other.profile) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let ids = |mig: &MigDevice| (mig.gpu_instance_id, mig.compute_instance_id);
    // Others may have written the UUID in another case.
    uuid.eq_ignore_ascii_case(other_uuid) && ids(mig) == ids(other) && profile
}
