// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a GPU, said once.

use std::mem::discriminant;

use device_api_core::resource::{ConditionStatus, condition};

use super::super::chart::XID_HEALTHY;
use super::super::driver::DriverError;
use crate::source::observation::Observed;

pub(super) const SILENT: &str = "a GPU does not answer";
pub(super) const UNHEARD: &str = "no events of a GPU are delivered";

/// Logs what is wrong with a GPU once, and that it is over.
pub(super) fn say(said: &mut Option<DriverError>, why: Option<&DriverError>, uuid: &str, what: &str) {
    // Which call hangs, and the number of an error, are no news.
    if said.as_ref().map(discriminant) == why.map(discriminant) {
        return;
    }
    match why {
        Some(error) => tracing::warn!(gpu = uuid, %error, "{what}"),
        None => tracing::info!(gpu = uuid, "it is over that {what}"),
    }
    *said = why.cloned();
}

/// Logs that XIDs take a device's health away, and that they do no more. What is about a whole GPU is said of it alone.
pub(super) fn say_xids(name: &str, before: Option<&Observed>, now: &Observed) {
    let bad = |observed: &Observed| {
        let found = condition::find(&observed.conditions, XID_HEALTHY);
        let is_own = observed.device.mig.is_none()
            || observed.xids.iter().any(|record| record.standing && record.gpu_instance_id.is_some());
        found.filter(|found| found.status == ConditionStatus::False && is_own).map(|found| found.message.clone())
    };
    match (before.and_then(bad), bad(now)) {
        (None, Some(message)) => tracing::warn!(gpu = name, "not healthy any more: {message}"),
        (Some(_), None) => tracing::info!(gpu = name, "no XID stands any more"),
        _ => {}
    }
}
