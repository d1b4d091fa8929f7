// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a GPU, said once.

use std::mem::discriminant;

use super::super::driver::DriverError;

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
