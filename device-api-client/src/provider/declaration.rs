// SPDX-License-Identifier: Apache-2.0
//! What a provider says of all objects, and how that differs from what is stored.

use std::collections::BTreeMap;

use device_api_core::resource::{Condition, Key, Resource, condition};
use device_api_core::{Error, Result};

/// All that a provider says: its conditions on every object that it speaks of.
///
/// ```
/// use device_api_client::Declaration;
/// use device_api_core::resource::{Condition, ConditionStatus, Gpu};
///
/// let cool = Condition::new("ThermalHealthy", ConditionStatus::True);
/// let all = Declaration::default().with::<Gpu>("gpu-0", [cool.clone()])?.with::<Gpu>("gpu-1", [cool])?;
/// # Ok::<(), device_api_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    objects: BTreeMap<Key, Vec<Condition>>,
}

/// What is to be written to one object.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) set: Vec<Condition>,
    pub(super) gone: Vec<String>,
}

impl Declaration {
    /// The same with these conditions of the object of this name in the namespace `default`, in place of earlier ones.
    ///
    /// # Errors
    /// As [`Self::with_key`], and when the name is not valid.
    pub fn with<R: Resource>(self, name: &str, conditions: impl IntoIterator<Item = Condition>) -> Result<Self> {
        self.with_key(Key::of::<R>("", name)?, conditions)
    }

    /// The same with these conditions of an object, in place of earlier ones.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when a condition type is there twice.
    pub fn with_key(mut self, key: Key, conditions: impl IntoIterator<Item = Condition>) -> Result<Self> {
        let conditions: Vec<Condition> = conditions.into_iter().collect();
        for (index, condition) in conditions.iter().enumerate() {
            if conditions.iter().take(index).any(|earlier| earlier.type_ == condition.type_) {
                let why = format!("condition type {:?} is there twice for {key}: say once what holds", condition.type_);
                return Err(Error::bad_request("conditions", why));
            }
        }
        self.objects.insert(key, conditions);
        Ok(self)
    }

    /// Checks that the provider speaks only of what is its own.
    pub(super) fn check(&self, types: &[String]) -> Result<()> {
        for (key, conditions) in &self.objects {
            if let Some(other) = conditions.iter().find(|condition| !types.contains(&condition.type_)) {
                let why = format!("condition type {:?} of {key} is not among those of the lease: add it", other.type_);
                return Err(Error::bad_request("conditions", why));
            }
        }
        Ok(())
    }

    /// What differs on an object that has these conditions from what is declared, of these types: `None` when nothing does.
    pub(super) fn difference(&self, key: &Key, stored: &[Condition], types: &[String]) -> Option<Difference> {
        let declared = self.objects.get(key).map_or(&[][..], Vec::as_slice);
        let is_set =
            |wanted: &&Condition| condition::find(stored, &wanted.type_).is_some_and(|stored| is_said(stored, wanted));
        let is_gone =
            |type_: &&String| condition::find(declared, type_).is_none() && condition::find(stored, type_).is_some();
        let difference = Difference {
            set: declared.iter().filter(|wanted| !is_set(wanted)).cloned().collect(),
            gone: types.iter().filter(is_gone).cloned().collect(),
        };
        (!difference.set.is_empty() || !difference.gone.is_empty()).then_some(difference)
    }
}

/// Whether a condition says what is wanted. Its time is left out: while the status stays, so does the time.
fn is_said(stored: &Condition, wanted: &Condition) -> bool {
    let timeless = |condition: &Condition| Condition { last_transition_time: None, ..condition.clone() };
    timeless(stored) == timeless(wanted)
}

#[cfg(test)]
mod tests {
    use device_api_core::resource::{ConditionStatus, Gpu};

    use super::*;

    fn said(type_: &str, reason: &str) -> Condition {
        Condition::new(type_, ConditionStatus::True).with_reason(reason)
    }

    fn types() -> Vec<String> {
        vec!["A".to_owned(), "B".to_owned()]
    }

    #[test]
    fn only_what_differs_of_the_own_types_is_to_be_written() {
        let time = "2026-01-01T00:00:00Z".parse().ok();
        let stored =
            [Condition { last_transition_time: time, ..said("A", "Fine") }, said("B", "Old"), said("Other", "Own")];
        let key = Key::of::<Gpu>("", "x").unwrap();
        let of = |conditions: Vec<Condition>| {
            let declaration = Declaration::default().with::<Gpu>("X", conditions).unwrap();
            declaration.difference(&key, &stored, &types())
        };
        assert_eq!(of(vec![said("A", "Fine"), said("B", "Old")]), None);
        let changed = Difference { set: vec![said("A", "Hot")], gone: vec!["B".to_owned()] };
        assert_eq!(of(vec![said("A", "Hot")]), Some(changed));
        let nothing = Declaration::default().difference(&key, &stored, &types());
        assert_eq!(nothing, Some(Difference { set: Vec::new(), gone: types() }));
    }

    #[test]
    fn what_is_not_the_providers_own_or_there_twice_is_refused() {
        let foreign = Declaration::default().with::<Gpu>("x", [said("Other", "")]).unwrap();
        assert!(foreign.check(&types()).unwrap_err().is_invalid());
        assert!(Declaration::default().with::<Gpu>("x", [said("A", "1"), said("A", "2")]).unwrap_err().is_invalid());
        assert!(Declaration::default().with::<Gpu>("no spaces", []).unwrap_err().is_invalid());
    }
}
