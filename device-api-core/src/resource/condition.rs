// SPDX-License-Identifier: Apache-2.0
//! Conditions: aspects of an object's state, each with a type of its own.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;
use super::key::check_qualified_name;
use crate::error::FieldViolation;

/// The longest reason, in bytes, as in Kubernetes' `metav1.Condition`.
const MAX_REASON: usize = 1024;
/// How many conditions a status may have: it has some ten, and each costs a hundred times the two bytes
/// that an empty one takes on the wire.
pub(crate) const MAX_CONDITIONS: usize = 1024;
/// The longest message, in bytes, as in Kubernetes' `metav1.Condition`.
const MAX_MESSAGE: usize = 32 * 1024;

/// One aspect of an object's state, as Kubernetes' `metav1.Condition`.
///
/// ```
/// use device_api_core::resource::{Condition, ConditionStatus};
///
/// let ready = Condition::new("NVMLReady", ConditionStatus::True).with_reason("Initialized");
/// assert_eq!(serde_json::to_string(&ready)?, r#"{"type":"NVMLReady","status":"True","reason":"Initialized"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What the condition is about, such as `NVMLReady`: a Kubernetes qualified name.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds. Where JSON has none, this is an empty [`ConditionStatus::Other`], which is refused: a
    /// writer that forgot it does not mean `Unknown`.
    #[serde(default = "not_said")]
    pub status: ConditionStatus,
    /// The generation of the object that the condition was computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed. `None` in a write lets the registry set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// A word for programs, printable ASCII without spaces; may be empty. By custom it is in CamelCase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Condition {
    /// A condition with neither reason nor message.
    #[must_use]
    pub fn new(type_: impl Into<String>, status: ConditionStatus) -> Self {
        Self { type_: type_.into(), status, ..Self::default() }
    }

    /// The same condition with this reason.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The same condition with this message.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}

/// Whether a condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can say.
    #[default]
    Unknown,
    /// What a writer sent that is none of the three: kept so that validation can name it. The
    /// registry stores none of these.
    Other(String),
}

impl ConditionStatus {
    /// The status on the wire and in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for ConditionStatus {
    fn from(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            "Unknown" => Self::Unknown,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ConditionStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ConditionStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Cow::<'de, str>::deserialize(deserializer)?.as_ref().into())
    }
}

/// The conditions of a status: for `status.conditions[TYPE]` selectors, for writers, and for the keeper of
/// [leases](crate::lease), which sets them to Unknown when their provider is lost.
///
/// Both are the same list, in the same order: what is read and cannot be written would be believed for ever. The registry refuses
/// to store an object for which they are not. A status without conditions says so in both; `()` has none.
///
/// ```
/// use device_api_core::resource::{Condition, Conditions};
///
/// struct NicStatus {
///     conditions: Vec<Condition>,
/// }
///
/// impl Conditions for NicStatus {
///     fn conditions(&self) -> &[Condition] {
///         &self.conditions
///     }
///
///     fn conditions_mut(&mut self) -> &mut [Condition] {
///         &mut self.conditions
///     }
/// }
/// ```
pub trait Conditions {
    /// The conditions.
    #[must_use]
    fn conditions(&self) -> &[Condition];

    /// The same, to change them.
    #[must_use]
    fn conditions_mut(&mut self) -> &mut [Condition];
}

/// None.
impl Conditions for () {
    fn conditions(&self) -> &[Condition] {
        &[]
    }

    fn conditions_mut(&mut self) -> &mut [Condition] {
        &mut []
    }
}

/// Whether both accessors of a status lead to the same conditions.
pub(crate) fn is_one_list(status: &mut impl Conditions) -> bool {
    let read = status.conditions().as_ptr_range();
    let written = status.conditions_mut().as_ptr_range();
    (read.is_empty() && written.is_empty()) || read == written
}

fn not_said() -> ConditionStatus {
    ConditionStatus::Other(String::new())
}

/// The reason of a condition that was set to Unknown because the lease of its provider has expired.
pub const PROVIDER_LOST: &str = "ProviderLost";

/// The reason of a condition that was set to Unknown because there was no room for what its writer said of it later.
pub const NOT_STORED: &str = "NotStored";

/// How much larger a condition can be for having been overruled: a lease's name has 253 bytes.
const MOST_OVERRULED: usize = 512;

/// How much of the size of an object does not count against its limit, since it was not its writers who made it larger.
pub(crate) fn overruled_bytes(conditions: &[Condition]) -> usize {
    let is_overruled = |one: &&Condition| {
        let is_ours = [PROVIDER_LOST, NOT_STORED].contains(&one.reason.as_str());
        one.status == ConditionStatus::Unknown && is_ours
    };
    conditions.iter().filter(is_overruled).map(|one| (one.message.len() + 64).min(MOST_OVERRULED)).sum()
}

/// Finds the condition of this type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Sets the transition times of `new` as the contract says: a condition whose status is that of
/// `old` keeps the old time; a new one, or one whose status changed, gets `now` unless its writer
/// sent another time than the old one. Go's zero time is none. A list that holds the same conditions in another order takes the old order, since
/// conditions are a map by type.
///
/// A [`Strategy`](crate::registry::Strategy) calls it when it prepares a status.
pub fn settle_transition_times(new: &mut Vec<Condition>, old: &[Condition], now: Timestamp) {
    // Almost always each stands where it stood; only who moves them pays for the map.
    let by_type: OnceCell<BTreeMap<&str, &Condition>> = OnceCell::new();
    let before = |index: usize, type_: &str| match old.get(index) {
        Some(same) if same.type_ == type_ => Some(same),
        _ => {
            let by_type = by_type.get_or_init(|| old.iter().map(|old| (old.type_.as_str(), old)).collect());
            by_type.get(type_).copied()
        }
    };
    for (index, condition) in new.iter_mut().enumerate() {
        condition.last_transition_time.take_if(|at| at.is_unset());
        match before(index, &condition.type_) {
            Some(old)
                if old.status == condition.status && old.last_transition_time.is_some_and(|at| !at.is_unset()) =>
            {
                condition.last_transition_time = old.last_transition_time;
            }
            // A patch that changes the status alone leaves the old time where it was: nobody sent it.
            Some(old) if old.last_transition_time == condition.last_transition_time => {
                condition.last_transition_time = Some(now);
            }
            _ => {
                condition.last_transition_time.get_or_insert(now);
            }
        }
    }
    let Some(by_type) = by_type.get() else { return };
    let reordered = new.len() == old.len()
        && by_type.len() == old.len()
        && new.iter().all(|condition| by_type.get(condition.type_.as_str()) == Some(&condition));
    if reordered && new.iter().map(|condition| &condition.type_).collect::<BTreeSet<_>>().len() == old.len() {
        *new = old.to_vec();
    }
}

/// Checks conditions under the field path `path`: each type once and of Kubernetes' format, each
/// status one of the three, each reason printable ASCII without spaces, reason and message within
/// Kubernetes' bounds, and not more than 1,024
/// of them.
#[must_use]
pub fn validate(path: &str, conditions: &[Condition]) -> Vec<FieldViolation> {
    if let Some(violation) = check_count(path, conditions.len()) {
        return vec![violation];
    }
    let mut violations = Vec::new();
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, condition) in conditions.iter().enumerate() {
        let mut violation = |field: &str, why: String| {
            violations.push(FieldViolation::new(format!("{path}[{index}].{field}"), why));
        };
        if let Err(why) = check_qualified_name(&condition.type_) {
            violation("type", why);
        }
        if let Some(earlier) = first.get(condition.type_.as_str()) {
            violation("type", format!("Duplicate value: {:?} is the type of {path}[{earlier}] too", condition.type_));
        } else {
            first.insert(&condition.type_, index);
        }
        if let ConditionStatus::Other(text) = &condition.status {
            let values = "supported values: \"True\", \"False\", \"Unknown\"";
            let why = if text.is_empty() {
                format!("Required value: {values}")
            } else {
                format!("Unsupported value: {:?}: {values}", shown(text))
            };
            violation("status", of(condition, &why));
        }
        if !is_reason(&condition.reason) {
            let reason = shown(&condition.reason);
            let why = format!(
                "Invalid value: {reason:?}: must be printable ASCII without spaces, at most {MAX_REASON} bytes"
            );
            violation("reason", of(condition, &why));
        }
        if condition.message.len() > MAX_MESSAGE {
            violation("message", of(condition, &format!("must be no more than {MAX_MESSAGE} bytes")));
        }
        if condition.observed_generation.is_some_and(|generation| generation < 0) {
            violation("observedGeneration", of(condition, "must be greater than or equal to 0"));
        }
    }
    violations
}

/// What is wrong with so many conditions, before anything is done about each.
pub(crate) fn check_count(path: &str, count: usize) -> Option<FieldViolation> {
    let why = || format!("Too many: {count}: must have at most {MAX_CONDITIONS} items");
    (count > MAX_CONDITIONS).then(|| FieldViolation::new(path, why()))
}

/// Whether this may be a reason: wider than `metav1.Condition.reason`, since monitors in the field send
/// `xid-checkIsNotHealthy` and `48.1`, and a refusal would lose all that they report with it.
fn is_reason(text: &str) -> bool {
    text.len() <= MAX_REASON && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a message repeats of a client's text.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A reason with the condition's type: the index is that in the list as it would be stored, which who sends
/// a patch does not know.
fn of(condition: &Condition, why: &str) -> String {
    format!("{why} (in {:?})", shown(&condition.type_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix(second, 0).unwrap()
    }

    fn ready(status: ConditionStatus, time: Option<i64>) -> Condition {
        Condition { last_transition_time: time.map(at), ..Condition::new("Ready", status) }
    }

    #[test]
    fn a_status_that_did_not_change_keeps_its_time_whatever_the_writer_sent() {
        for sent in [None, Some(7)] {
            let mut new = vec![ready(ConditionStatus::True, sent)];
            settle_transition_times(&mut new, &[ready(ConditionStatus::True, Some(1))], at(9));
            assert_eq!(new[0].last_transition_time, Some(at(1)));
        }
    }

    #[test]
    fn a_changed_or_new_status_gets_the_time_sent_or_else_now() {
        for old in [vec![], vec![ready(ConditionStatus::False, Some(1))]] {
            let mut new = vec![ready(ConditionStatus::True, None)];
            settle_transition_times(&mut new, &old, at(9));
            assert_eq!(new[0].last_transition_time, Some(at(9)));
            let mut new = vec![ready(ConditionStatus::True, Some(7))];
            settle_transition_times(&mut new, &old, at(9));
            assert_eq!(new[0].last_transition_time, Some(at(7)));
        }
    }

    #[test]
    fn another_order_of_the_same_conditions_is_no_change() {
        let other = Condition { last_transition_time: Some(at(2)), ..Condition::new("Other", ConditionStatus::False) };
        let old = vec![ready(ConditionStatus::True, Some(1)), other.clone()];
        let mut new = vec![other, ready(ConditionStatus::True, None)];
        settle_transition_times(&mut new, &old, at(9));
        assert_eq!(new, old);
    }

    #[test]
    fn too_many_conditions_are_one_violation() {
        let conditions = vec![Condition::default(); MAX_CONDITIONS + 1];
        let violations = validate("status.conditions", &conditions);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].field, "status.conditions");
    }

    #[test]
    fn every_violation_is_reported_with_its_path() {
        let conditions = [
            Condition::new("", ConditionStatus::True),
            Condition::new("Ready", "Maybe".into()).with_reason("no spaces"),
            Condition::new("Ready", ConditionStatus::True).with_message("m".repeat(MAX_MESSAGE + 1)),
        ];
        let fields: Vec<_> = validate("status.conditions", &conditions).into_iter().map(|found| found.field).collect();
        let expected = ["[0].type", "[1].status", "[1].reason", "[2].type", "[2].message"];
        assert_eq!(fields, expected.map(|field| format!("status.conditions{field}")));
    }

    #[test]
    fn a_reason_is_printable_ascii_without_spaces() {
        let longest = "r".repeat(MAX_REASON);
        for good in ["", "A", "xid-checkIsNotHealthy", "48.1", "1a", "a:", "!\"~", &longest] {
            assert!(is_reason(good), "{good}");
        }
        for bad in ["a b", " a", "a\n", "ä", "\u{7f}", &"r".repeat(MAX_REASON + 1)] {
            assert!(!is_reason(bad), "{bad}");
        }
    }

    #[test]
    fn a_violation_says_the_place_and_the_type_of_its_condition() {
        let conditions = [
            Condition::new("Ready", ConditionStatus::True),
            Condition::new("Hot", ConditionStatus::Other(String::new())).with_reason("a b"),
        ];
        let found: Vec<_> = validate("status.conditions", &conditions)
            .iter()
            .map(|found| format!("{}: {}", found.field, found.why))
            .collect();
        let expected = [
            "status.conditions[1].status: Required value: supported values: \"True\", \"False\", \"Unknown\" (in \"Hot\")",
            "status.conditions[1].reason: Invalid value: \"a b\": must be printable ASCII without spaces, at most 1024 bytes (in \"Hot\")",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_zero_time_of_go_is_no_time() {
        let zero = "0001-01-01T00:00:00Z".parse().unwrap();
        let sent = |status| vec![Condition { last_transition_time: Some(zero), ..ready(status, None) }];
        for (old, time) in
            [(vec![], 9), (vec![ready(ConditionStatus::True, Some(1))], 1), (sent(ConditionStatus::True), 9)]
        {
            let mut new = sent(ConditionStatus::True);
            settle_transition_times(&mut new, &old, at(9));
            assert_eq!(new[0].last_transition_time, Some(at(time)), "{old:?}");
        }
    }

    #[test]
    fn json_without_a_status_is_not_unknown() {
        let condition: Condition = serde_json::from_str(r#"{"type": "Ready"}"#).unwrap();
        assert_eq!(condition.status, ConditionStatus::Other(String::new()));
        assert_eq!(validate("conditions", &[condition])[0].field, "conditions[0].status");
    }
}
