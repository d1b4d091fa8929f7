// SPDX-License-Identifier: Apache-2.0
//! Leases: how a provider of conditions says that it lives, and what becomes of its conditions when it does not.
//!
//! A provider acquires a lease by its name, says which types of conditions are its own, and renews the
//! lease by the id that it was given. The newest holder wins: who was replaced is told so when it renews.

mod verbs;

pub use self::verbs::{AcquireLease, DEFAULT_DURATION, Lease, LeaseState, LeaseVerbs};
