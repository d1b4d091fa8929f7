// SPDX-License-Identifier: Apache-2.0
//! Whether uncorrected memory errors are of consequence.
//!
//! The count alone does not say: an error that stayed within one application raises it as any other does. From R565 on the
//! driver's recovery action does (NVIDIA's "GPU Memory Error Management", "Error Recovery and Response Flags"). No log of XIDs
//! is needed for that; that an XID 94 came says it a little sooner.

use super::reading::Reading;

/// What uncorrected errors mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// There are none.
    None,
    /// The driver says that nothing is to be done about them.
    Harmless,
    /// The driver has not said yet.
    Awaiting,
    /// Something is to be done.
    Fault,
}

/// The errors of one GPU, and what the driver said since they came.
#[derive(Clone, Debug)]
pub(super) struct Ecc {
    pub(super) uncorrected: Reading<u64>,
    /// The count that was told last, whether or not it was told this time.
    last: Option<u64>,
    /// Whether the driver has said, and said again, that nothing is to be done about those that there are.
    pub(super) is_settled: bool,
    /// Up to which count the errors were reported as contained in one application each.
    contained: u64,
    /// Whether one was reported so that the count has yet to show.
    is_contained_next: bool,
}

impl Ecc {
    pub(super) fn new() -> Self {
        Self { uncorrected: Reading::Untold, last: None, is_settled: false, contained: 0, is_contained_next: false }
    }

    /// Takes a count. Whether there are errors of which the driver said nothing yet.
    pub(super) fn read(&mut self, count: Option<u64>) -> bool {
        let (is_settled, contained) = (self.is_settled, self.contained);
        self.uncorrected.read(count, |last| last > 0 && !is_settled && last > contained);
        let Some(count) = count else { return false };
        let last = self.last.replace(count);
        // A count that fell was set back: those that come now are others.
        self.contained = self.contained.min(count);
        let is_news = match last {
            Some(last) => count > last,
            None => count > 0 && !self.is_settled,
        };
        if is_news && self.is_contained_next {
            self.contained = count;
        }
        // What was reported before the first reading is in it, or is over.
        self.is_contained_next &= !is_news && last.is_some();
        self.is_settled &= !is_news;
        is_news
    }

    /// An error was reported as contained in one application. Report and count come in either order.
    pub(super) fn contain(&mut self) {
        match self.last {
            Some(last) if last > self.contained => self.contained = last,
            _ => self.is_contained_next = true,
        }
    }

    /// The driver was loaded again, and counts from zero.
    pub(super) fn lapse(&mut self) {
        self.uncorrected.lapse();
        (self.last, self.is_settled, self.contained, self.is_contained_next) = (None, false, 0, false);
    }

    /// What the errors mean where the driver says that nothing is to be done (`Some(true)`), says otherwise (`Some(false)`), or
    /// owes an answer; `None` where the count is not known.
    pub(super) fn finding(&self, nothing_to_do: Option<bool>) -> Option<Finding> {
        Some(match (self.uncorrected.told()?, nothing_to_do) {
            (0, _) => Finding::None,
            (count, Some(true)) if self.is_settled || count <= self.contained => Finding::Harmless,
            (_, Some(true) | None) => Finding::Awaiting,
            (_, Some(false)) => Finding::Fault,
        })
    }
}
