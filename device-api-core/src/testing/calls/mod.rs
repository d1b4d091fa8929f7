// SPDX-License-Identifier: Apache-2.0
//! Calls of the API that fail, hang and break off on purpose, for tests of those who make them.

mod faults;
mod leases;
mod verbs;
mod watch;

pub use self::faults::{CallFault, CallFaults, Verb, WatchFault};
pub use self::leases::FaultyLeases;
pub use self::verbs::FaultyVerbs;
pub use self::watch::FaultyWatch;
