// SPDX-License-Identifier: Apache-2.0
//! What differs between resource types: how objects are prepared and validated.

use crate::error::FieldViolation;
use crate::resource::{Resource, Timestamp};

/// The part of an object that a write may touch, as Kubernetes' subresources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Labels, annotations and spec.
    Main,
    /// The status.
    Status,
}

/// Circumstances of a write.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WriteContext<'a> {
    /// Who writes.
    pub actor: &'a str,
    /// When: the only clock that a strategy may look at.
    pub now: Timestamp,
    /// What part is written.
    pub part: Part,
}

/// How objects of one type are prepared and validated.
///
/// A strategy is a pure function of its arguments: no I/O, no clock, no lock. It runs in the
/// ledger's task, where every other write waits for it. The registry itself does uid, times,
/// generation, resource version, the check for no change, and validates metadata.
pub trait Strategy<R: Resource>: Send + Sync + 'static {
    /// Fills in defaults of a new object, status included.
    fn prepare_for_create(&self, context: &WriteContext<'_>, object: &mut R) {
        let _ = (context, object);
    }

    /// Adjusts an update of labels, annotations and spec.
    fn prepare_for_update(&self, context: &WriteContext<'_>, object: &mut R, old: &R) {
        let _ = (context, object, old);
    }

    /// Adjusts an update of the status.
    fn prepare_for_status_update(&self, context: &WriteContext<'_>, object: &mut R, old: &R) {
        let _ = (context, object, old);
    }

    /// Everything that is wrong with an object, beside its metadata.
    #[must_use]
    fn validate(&self, context: &WriteContext<'_>, object: &R) -> Vec<FieldViolation>;

    /// Everything that is wrong with a change, beside what [`Self::validate`] finds.
    #[must_use]
    fn validate_update(&self, context: &WriteContext<'_>, object: &R, old: &R) -> Vec<FieldViolation> {
        let _ = (context, object, old);
        Vec::new()
    }
}
