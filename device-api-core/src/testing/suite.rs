// SPDX-License-Identifier: Apache-2.0
//! Runs the cases of the registry on a backend: the contract, and what needs the inside.

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use super::backend::{Backend, check};
use super::contract;
use super::leases;
use super::local::{self, Fixture, InProcess};

/// Every case that a registry on this backend must pass, under the names `contract::…`, `leases::…` and `local::…`.
pub(super) fn trials(backend: &Arc<dyn Backend>) -> Vec<Trial> {
    let contract = contract::cases::<InProcess>().into_iter().map(|case| {
        trial(backend, format!("contract::{}", case.name), move |backend| async move {
            let world = InProcess::new(backend).await?;
            case.run(&world).await;
            Ok(())
        })
    });
    let leases = leases::lease_cases::<InProcess>().into_iter().map(|case| {
        trial(backend, format!("leases::{}", case.name), move |backend| async move {
            let world = InProcess::new(backend).await?;
            case.run(&world).await;
            Ok(())
        })
    });
    let local = local::local_cases().into_iter().map(|case| {
        trial(backend, format!("local::{}", case.name), move |backend| async move {
            case.run(Fixture::new(backend).await?).await;
            Ok(())
        })
    });
    contract.chain(leases).chain(local).collect()
}

fn trial<F>(backend: &Arc<dyn Backend>, name: String, run: impl FnOnce(Arc<dyn Backend>) -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<(), Failed>> + Send + 'static,
{
    let backend = Arc::clone(backend);
    let kind = backend.name().to_owned();
    Trial::test(name, move || check(run(backend))).with_kind(kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The rules of sections 2 to 4 and 9 of the contract, and the rows of section 5 that can be provoked
    /// without a socket.
    fn rules() -> Vec<String> {
        let numbered = [(2, 11), (3, 6), (4, 7), (9, 8)]
            .into_iter()
            .flat_map(|(section, last)| (1..=last).map(move |rule| format!("rule_{section}_{rule}_")));
        let rows = [
            "invalid_argument",
            "not_found",
            "already_exists",
            "aborted",
            "out_of_range_expired",
            "out_of_range_too_large",
            "unavailable",
            "resource_exhausted",
            "internal",
        ];
        numbered.chain(rows.map(|row| format!("rule_5_{row}_"))).collect()
    }

    fn names_over_the_wire() -> Vec<&'static str> {
        let (contract, leases) = (contract::cases::<InProcess>(), leases::lease_cases::<InProcess>());
        contract.iter().map(|case| case.name).chain(leases.iter().map(|case| case.name)).collect()
    }

    fn names() -> Vec<&'static str> {
        names_over_the_wire().into_iter().chain(local::local_cases().iter().map(|case| case.name)).collect()
    }

    #[test]
    fn every_rule_of_the_contract_has_a_case() {
        let names = names();
        for rule in rules() {
            assert!(names.iter().any(|name| name.starts_with(&rule)), "{rule} has no case");
        }
    }

    #[test]
    fn every_case_names_a_rule_and_no_two_have_one_name() {
        let (names, rules) = (names(), rules());
        for name in &names {
            let is_known = rules.iter().any(|rule| name.starts_with(rule.as_str()));
            assert!(is_known || name.starts_with("model_") || name.starts_with("rule_5_"), "{name}");
        }
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn what_can_be_seen_through_the_verbs_has_a_case_that_runs_over_the_wire_too() {
        let names = names_over_the_wire();
        // Damage, a slow watcher, a full store, a bug and a restart are seen from inside only.
        let inside = ["rule_3_6_", "rule_4_6_", "rule_5_unavailable_", "rule_5_internal_", "rule_9_7_"];
        for rule in rules().iter().filter(|rule| !inside.contains(&rule.as_str())) {
            assert!(names.iter().any(|name| name.starts_with(rule)), "{rule} has no case over the wire");
        }
    }
}
