// SPDX-License-Identifier: Apache-2.0
//! One fact that a driver may tell of a GPU.

/// A fact. Not every GPU has each: what is never told is no fault, what is told no more is in doubt once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading<T> {
    /// This GPU does not tell.
    Untold,
    /// It did, and should again.
    Missing,
    /// It did not, the last time.
    Overdue,
    /// It told of something wrong, and nothing since.
    Withheld,
    /// What it told last.
    Told(T),
}

impl<T: Copy> Reading<T> {
    /// Takes what the next reading has. A fact that is gone once makes it unknown; gone twice, the GPU does not tell it
    /// any more, as after ECC was switched off. What was wrong when it was told last, as `is_bad` has it, does not become well by
    /// silence, however long.
    pub(super) fn read(&mut self, value: Option<T>, is_bad: impl Fn(T) -> bool) {
        *self = match (value, *self) {
            (Some(value), _) => Self::Told(value),
            (None, Self::Told(last)) if is_bad(last) => Self::Withheld,
            (None, Self::Withheld) => Self::Withheld,
            (None, Self::Told(_) | Self::Missing) => Self::Overdue,
            (None, Self::Overdue | Self::Untold) => Self::Untold,
        };
    }

    /// Forgets what was told, but not that it was.
    pub(super) fn lapse(&mut self) {
        if let Self::Told(_) | Self::Overdue | Self::Withheld = self {
            *self = Self::Missing;
        }
    }

    /// Expects it to be told.
    pub(super) fn expect(&mut self) {
        if let Self::Untold = self {
            *self = Self::Missing;
        }
    }

    pub(super) fn told(&self) -> Option<T> {
        match self {
            Self::Told(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn is_untold(&self) -> bool {
        matches!(self, Self::Untold)
    }
}
