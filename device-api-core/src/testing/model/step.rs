// SPDX-License-Identifier: Apache-2.0
//! Random operations.

use serde_json::{Value, json as value};

use super::state::Model;
use crate::patch::{Patch, PatchType};
use crate::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta};
use crate::testing::given::{condition, json, merge, strategic};

/// A namespace and a name.
pub(super) type Key = (&'static str, &'static str);

const NAMESPACES: [&str; 2] = ["default", "other"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const TYPES: [&str; 3] = ["Hot", "Lost", "Ready"];
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
pub(super) const SIDES: [&str; 2] = ["left", "right"];

/// One operation.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Wait(u64),
    Write(Box<Write>),
    Read(Read),
    /// The follower reads all that there is.
    Follow,
    Restart,
}

#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) kind: Kind,
    pub(super) dry_run: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Create(Gpu),
    Replace(Gpu),
    ReplaceStatus(Gpu),
    Patch(PatchType, Change),
    PatchStatus(PatchType, StatusChange),
    Delete { uid: Option<String>, version: Option<String> },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Get(Key),
    List,
    Exact(u64),
    Pages(u64),
    Watch { from: u64, side: Option<&'static str> },
}

/// A change of labels or spec that each patch type can say.
#[derive(Clone, Debug)]
pub(super) enum Change {
    SetSide(&'static str),
    RemoveSide,
    SetUuid(String),
}

/// A change of the conditions that each patch type can say, in its own way.
#[derive(Clone, Debug)]
pub(super) enum StatusChange {
    /// Strategic: that one; merge: that one and no other; JSON: appends it.
    Set(&'static str, &'static str),
    /// Strategic: that one; merge and JSON: all.
    Remove(&'static str),
}

fn any<T: Copy>(random: &mut fastrand::Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())]
}

impl Step {
    pub(super) fn random(random: &mut fastrand::Rng, model: &Model) -> Self {
        let at = |random: &mut fastrand::Rng| any(random, &model.versions);
        let key = (any(random, &NAMESPACES), any(random, &NAMES));
        match random.u8(..100) {
            0..8 => Self::Wait(random.u64(1..100)),
            8..70 => Self::Write(Box::new(Write {
                key,
                kind: Kind::random(random, key, model),
                dry_run: random.u8(..10) == 0,
            })),
            70..73 => Self::Read(Read::Get(key)),
            73..76 => Self::Read(Read::List),
            76..80 => Self::Read(Read::Exact(at(random))),
            80..84 => Self::Read(Read::Pages(random.u64(1..5))),
            84..92 => {
                let side = (random.bool()).then(|| any(random, &SIDES));
                Self::Read(Read::Watch { from: at(random), side })
            }
            92..96 => Self::Follow,
            _ => Self::Restart,
        }
    }
}

impl Kind {
    fn random(random: &mut fastrand::Rng, key: Key, model: &Model) -> Self {
        let types = [PatchType::Merge, PatchType::Json, PatchType::Strategic];
        match random.u8(..100) {
            0..20 => {
                let mut object = object(random, key);
                if model.objects.contains_key(&key) {
                    // Whether a taken name or a bad object is noticed first is not promised.
                    object.status.conditions.clear();
                }
                Self::Create(object)
            }
            20..40 => Self::Replace(versioned(random, key, model)),
            40..55 => Self::ReplaceStatus(versioned(random, key, model)),
            55..70 => {
                let change = match random.u8(..3) {
                    0 => Change::SetSide(any(random, &SIDES)),
                    1 => Change::RemoveSide,
                    _ => Change::SetUuid(uuid(random)),
                };
                Self::Patch(any(random, &types), change)
            }
            70..85 => {
                let type_ = any(random, &TYPES);
                let change = match random.u8(..4) {
                    0 => StatusChange::Remove(type_),
                    _ => StatusChange::Set(type_, any(random, &STATUSES)),
                };
                Self::PatchStatus(any(random, &types), change)
            }
            _ => {
                let current = model.objects.get(&key).map(|object| &object.metadata);
                let uid = match random.u8(..4) {
                    0 => current.map(|metadata| metadata.uid.clone()),
                    1 => Some("another".to_owned()),
                    _ => None,
                };
                let version = match random.u8(..4) {
                    0 => current.map(|metadata| metadata.resource_version.clone()),
                    1 => Some("1".to_owned()),
                    _ => None,
                };
                Self::Delete { uid, version }
            }
        }
    }
}

/// One of few, so that changes of nothing are common.
fn uuid(random: &mut fastrand::Rng) -> String {
    format!("GPU-{}", random.u8(..3))
}

fn object(random: &mut fastrand::Rng, (namespace, name): Key) -> Gpu {
    let mut metadata = ObjectMeta::named(name).with_namespace(namespace);
    if random.bool() {
        metadata = metadata.with_label("side", any(random, &SIDES));
    }
    let mut object = Gpu { metadata, spec: GpuSpec { uuid: uuid(random) }, ..Gpu::default() };
    object.status.conditions = conditions(random);
    object
}

/// Some conditions, now and then with one that may not be.
fn conditions(random: &mut fastrand::Rng) -> Vec<Condition> {
    let mut conditions: Vec<_> =
        TYPES.iter().filter(|_| random.bool()).map(|type_| Condition::new(*type_, ConditionStatus::Unknown)).collect();
    for condition in &mut conditions {
        condition.status = any(random, &STATUSES).into();
    }
    random.shuffle(&mut conditions);
    match random.u8(..20) {
        0 => conditions.extend([condition("Ready", "True"), condition("Ready", "True")]),
        1 => conditions.push(condition("Odd", "Maybe")),
        _ => {}
    }
    conditions
}

/// An update: under no version, the current one, or a stale one.
fn versioned(random: &mut fastrand::Rng, key: Key, model: &Model) -> Gpu {
    let mut object = object(random, key);
    let current = model.objects.get(&key).map(|object| object.metadata.resource_version.clone());
    object.metadata.resource_version = match random.u8(..4) {
        0 | 1 => String::new(),
        2 => current.unwrap_or_default(),
        _ => "1".to_owned(),
    };
    object
}

impl Change {
    pub(super) fn patch(&self, patch_type: PatchType) -> Patch {
        let path = match self {
            Self::SetSide(_) | Self::RemoveSide => "/metadata/labels/side",
            Self::SetUuid(_) => "/spec/uuid",
        };
        let (member, operation) = match self {
            Self::SetSide(side) => {
                (value!({"metadata": {"labels": {"side": side}}}), value!({"op": "add", "path": path, "value": side}))
            }
            Self::RemoveSide => {
                (value!({"metadata": {"labels": {"side": null}}}), value!({"op": "remove", "path": path}))
            }
            Self::SetUuid(uuid) => {
                (value!({"spec": {"uuid": uuid}}), value!({"op": "add", "path": path, "value": uuid}))
            }
        };
        patch_of(patch_type, member.clone(), member, operation)
    }
}

impl StatusChange {
    pub(super) fn patch(&self, patch_type: PatchType) -> Patch {
        let of = |conditions: Value| value!({"status": {"conditions": conditions}});
        match self {
            Self::Set(type_, status) => {
                let item = value!({"type": type_, "status": status});
                let append = value!({"op": "add", "path": "/status/conditions/-", "value": item});
                patch_of(patch_type, of(value!([item])), of(value!([item])), append)
            }
            Self::Remove(type_) => {
                let delete = of(value!([{"type": type_, "$patch": "delete"}]));
                let clear = value!({"op": "add", "path": "/status/conditions", "value": []});
                patch_of(patch_type, of(Value::Null), delete, clear)
            }
        }
    }
}

/// One change in each patch type's own words.
fn patch_of(patch_type: PatchType, merged: Value, strategically: Value, operation: Value) -> Patch {
    match patch_type {
        PatchType::Json => json(value!([operation])),
        PatchType::Strategic => strategic(strategically),
        _ => merge(merged),
    }
}
