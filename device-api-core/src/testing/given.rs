// SPDX-License-Identifier: Apache-2.0
//! What a case starts from: objects, patches and the shortest way to write them.

use std::sync::Arc;

use serde_json::Value;

use crate::Result;
use crate::patch::{Patch, PatchType};
use crate::registry::{DeleteParams, ListParams, PostParams, Verbs};
use crate::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta, Resource, Timestamp};

/// A GPU of this name whose uuid is the name too.
pub(crate) fn gpu(name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), spec: GpuSpec { uuid: name.to_owned() }, ..Gpu::default() }
}

/// A GPU with one label.
pub(crate) fn labelled(name: &str, key: &str, value: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name).with_label(key, value), ..gpu(name) }
}

/// A GPU in another namespace.
pub(crate) fn gpu_in(namespace: &str, name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name).with_namespace(namespace), ..gpu(name) }
}

/// The same object under this resource version.
pub(crate) fn at_version(object: &Gpu, version: &str) -> Gpu {
    let mut object = object.clone();
    object.metadata.resource_version = version.to_owned();
    object
}

/// The same object with no resource version: whatever is current.
pub(crate) fn unversioned(object: &Gpu) -> Gpu {
    at_version(object, "")
}

/// The same object with another `spec.uuid`, under no version.
pub(crate) fn with_uuid(object: &Gpu, uuid: &str) -> Gpu {
    let mut object = unversioned(object);
    object.spec.uuid = uuid.to_owned();
    object
}

/// The same object with one more label, or another value of it, under no version.
pub(crate) fn with_label(object: &Gpu, key: &str, value: &str) -> Gpu {
    let mut object = unversioned(object);
    object.metadata.labels.insert(key.to_owned(), value.to_owned());
    object
}

/// The same object with these conditions and no others, under no version.
pub(crate) fn with_conditions(object: &Gpu, conditions: impl Into<Vec<Condition>>) -> Gpu {
    let mut object = unversioned(object);
    object.status.conditions = conditions.into();
    object
}

/// A condition whose status is one of `True`, `False`, `Unknown`, or what a hostile client sends.
pub(crate) fn condition(type_: &str, status: &str) -> Condition {
    Condition::new(type_, ConditionStatus::from(status))
}

/// A condition that says since when.
pub(crate) fn condition_since(type_: &str, status: &str, since: Timestamp) -> Condition {
    Condition { last_transition_time: Some(since), ..condition(type_, status) }
}

/// So many seconds after 1970.
pub(crate) fn second(second: i64) -> Timestamp {
    Timestamp::from_unix(second, 0).expect("a test's time is in range")
}

/// The number in an object's resource version.
pub(crate) fn version<R: Resource>(object: &R) -> u64 {
    number(&object.metadata().resource_version)
}

/// The number in a resource version.
pub(crate) fn number(version: &str) -> u64 {
    version.parse().unwrap_or_else(|_| panic!("a resource version is a decimal number (rule 2.4), not {version:?}"))
}

/// The version that a list of everything has now.
pub(crate) async fn latest(api: &impl Verbs<Gpu>) -> u64 {
    let list = api.list(&ListParams::default()).await.expect("a list of everything succeeds");
    number(&list.metadata.resource_version)
}

/// Creates the object; it must succeed.
pub(crate) async fn create(api: &impl Verbs<Gpu>, object: &Gpu) -> Arc<Gpu> {
    let name = &object.metadata.name;
    api.create(&PostParams::default(), object).await.unwrap_or_else(|error| panic!("create of {name:?}: {error}"))
}

/// Replaces labels, annotations and spec; it must succeed.
pub(crate) async fn replace(api: &impl Verbs<Gpu>, object: &Gpu) -> Arc<Gpu> {
    let name = &object.metadata.name;
    let replaced = api.replace(name, &PostParams::default(), object).await;
    replaced.unwrap_or_else(|error| panic!("update of {name:?}: {error}"))
}

/// Replaces the status; it must succeed.
pub(crate) async fn replace_status(api: &impl Verbs<Gpu>, object: &Gpu) -> Arc<Gpu> {
    let name = &object.metadata.name;
    let replaced = api.replace_status(name, &PostParams::default(), object).await;
    replaced.unwrap_or_else(|error| panic!("status update of {name:?}: {error}"))
}

/// Deletes the object whatever its state; it must succeed.
pub(crate) async fn delete(api: &impl Verbs<Gpu>, name: &str) {
    let deleted = api.delete(name, &DeleteParams::default()).await;
    deleted.unwrap_or_else(|error| panic!("delete of {name:?}: {error}"));
}

/// Reads the object; it must be there.
pub(crate) async fn get(api: &impl Verbs<Gpu>, name: &str) -> Arc<Gpu> {
    api.get(name).await.unwrap_or_else(|error| panic!("get of {name:?}: {error}"))
}

/// Patches labels, annotations and spec; it must succeed.
pub(crate) async fn patch(api: &impl Verbs<Gpu>, name: &str, patch: Patch) -> Arc<Gpu> {
    let patched = api.patch(name, &PostParams::default(), &patch).await;
    patched.unwrap_or_else(|error| panic!("patch of {name:?}: {error}"))
}

/// Patches the status; it must succeed.
pub(crate) async fn patch_status(api: &impl Verbs<Gpu>, name: &str, patch: Patch) -> Arc<Gpu> {
    let patched = api.patch_status(name, &PostParams::default(), &patch).await;
    patched.unwrap_or_else(|error| panic!("status patch of {name:?}: {error}"))
}

/// Applies bytes that may not even make a patch, to labels, annotations and spec.
pub(crate) async fn try_patch(api: &impl Verbs<Gpu>, name: &str, patch: Result<Patch>) -> Result<Arc<Gpu>> {
    api.patch(name, &PostParams::default(), &patch?).await
}

/// Applies bytes that may not even make a patch, to the status.
pub(crate) async fn try_patch_status(api: &impl Verbs<Gpu>, name: &str, patch: Result<Patch>) -> Result<Arc<Gpu>> {
    api.patch_status(name, &PostParams::default(), &patch?).await
}

/// A patch of this type with these bytes, which may be refused at once or when it is applied.
pub(crate) fn raw(patch_type: PatchType, bytes: impl Into<Vec<u8>>) -> Result<Patch> {
    Ok(Patch::new(patch_type, bytes.into()))
}

/// An RFC 7386 merge patch.
pub(crate) fn merge(patch: Value) -> Patch {
    Patch::merge(&patch).expect("a JSON value makes a merge patch")
}

/// An RFC 6902 JSON patch.
pub(crate) fn json(operations: Value) -> Patch {
    raw(PatchType::Json, operations.to_string()).expect("a JSON value makes a JSON patch")
}

/// A strategic merge patch.
pub(crate) fn strategic(patch: Value) -> Patch {
    Patch::strategic(&patch).expect("a JSON value makes a strategic merge patch")
}
