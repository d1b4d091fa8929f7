// SPDX-License-Identifier: Apache-2.0
//! The part of the contract that needs the inside of a registry: restarts, history, a clock, storage
//! that fails.
//!
//! The cases are named after the rules as those of [`contract`](super::contract) are. Each gets a
//! [`Fixture`]: a store of its own, a clock that the case moves and faults that it plans.

mod fixture;
mod history;
mod leases;
mod limits;
mod nic;
mod order;
mod quarantine;
mod restarts;
mod sharing;
mod shutdown;
mod watching;

use std::fmt;

pub use self::fixture::{Fixture, InProcess, Running};
pub use self::nic::{Nic, NicSpec, NicStatus, NicStrategy};
use super::CaseFuture;

/// One promise of the contract that a registry is tested for in process.
pub struct LocalCase {
    /// The rule and what it says.
    pub name: &'static str,
    run: fn(Fixture) -> CaseFuture,
}

impl LocalCase {
    pub(crate) const fn new(name: &'static str, run: fn(Fixture) -> CaseFuture) -> Self {
        Self { name, run }
    }

    /// Runs the case on a fixture that nothing else uses, before or after.
    ///
    /// # Panics
    /// When the promise is broken, with what was expected and what happened.
    pub async fn run(&self, fixture: Fixture) {
        (self.run)(fixture).await;
    }
}

impl fmt::Debug for LocalCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCase").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names the cases of a module. A case that is left out is dead code, which the build refuses.
macro_rules! list {
    ($($case:ident),+ $(,)?) => {
        vec![$(crate::testing::local::LocalCase::new(
            stringify!($case),
            |fixture| Box::pin($case(fixture)),
        )),+]
    };
}
pub(crate) use list;

/// Every case that needs the inside of a registry.
#[must_use]
pub fn local_cases() -> Vec<LocalCase> {
    [
        restarts::cases(),
        history::cases(),
        watching::cases(),
        shutdown::cases(),
        sharing::cases(),
        order::cases(),
        quarantine::cases(),
        leases::cases(),
        limits::cases(),
        super::faults::cases(),
        super::model::cases(),
        super::linearizability::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
