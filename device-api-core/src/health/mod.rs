// SPDX-License-Identifier: Apache-2.0
//! Whether a device is healthy: one answer from the conditions of all its providers.
//!
//! Providers disagree on whether `True` is good news, so nobody should read conditions one by one. [`health`]
//! knows the polarity of each type, and gives one of three answers:
//!
//! - [`Unhealthy`](Verdict::Unhealthy): some condition says so, whatever the others say.
//! - else [`Unknown`](Verdict::Unknown): some condition's status is `Unknown`, or no condition of a known type is
//!   there at all. Silence is not health.
//! - else [`Healthy`](Verdict::Healthy).
//!
//! A condition of a type that is not known decides nothing: nobody can say whether it is good or bad. It is named in
//! [`Health::unrecognized`], and [`Polarities::with`] makes it known. Neither does `status.recommendedAction`: it says
//! what to do, the conditions say whether.

mod polarity;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::LazyLock;

pub use self::polarity::{Polarities, Polarity};
use crate::resource::{Condition, ConditionStatus, Gpu};

/// Whether a GPU is healthy, by the types of conditions that this project knows.
///
/// ```
/// use device_api_core::health::{Verdict, health};
/// use device_api_core::resource::{Condition, ConditionStatus, Gpu};
///
/// let mut gpu = Gpu::default();
/// assert_eq!(health(&gpu).verdict, Verdict::Unknown);
/// gpu.status.conditions.push(Condition::new("NVMLReady", ConditionStatus::True));
/// assert_eq!(health(&gpu).verdict, Verdict::Healthy);
/// gpu.status.conditions.push(Condition::new("XidHealthy", ConditionStatus::False).with_reason("Xid79"));
/// assert_eq!(health(&gpu).to_string(), "Unhealthy: XidHealthy is False (Xid79)");
/// ```
#[must_use]
pub fn health(gpu: &Gpu) -> Health {
    static KNOWN: LazyLock<Polarities> = LazyLock::new(Polarities::default);
    KNOWN.judge(&gpu.status.conditions)
}

/// Whether a device is healthy, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The answer.
    pub verdict: Verdict,
    /// The conditions that stand against [`Verdict::Healthy`]: bad ones first, then those that are `Unknown`, each kind in the
    /// order of the object. None when the device is healthy, or when it is unknown since nobody says anything.
    pub reasons: Vec<Condition>,
    /// The types of conditions that decided nothing, since their polarity is not known.
    pub unrecognized: Vec<String>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Everything that is said is good.
    Healthy,
    /// Something is bad.
    Unhealthy,
    /// Nobody can say.
    Unknown,
}

impl Verdict {
    /// The verdict as one word, for a table or a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Unhealthy => "Unhealthy",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The verdict and why, in one line for people.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        if self.verdict == Verdict::Unknown && self.reasons.is_empty() {
            return f.write_str(": no condition says how it is");
        }
        for (index, Condition { type_, status, reason, .. }) in self.reasons.iter().enumerate() {
            let separator = if index == 0 { ":" } else { "," };
            write!(f, "{separator} {type_} is {status}")?;
            if !reason.is_empty() {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}

impl Polarities {
    /// Whether a device with these conditions is healthy: [`health`] with types of one's own, for any kind of resource.
    ///
    /// ```
    /// use device_api_core::health::{Polarities, Polarity, Verdict};
    /// use device_api_core::resource::{Condition, ConditionStatus};
    ///
    /// let polarities = Polarities::default().with("FanBroken", Polarity::TrueIsBad);
    /// let fan = Condition::new("FanBroken", ConditionStatus::True);
    /// assert_eq!(polarities.judge(&[fan]).verdict, Verdict::Unhealthy);
    /// ```
    #[must_use]
    pub fn judge(&self, conditions: &[Condition]) -> Health {
        let (mut bad, mut unknown, mut unrecognized, mut good) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for condition in conditions {
            match (self.of(&condition.type_), &condition.status) {
                (None, _) => unrecognized.push(condition.type_.clone()),
                (Some(Polarity::TrueIsGood), ConditionStatus::True)
                | (Some(Polarity::TrueIsBad), ConditionStatus::False) => good += 1,
                (Some(Polarity::TrueIsGood), ConditionStatus::False)
                | (Some(Polarity::TrueIsBad), ConditionStatus::True) => bad.push(condition.clone()),
                (Some(_), ConditionStatus::Unknown | ConditionStatus::Other(_)) => unknown.push(condition.clone()),
            }
        }
        let verdict = match (bad.len(), unknown.len(), good) {
            (1.., _, _) => Verdict::Unhealthy,
            (0, 0, 1..) => Verdict::Healthy,
            (0, _, _) => Verdict::Unknown,
        };
        bad.append(&mut unknown);
        Health { verdict, reasons: bad, unrecognized }
    }
}
