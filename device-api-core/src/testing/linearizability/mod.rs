// SPDX-License-Identifier: Apache-2.0
//! Rule 3.1 and the lost update: what some clients did at once is what they could have done one
//! after the other.
//!
//! `record` lets clients work on few objects and writes down what they asked, when, and what they
//! were answered; [`check`] is a pure function that finds what no order explains. The order of writes
//! need not be searched for: their revisions are one.

mod check;
#[cfg(test)]
mod check_tests;
mod history;
mod record;

use std::sync::Arc;

pub use self::check::{Violation, check};
pub use self::history::{Call, Committed, History, Operation, Reply, State};
pub use self::record::Load;
pub(crate) use self::record::record;
use super::contract::{ContractCase, World};
use super::local::{Fixture, LocalCase};
use super::seed::Seed;
use crate::Result;
use crate::patch::Patch;
use crate::registry::{DeleteParams, GetParams, List, ListParams, PatchParams, PostParams, Verbs, WatchParams};
use crate::resource::Gpu;
use crate::testing::given::unversioned;

/// The cases that run over the verbs alone.
pub(super) fn contract_cases<W: World>() -> Vec<ContractCase<W>> {
    super::contract::list![rule_3_1_what_eight_clients_did_at_once_is_linearizable]
}

/// The cases that need the inside.
pub(super) fn cases() -> Vec<LocalCase> {
    super::local::list![rule_2_6_a_registry_that_ignored_versions_would_be_noticed]
}

async fn rule_3_1_what_eight_clients_did_at_once_is_linearizable(api: impl Verbs<Gpu>) {
    let history = record(&api, Load::default(), &Seed::new()).await;
    if let Err(violation) = check(&history) {
        panic!("{violation}");
    }
}

async fn rule_2_6_a_registry_that_ignored_versions_would_be_noticed(fixture: Fixture) {
    // The case above proves nothing unless it can fail.
    for _ in 0..20 {
        let running = fixture.start().await;
        let history = record(&Careless(running.gpus.clone()), Load::default(), &Seed::new()).await;
        for key in 0..Load::default().keys {
            let _ = running.gpus.delete(&record::key(key), &DeleteParams::default()).await;
        }
        let _ = running.gpus.delete(record::MARKER, &DeleteParams::default()).await;
        running.stop().await;
        match check(&history) {
            Err(violation) if matches!(*violation, Violation::Precondition { .. }) => return,
            Err(other) => panic!("expected a lost update, got: {other}"),
            Ok(()) => {}
        }
    }
    panic!("a registry without the version check was not noticed in 20 runs");
}

/// A handle to a registry whose version check was removed.
#[derive(Clone, Debug)]
struct Careless<A>(A);

impl<A: Verbs<Gpu>> Verbs<Gpu> for Careless<A> {
    type Watch = A::Watch;

    fn namespace(&self) -> &str {
        self.0.namespace()
    }

    fn namespaced(&self, namespace: &str) -> Self {
        Self(self.0.namespaced(namespace))
    }

    async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<Gpu>> {
        self.0.get_with(name, params).await
    }

    async fn list(&self, params: &ListParams) -> Result<List<Gpu>> {
        self.0.list(params).await
    }

    async fn watch(&self, params: &WatchParams) -> Result<Self::Watch> {
        self.0.watch(params).await
    }

    async fn create(&self, params: &PostParams, object: &Gpu) -> Result<Arc<Gpu>> {
        self.0.create(params, object).await
    }

    async fn replace(&self, name: &str, params: &PostParams, object: &Gpu) -> Result<Arc<Gpu>> {
        self.0.replace(name, params, &unversioned(object)).await
    }

    async fn replace_status(&self, name: &str, params: &PostParams, object: &Gpu) -> Result<Arc<Gpu>> {
        self.0.replace_status(name, params, &unversioned(object)).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<Gpu>> {
        self.0.patch(name, params, patch).await
    }

    async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<Gpu>> {
        self.0.patch_status(name, params, patch).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.0.delete(name, params).await
    }
}
