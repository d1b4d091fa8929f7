// SPDX-License-Identifier: Apache-2.0
//! One object, as the reconciler knows it, and what it needs.

use std::sync::Arc;
use std::time::Duration;

use device_api_core::registry::Part;
use device_api_core::resource::{Gpu, RecommendedAction};
use tokio::time::Instant;

use super::merge::Ownership;
use super::observation::Observed;
use super::pause::Backoff;

/// An object, as it is known.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// What is stored; `None` when there is no such object, or nobody knows.
    pub(super) actual: Option<Arc<Gpu>>,
    /// What was declared when the object was found to be as it should, and has been since.
    pub(super) settled: Option<Arc<Observed>>,
    /// The acknowledgement that it had at the last look.
    pub(super) acknowledged: Option<String>,
    /// Whether what became of it was written.
    pub(super) is_told: bool,
    /// The action that is this source's own.
    pub(super) own_action: Option<RecommendedAction>,
    /// No write before this.
    pub(super) not_before: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Why it cannot be written, as the log has it.
    pub(super) said: Option<String>,
    /// What was declared when the object was last written, or found to be as it should be.
    pub(super) written: Option<Arc<Observed>>,
    /// Until then what was written is not written again, since somebody undoes it again and again. News is.
    pub(super) patience: Option<Instant>,
    /// When somebody undid it last, and how often in a row before that.
    pub(super) undone: Option<(Instant, u32)>,
    /// Whether that was said and counted already, and no look at all objects has come since.
    pub(super) is_undone: bool,
}

/// So often in a row what somebody undid is declared anew as soon as it may be written; then the pause doubles each time.
const AT_ONCE: u32 = 8;
/// How often it doubles: up to about half a minute, as often as all objects are looked at.
const DOUBLINGS: u32 = 5;
/// Who has undone nothing for so long is forgiven.
const FORGIVEN: Duration = Duration::from_secs(60);

/// What is to be done about one object.
#[derive(Debug)]
pub(super) enum Step {
    Create,
    Write(Part),
    Delete,
    /// It is somebody else's, and its device is gone.
    Leave,
}

impl Entry {
    /// Somebody else undid what was declared: it is declared anew, and less often the more often that happens. What is done
    /// before the next look is one with it. Whether this was the first of that.
    pub(super) fn undone(&mut self, now: Instant) -> bool {
        if let Some((last, _)) = self.undone.as_mut().filter(|_| self.is_undone) {
            *last = now;
            return false;
        }
        self.is_undone = true;
        let before = self.undone.filter(|(last, _)| now.duration_since(*last) < FORGIVEN);
        let row = before.map_or(0, |(_, row)| row.saturating_add(1));
        self.undone = Some((now, row));
        let doublings = row.saturating_sub(AT_ONCE).min(DOUBLINGS);
        self.patience = (doublings > 0).then(|| now + Duration::from_secs(1 << doublings));
        true
    }

    /// Whether somebody undid it lately.
    pub(super) fn is_contested(&self, now: Instant) -> bool {
        self.undone.is_some_and(|(last, _)| now.duration_since(last) < FORGIVEN)
    }

    /// Until when this is not to be written again.
    pub(super) fn waits_until(&self, observed: Option<&Arc<Observed>>, now: Instant) -> Option<Instant> {
        let is_old = observed.zip(self.written.as_ref()).is_some_and(|(new, written)| Arc::ptr_eq(new, written));
        let patience = self.patience.filter(|_| is_old);
        self.not_before.into_iter().chain(patience).filter(|then| *then > now).max()
    }

    /// What an object needs, the more urgent first. `heeded`: what is declared was made with knowledge of the last look, so
    /// that an object which a person deleted is not made again before the source has seen that. `acknowledged`: its
    /// acknowledgement was taken into account, and may be removed.
    pub(super) fn step(
        &self,
        ownership: Ownership,
        observed: Option<&Arc<Observed>>,
        heeded: bool,
        acknowledged: bool,
    ) -> Option<Step> {
        let Some(observed) = observed else {
            let actual = self.actual.as_ref()?;
            if ownership.made(actual) {
                return Some(Step::Delete);
            }
            let mut status = actual.status.clone();
            ownership.leave(&mut status, self.own_action.as_ref());
            return (status != actual.status).then_some(Step::Leave);
        };
        // A person may have deleted the object of a lost GPU. The source knows whether it is to be there once it has seen
        // that it is not.
        let Some(actual) = &self.actual else { return heeded.then_some(Step::Create) };
        let mut status = actual.status.clone();
        ownership.merge_status(&mut status, observed, self.own_action.as_ref());
        let is_told = self.is_told || status == actual.status;
        // What it ended is stored first, or a person's word could be lost with us. No more than that: a GPU that reports much
        // has a status to write at any time.
        if acknowledged && is_told {
            return Some(Step::Write(Part::Main));
        }
        if status != actual.status {
            return Some(Step::Write(Part::Status));
        }
        let has = |(key, value): (&String, &String)| actual.metadata.labels.get(key) == Some(value);
        let same = actual.spec.uuid == observed.uuid && observed.labels.iter().all(has);
        (!same).then_some(Step::Write(Part::Main))
    }
}
