// SPDX-License-Identifier: Apache-2.0
//! One write, as it runs in the ledger's task. The order is Kubernetes': system fields, prepare, check
//! for no change, validate, store.

use std::sync::Arc;

use super::cache::{Cache, Stored};
use super::options::Room;
use super::stage::{Decision, Stage};
use super::{Part, Preconditions, Strategy, WriteContext, validate};
use crate::error::{FieldViolation, short};
use crate::resource::condition::{NOT_STORED, find, is_one_list};
use crate::resource::{Condition, ConditionStatus, Conditions as _, Key, ObjectMeta, Resource};
use crate::{Error, Result};

/// Who writes which part of which object.
pub(super) struct Write<R> {
    pub(super) cache: Arc<Cache<R>>,
    pub(super) strategy: Arc<dyn Strategy<R>>,
    pub(super) part: Part,
    pub(super) key: Key,
    pub(super) actor: String,
    pub(super) room: Room,
    pub(super) dry_run: bool,
}

/// The precondition that a resource version in an object stands for.
pub(super) fn unless_empty(resource_version: &str) -> Preconditions {
    let version = (!resource_version.is_empty()).then(|| resource_version.to_owned());
    Preconditions { uid: None, resource_version: version }
}

impl<R: Resource> Write<R> {
    pub(super) fn create(self, stage: &mut Stage, mut object: R) -> Result<Arc<R>> {
        if !object.metadata().resource_version.is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Error::bad_request("metadata.resourceVersion", why));
        }
        if stage.current(&self.cache, &self.key).is_some() {
            return Err(Error::already_exists::<R>(self.key.name()));
        }
        let now = stage.now();
        let sent = std::mem::take(object.metadata_mut());
        *object.metadata_mut() = ObjectMeta {
            name: self.key.name().to_owned(),
            namespace: self.key.namespace().to_owned(),
            uid: uuid::Uuid::new_v4().to_string(),
            resource_version: String::new(),
            generation: 1,
            creation_timestamp: Some(now.truncated_to_seconds()),
            labels: sent.labels,
            annotations: sent.annotations,
        };
        let context = WriteContext { actor: &self.actor, now, part: self.part };
        self.strategy.prepare_for_create(&context, &mut object);
        let mut violations = validate::metadata(object.metadata());
        violations.extend(self.strategy.validate(&context, &object));
        self.store(stage, object, violations)
    }

    pub(super) fn modify(
        self,
        stage: &mut Stage,
        when: &Preconditions,
        change: impl FnOnce(&R) -> Result<R>,
    ) -> Result<Arc<R>> {
        let old = self.found(stage)?.object;
        check(&*old, when)?;
        let mut wanted = change(&old)?;
        let version = &wanted.metadata().resource_version;
        if !version.is_empty() && *version != old.metadata().resource_version {
            return Err(Error::modified::<R>(self.key.name()));
        }
        check_identity(&*old, &wanted)?;

        let context = WriteContext { actor: &self.actor, now: stage.now(), part: self.part };
        let mut new = match self.part {
            Part::Main => {
                let sent = std::mem::take(wanted.metadata_mut());
                let kept = old.metadata().clone();
                let metadata = ObjectMeta { labels: sent.labels, annotations: sent.annotations, ..kept };
                let spec = std::mem::take(wanted.spec_mut());
                let mut new = R::from_parts(metadata, spec, old.status().clone());
                self.strategy.prepare_for_update(&context, &mut new, &old);
                new
            }
            Part::Status => {
                let status = std::mem::take(wanted.status_mut());
                let mut new = R::from_parts(old.metadata().clone(), old.spec().clone(), status);
                self.strategy.prepare_for_status_update(&context, &mut new, &old);
                new
            }
        };
        if new.spec() != old.spec() {
            new.metadata_mut().generation += 1;
        }
        if new == *old {
            return Ok(old);
        }
        let mut violations = validate::metadata(new.metadata());
        violations.extend(self.strategy.validate(&context, &new));
        violations.extend(self.strategy.validate_update(&context, &new, &old));
        let denied = match self.part {
            Part::Status if !self.dry_run => contradicted(&*old, &new),
            _ => Vec::new(),
        };
        match self.store(stage, new, violations) {
            Err(refusal @ Error::TooLarge { .. }) if !denied.is_empty() => Err(self.doubt(stage, &denied, refusal)),
            stored => stored,
        }
    }

    /// Sets the conditions of these types to Unknown: what is stored of them is not so any more, and what is so is refused.
    fn doubt(&self, stage: &mut Stage, types: &[String], mut refusal: Error) -> Error {
        let now = stage.now().truncated_to_seconds();
        let why = "what was said of it later is more than there is room for: what was said before may be out of date";
        let doubted = self.overrule(stage, |conditions| {
            for condition in conditions.iter_mut().filter(|condition| types.contains(&condition.type_)) {
                condition.status = ConditionStatus::Unknown;
                condition.last_transition_time = Some(now);
                NOT_STORED.clone_into(&mut condition.reason);
                why.clone_into(&mut condition.message);
            }
        });
        // Where even that has no room, the refusal is what its writer is told in any case.
        if let (Ok(()), Error::TooLarge { hint, .. }) = (doubted, &mut refusal) {
            hint.push_str("; the conditions that would have changed are Unknown until then");
        }
        refusal
    }

    /// Changes conditions whoever is of another opinion. No strategy has a say: an object that broke a rule would be believed for ever.
    ///
    /// Where there is no room for all that is to be said, what is changed has no message: that something is Unknown matters more than why.
    pub(super) fn overrule(&self, stage: &mut Stage, change: impl Fn(&mut [Condition])) -> Result<()> {
        let old = self.found(stage)?.object;
        let mut new = R::clone(&old);
        check_conditions(&mut new)?;
        change(new.status_mut().conditions_mut());
        if new == *old {
            return Ok(());
        }
        let mut store = |room, new| stage.write(&self.cache, &self.key, self.actor.clone(), room, Decision::Put(new));
        let stored = store(Room::Overruled, new);
        if !stored.as_ref().is_err_and(Error::is_too_large) {
            return stored.map(drop);
        }
        let mut new = R::clone(&old);
        let changed = new.status_mut().conditions_mut();
        change(changed);
        for (condition, _) in changed.iter_mut().zip(old.status().conditions()).filter(|(new, old)| new != old) {
            condition.message.clear();
        }
        store(Room::Wordless, new).map(drop)
    }

    pub(super) fn delete(self, stage: &mut Stage, when: &Preconditions) -> Result<Arc<R>> {
        let old = self.found(stage)?.object;
        check(&*old, when)?;
        if self.dry_run {
            return Ok(old);
        }
        stage.write(&self.cache, &self.key, self.actor, self.room, Decision::Delete)
    }

    fn found(&self, stage: &mut Stage) -> Result<Stored<R>> {
        stage.current(&self.cache, &self.key).ok_or_else(|| Error::not_found::<R>(self.key.name()))
    }

    fn store(&self, stage: &mut Stage, mut object: R, violations: Vec<FieldViolation>) -> Result<Arc<R>> {
        check_conditions(&mut object)?;
        if !violations.is_empty() {
            return Err(Error::invalid::<R>(self.key.name(), violations));
        }
        if self.dry_run {
            stage.check(&self.cache, &self.key, self.room, &object)?;
            return Ok(Arc::new(object));
        }
        stage.write(&self.cache, &self.key, self.actor.clone(), self.room, Decision::Put(object))
    }
}

/// The types of conditions of which one state says something that the other does not, Unknown aside, which claims nothing.
fn contradicted<R: Resource>(old: &R, new: &R) -> Vec<String> {
    let says = new.status().conditions();
    let is_denied = |stored: &&Condition| {
        stored.status != ConditionStatus::Unknown
            && find(says, &stored.type_).is_none_or(|said| said.status != stored.status)
    };
    old.status().conditions().iter().filter(is_denied).map(|stored| stored.type_.clone()).collect()
}

/// Checks that the conditions that are read can be overruled.
fn check_conditions<R: Resource>(object: &mut R) -> Result<()> {
    if is_one_list(object.status_mut()) {
        return Ok(());
    }
    let why = format!("the conditions of {} that are read are not those that are written", R::PLURAL);
    Err(Error::internal(why))
}

/// Checks preconditions.
fn check<R: Resource>(object: &R, when: &Preconditions) -> Result<()> {
    let metadata = object.metadata();
    if let Some(uid) = when.uid.as_ref().filter(|uid| **uid != metadata.uid) {
        return Err(Error::precondition::<R>(&metadata.name, "UID", uid, &metadata.uid));
    }
    if when.resource_version.as_ref().is_some_and(|version| *version != metadata.resource_version) {
        return Err(Error::modified::<R>(&metadata.name));
    }
    Ok(())
}

/// Checks that what never changes did not. What is empty is not set and means no change, as in Kubernetes: every client
/// written in Go sends `creationTimestamp: null` or an empty uid with what it changes.
fn check_identity<R: Resource>(old: &R, new: &R) -> Result<()> {
    let (old, new) = (old.metadata(), new.metadata());
    let name = R::normalize_name(&new.name);
    let mut violations = Vec::new();
    let mut changed = |field: &str, new: &str| {
        let new = short(new);
        violations.push(FieldViolation::new(field, format!("Invalid value: {new:?}: field is immutable")));
    };
    for (field, old, new) in [
        ("metadata.name", old.name.as_str(), &*name),
        ("metadata.namespace", &old.namespace, &new.namespace),
        ("metadata.uid", &old.uid, &new.uid),
    ] {
        if old != new && !new.is_empty() {
            changed(field, new);
        }
    }
    if let Some(at) = new.creation_timestamp.filter(|at| !at.is_unset() && old.creation_timestamp != Some(*at)) {
        changed("metadata.creationTimestamp", &at.to_string());
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid::<R>(&old.name, violations)) }
}
