// SPDX-License-Identifier: Apache-2.0
//! Leases as cases: what every server of the API promises to the providers of conditions, section 9 of the contract.
//!
//! As those of [`contract`](super::contract), the cases know nothing but the traits, and run in process on every
//! backend and through a client over a socket. Time that is lived through is a second or so, the shortest lease.

mod expiry;
mod holding;
mod identity;
mod requests;

use std::fmt::{self, Debug};

use super::contract::{CaseRun, World};
use crate::lease::{AcquireLease, Lease, LeaseVerbs};

/// A server with leases, and a keeper of its GPUs.
pub trait LeaseWorld: World {
    /// The handle: leases in process, or a client.
    type Leases: LeaseVerbs;

    /// A handle. Where a world has connections, each call may make one.
    fn leases(&self) -> Self::Leases;
}

/// One promise about leases.
pub struct LeaseCase<W: LeaseWorld> {
    /// The rule and what it says, such as `rule_9_3_who_was_replaced_is_told`.
    pub name: &'static str,
    run: fn(W::Leases, W::Api) -> CaseRun,
}

impl<W: LeaseWorld> LeaseCase<W> {
    pub(crate) const fn new(name: &'static str, run: fn(W::Leases, W::Api) -> CaseRun) -> Self {
        Self { name, run }
    }

    /// Runs the case in a world that nothing else uses, before or after.
    ///
    /// # Panics
    /// When the promise is broken, with what was expected and what happened.
    pub async fn run(&self, world: &W) {
        (self.run)(world.leases(), world.api()).await;
    }
}

impl<W: LeaseWorld> Debug for LeaseCase<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseCase").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names the cases of a module. A case that is left out is dead code, which the build refuses.
macro_rules! list {
    ($($case:ident),+ $(,)?) => {
        vec![$(crate::testing::leases::LeaseCase::new(
            stringify!($case),
            |leases, api| Box::pin($case(leases, api)),
        )),+]
    };
}
use list;

/// Every case about leases that can be seen through the traits.
#[must_use]
pub fn lease_cases<W: LeaseWorld>() -> Vec<LeaseCase<W>> {
    [requests::cases(), holding::cases(), identity::cases(), expiry::cases()].into_iter().flatten().collect()
}

/// A request for the lease of this name with one condition type, which has the name too.
pub(crate) fn asks(name: &str) -> AcquireLease {
    AcquireLease::new(name).with_condition_types([name])
}

/// Acquires a lease; it must succeed.
pub(crate) async fn acquire(leases: &impl LeaseVerbs, request: &AcquireLease) -> Lease {
    leases.acquire(request).await.unwrap_or_else(|error| panic!("acquire {request:?}: {error}"))
}

/// All leases; the list must succeed.
pub(crate) async fn listed(leases: &impl LeaseVerbs) -> Vec<Lease> {
    leases.list().await.unwrap_or_else(|error| panic!("a list of leases: {error}"))
}
