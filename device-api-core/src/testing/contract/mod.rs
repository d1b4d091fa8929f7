// SPDX-License-Identifier: Apache-2.0
//! The contract as cases: what every server of the API promises, whatever is behind it.
//!
//! A case is named after the rule that it holds, so that a list of the cases reads as the contract:
//! `rule_2_3_…` is about the third rule of section 2. The cases know nothing but the [`Verbs`], so
//! the same list runs against a registry in process, on every storage backend, and through a client
//! over a socket. What needs the inside of a registry (restarts, history, a clock) is in
//! [`local`](super::local).

mod conditions;
mod create;
mod delete;
mod devices;
mod dry_run;
mod errors;
mod initial_events;
mod names;
mod pages;
mod patch_bounds;
mod patch_identity;
mod patches;
mod reads;
mod selectors;
mod status_patches;
mod update;
mod versions;
mod watch_selectors;
mod watches;

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;

pub(crate) use self::conditions::ready;
use crate::registry::Verbs;
use crate::resource::Gpu;

/// What a case runs against: a server that is new, empty and the case's own.
pub trait World: Debug + Send + Sync + 'static {
    /// The handle: a registry in process, or a client.
    type Api: Verbs<Gpu>;

    /// A handle in the empty namespace. Where a world has connections, each call may make one.
    fn api(&self) -> Self::Api;
}

/// The run of a case. It panics where the contract is broken.
pub type CaseRun = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One promise of the contract.
pub struct ContractCase<W: World> {
    /// The rule and what it says, such as `rule_2_3_create_sets_uid_time_generation_and_version`.
    pub name: &'static str,
    run: fn(W::Api) -> CaseRun,
}

impl<W: World> ContractCase<W> {
    pub(crate) const fn new(name: &'static str, run: fn(W::Api) -> CaseRun) -> Self {
        Self { name, run }
    }

    /// Runs the case in a world that nothing else uses, before or after.
    ///
    /// # Panics
    /// When the promise is broken, with what was expected and what happened.
    pub async fn run(&self, world: &W) {
        (self.run)(world.api()).await;
    }
}

impl<W: World> Debug for ContractCase<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContractCase").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names the cases of a module. A case that is left out is dead code, which the build refuses.
macro_rules! list {
    ($($case:ident),+ $(,)?) => {
        vec![$(crate::testing::contract::ContractCase::new(
            stringify!($case),
            |api| Box::pin($case(api)),
        )),+]
    };
}
pub(crate) use list;

/// Every case of the contract that can be seen through the verbs.
#[must_use]
pub fn cases<W: World>() -> Vec<ContractCase<W>> {
    [
        names::cases(),
        create::cases(),
        versions::cases(),
        update::cases(),
        conditions::cases(),
        devices::cases(),
        delete::cases(),
        patches::cases(),
        status_patches::cases(),
        patch_bounds::cases(),
        patch_identity::cases(),
        dry_run::cases(),
        reads::cases(),
        pages::cases(),
        selectors::cases(),
        watches::cases(),
        watch_selectors::cases(),
        initial_events::cases(),
        super::linearizability::contract_cases(),
        errors::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
