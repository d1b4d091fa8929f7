// SPDX-License-Identifier: Apache-2.0
//! Leases that the store could not read, and writes that it has lost. Whose they were, and of which conditions, nobody knows: so
//! whatever no lease stands for is Unknown, until somebody says it again.

use std::collections::BTreeSet;

use super::keep::change_conditions;
use super::record::LeaseRecord;
use super::{DEFAULT_DURATION, Leases, PROVIDER_LOST};
use crate::Result;
use crate::registry::Registry;
use crate::resource::{Condition, ConditionStatus, Conditions as _, Resource};

/// What such a condition says.
const MESSAGE: &str =
    "a stored lease cannot be read, or writes were lost: what is stored of this may not be what was said last";

impl Leases {
    /// Where a lease may be in quarantine, or writes were lost, sets to Unknown what nobody has a lease for, once after each opening of the ledger.
    ///
    /// A holder that lives has until then as long as a lease lasts by default to notice that its lease is gone and to acquire it
    /// anew. Others that live say again what they see; one that does not live never does.
    pub(super) async fn doubt<R: Resource>(&self, objects: &Registry<R>) -> Result<()> {
        self.deadlines.pass(self.opened + DEFAULT_DURATION).await;
        if self.is_settled(R::PLURAL) || !objects.ledger().doubts::<LeaseRecord>().await? {
            return Ok(());
        }
        tracing::warn!(
            resource = R::PLURAL,
            "a stored lease cannot be read, or writes were lost: conditions that nobody has a lease for become Unknown"
        );
        let mut failed = None;
        for object in objects.all() {
            let held = self.held_types();
            if object.status().conditions().iter().any(|condition| is_doubtful(condition, &held)) {
                let (leases, now) = (self.clone(), self.now().truncated_to_seconds());
                let change = move |conditions: &mut [Condition]| {
                    let held = leases.held_types();
                    for condition in conditions.iter_mut().filter(|condition| is_doubtful(condition, &held)) {
                        condition.status = ConditionStatus::Unknown;
                        condition.last_transition_time = Some(now);
                        PROVIDER_LOST.clone_into(&mut condition.reason);
                        MESSAGE.clone_into(&mut condition.message);
                    }
                };
                match change_conditions(objects, object.metadata(), change).await {
                    // What is wrong with one object keeps from no other.
                    Err(error) if !error.is_unavailable() => failed = failed.or(Some(error)),
                    other => other?,
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.settle(R::PLURAL);
        Ok(())
    }

    /// The types of leases that are held.
    fn held_types(&self) -> BTreeSet<String> {
        let records = self.records.all();
        let held = records.iter().map(|record| record.spec()).filter(|spec| !self.deadlines.is_over(spec));
        held.flat_map(|spec| spec.condition_types.iter().cloned()).collect()
    }
}

fn is_doubtful(condition: &Condition, held: &BTreeSet<String>) -> bool {
    condition.status != ConditionStatus::Unknown && !held.contains(&condition.type_)
}
