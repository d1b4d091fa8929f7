// SPDX-License-Identifier: Apache-2.0
//! Conditions that many wait for.

use device_api_core::resource::{ConditionStatus, Conditions as _, Resource, condition};

use super::Condition;

/// The object is there.
pub fn exists<R: Resource>() -> impl Condition<R> {
    |object: Option<&R>| object.is_some()
}

/// The object of this uid is gone, whether or not another one has taken its name.
pub fn is_deleted<R: Resource>(uid: impl Into<String>) -> impl Condition<R> {
    let uid = uid.into();
    move |object: Option<&R>| object.is_none_or(|object| object.metadata().uid != uid)
}

/// The object has a condition of this type and status.
///
/// ```
/// use device_api_client::core::resource::{Condition, ConditionStatus, Gpu};
/// use device_api_client::wait::Condition as _;
/// use device_api_client::wait::conditions::has_condition;
///
/// let ready = has_condition("Ready", ConditionStatus::True);
/// let mut gpu = Gpu::default();
/// assert!(!ready.is_met(Some(&gpu)));
/// gpu.status.conditions.push(Condition::new("Ready", ConditionStatus::True));
/// assert!(ready.is_met(Some(&gpu)));
/// ```
pub fn has_condition<R: Resource>(type_: impl Into<String>, status: ConditionStatus) -> impl Condition<R> {
    let type_ = type_.into();
    move |object: Option<&R>| {
        object
            .and_then(|object| condition::find(object.status().conditions(), &type_))
            .is_some_and(|condition| condition.status == status)
    }
}
