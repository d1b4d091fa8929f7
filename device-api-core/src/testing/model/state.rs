// SPDX-License-Identifier: Apache-2.0
//! What the contract says of each operation, on a map and a list of changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::step::{Change as PatchChange, Key, Kind, StatusChange, Write};
use crate::error::Reason;
use crate::patch::PatchType;
use crate::registry::WatchEvent;
use crate::resource::{Condition, ConditionStatus, Gpu, Timestamp};
use crate::testing::given::condition;

/// A store as the contract describes it.
#[derive(Debug)]
pub(super) struct Model {
    /// All that were handed out, in order: one for each change, and those at which a life began.
    pub(super) versions: Vec<u64>,
    pub(super) objects: BTreeMap<Key, Gpu>,
    pub(super) changes: Vec<Change>,
}

/// One committed write.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    key: Key,
    before: Option<Gpu>,
    after: Option<Gpu>,
}

/// What becomes of a write that is not refused.
#[derive(Debug)]
pub(super) struct Prediction {
    /// What is answered; a delete has no answer. The uid of a new object is empty.
    pub(super) object: Option<Gpu>,
    /// Whether anything changes.
    pub(super) changes: bool,
}

/// The object with its conditions in the order of their types: they are a map.
pub(super) fn sorted(object: &Gpu) -> Gpu {
    let mut object = object.clone();
    object.status.conditions.sort_by(|left, right| left.type_.cmp(&right.type_));
    object
}

impl Change {
    /// The event of a watcher who sees what matches.
    pub(super) fn event(&self, matches: impl Fn(&Gpu) -> bool) -> Option<WatchEvent<Gpu>> {
        let before = self.before.as_ref().filter(|object| matches(object));
        match (before, self.after.as_ref().filter(|object| matches(object))) {
            (None, Some(after)) => Some(WatchEvent::Added(Arc::new(after.clone()))),
            (Some(_), Some(after)) => Some(WatchEvent::Modified(Arc::new(after.clone()))),
            (Some(before), None) => {
                let mut last = before.clone();
                last.metadata.resource_version = self.revision.to_string();
                Some(WatchEvent::Deleted(Arc::new(last)))
            }
            (None, None) => None,
        }
    }
}

impl Model {
    pub(super) fn new(start: u64) -> Self {
        Self { versions: vec![start], objects: BTreeMap::new(), changes: Vec::new() }
    }

    pub(super) fn revision(&self) -> u64 {
        *self.versions.last().expect("the first one")
    }

    /// Another life begins at this version.
    pub(super) fn restart(&mut self, at: u64) {
        assert!(at >= self.revision(), "versions went back from {} to {at}", self.revision());
        self.versions.push(at);
    }

    /// The objects as of a revision.
    pub(super) fn as_of(&self, revision: u64) -> Vec<Gpu> {
        let mut objects: BTreeMap<Key, Gpu> = BTreeMap::new();
        for change in self.changes.iter().take_while(|change| change.revision <= revision) {
            match &change.after {
                Some(object) => objects.insert(change.key, object.clone()),
                None => objects.remove(&change.key),
            };
        }
        objects.into_values().collect()
    }

    /// Commits what was predicted and has happened.
    pub(super) fn commit(&mut self, write: &Write, prediction: &Prediction, stored: Option<&Gpu>) {
        if !prediction.changes {
            return;
        }
        let before = match stored {
            Some(object) => self.objects.insert(write.key, object.clone()),
            None => self.objects.remove(&write.key),
        };
        let revision = self.revision() + 1;
        self.versions.push(revision);
        self.changes.push(Change { revision, key: write.key, before, after: stored.cloned() });
    }

    /// What the contract says becomes of a write.
    pub(super) fn predict(&self, write: &Write, now: Timestamp) -> Result<Prediction, Reason> {
        let now = now.truncated_to_seconds();
        let current = self.objects.get(&write.key);
        if let Kind::Create(object) = &write.kind {
            return self.predict_create(current, object, now);
        }
        let current = current.ok_or(Reason::NotFound)?;
        let mut object = current.clone();
        match &write.kind {
            Kind::Create(_) => {}
            Kind::Replace(sent) => {
                check_version(sent, current)?;
                object.metadata.labels.clone_from(&sent.metadata.labels);
                object.metadata.annotations.clone_from(&sent.metadata.annotations);
                object.spec.clone_from(&sent.spec);
            }
            Kind::ReplaceStatus(sent) => {
                check_version(sent, current)?;
                object.status.clone_from(&sent.status);
                settle(&mut object, current, now);
            }
            Kind::Patch(patch_type, change) => apply(*patch_type, change, &mut object)?,
            Kind::PatchStatus(patch_type, change) => {
                apply_status(*patch_type, change, &mut object)?;
                settle(&mut object, current, now);
            }
            Kind::Delete { uid, version } => {
                let holds =
                    |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|wanted| wanted == found);
                let metadata = &current.metadata;
                let both = holds(uid, &metadata.uid) && holds(version, &metadata.resource_version);
                return if both { Ok(Prediction { object: None, changes: true }) } else { Err(Reason::Conflict) };
            }
        }
        let object = sorted(&object);
        if object == *current {
            return Ok(Prediction { object: Some(object), changes: false });
        }
        let spec_changed = object.spec != current.spec;
        self.predict_stored(object, current.metadata.generation + i64::from(spec_changed))
    }

    fn predict_create(&self, current: Option<&Gpu>, sent: &Gpu, now: Timestamp) -> Result<Prediction, Reason> {
        let mut object = sent.clone();
        object.metadata.creation_timestamp = Some(now);
        settle(&mut object, &Gpu::default(), now);
        let prediction = self.predict_stored(sorted(&object), 1);
        match (current, prediction) {
            (Some(_), Ok(_)) => Err(Reason::AlreadyExists),
            (_, prediction) => prediction,
        }
    }

    fn predict_stored(&self, mut object: Gpu, generation: i64) -> Result<Prediction, Reason> {
        let conditions = &object.status.conditions;
        let twice = conditions.windows(2).any(|pair| pair[0].type_ == pair[1].type_);
        if twice || conditions.iter().any(|condition| matches!(condition.status, ConditionStatus::Other(_))) {
            return Err(Reason::Invalid);
        }
        object.metadata.generation = generation;
        object.metadata.resource_version = (self.revision() + 1).to_string();
        Ok(Prediction { object: Some(object), changes: true })
    }
}

fn check_version(sent: &Gpu, current: &Gpu) -> Result<(), Reason> {
    let version = &sent.metadata.resource_version;
    if version.is_empty() || *version == current.metadata.resource_version { Ok(()) } else { Err(Reason::Conflict) }
}

/// A condition whose status did not change keeps its time; another one that has no time gets `now`.
/// No step of the model sends a time.
fn settle(object: &mut Gpu, old: &Gpu, now: Timestamp) {
    for condition in &mut object.status.conditions {
        let before = old.status.conditions.iter().find(|before| before.type_ == condition.type_);
        condition.last_transition_time = match before {
            Some(before) if before.status == condition.status => before.last_transition_time,
            _ => Some(now),
        };
    }
}

fn apply(patch_type: PatchType, change: &PatchChange, object: &mut Gpu) -> Result<(), Reason> {
    let labels = &mut object.metadata.labels;
    match change {
        PatchChange::SetUuid(uuid) => object.spec.uuid.clone_from(uuid),
        // RFC 6902: `add` of a member needs its parent, and there are no labels where there are none.
        PatchChange::SetSide(_) if patch_type == PatchType::Json && labels.is_empty() => {
            return Err(Reason::UnprocessableEntity);
        }
        PatchChange::SetSide(side) => drop(labels.insert("side".to_owned(), (*side).to_owned())),
        PatchChange::RemoveSide => {
            if labels.remove("side").is_none() && patch_type == PatchType::Json {
                return Err(Reason::UnprocessableEntity);
            }
        }
    }
    Ok(())
}

fn apply_status(patch_type: PatchType, change: &StatusChange, object: &mut Gpu) -> Result<(), Reason> {
    let conditions: &mut Vec<Condition> = &mut object.status.conditions;
    match (patch_type, change) {
        (PatchType::Strategic, StatusChange::Set(type_, status)) => {
            match conditions.iter_mut().find(|condition| condition.type_ == *type_) {
                Some(condition) => condition.status = (*status).into(),
                None => conditions.push(condition(type_, status)),
            }
        }
        (PatchType::Strategic, StatusChange::Remove(type_)) => conditions.retain(|condition| condition.type_ != *type_),
        (PatchType::Json, StatusChange::Set(..)) if conditions.is_empty() => return Err(Reason::UnprocessableEntity),
        (PatchType::Json, StatusChange::Set(type_, status)) => conditions.push(condition(type_, status)),
        (_, StatusChange::Set(type_, status)) => *conditions = vec![condition(type_, status)],
        (_, StatusChange::Remove(_)) => conditions.clear(),
    }
    Ok(())
}
