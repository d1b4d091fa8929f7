// SPDX-License-Identifier: Apache-2.0
//! Rules 9.1 to 9.4 and 9.6: who has a lease.

use std::time::Duration;

use super::{LeaseCase, LeaseWorld, acquire, asks, list, listed};
use crate::error::Reason;
use crate::lease::{AcquireLease, LeaseState, LeaseVerbs};
use crate::registry::Verbs;
use crate::resource::Gpu;
use crate::testing::expect::refused;
use crate::testing::given::latest;

pub(super) fn cases<W: LeaseWorld>() -> Vec<LeaseCase<W>> {
    list![
        rule_9_1_a_free_lease_is_given_out_under_a_new_id,
        rule_9_1_a_lease_that_is_held_is_refused_with_since_when,
        rule_9_1_of_many_who_ask_at_once_one_has_it,
        rule_9_2_a_renewal_raises_no_version,
        rule_9_2_a_renewal_may_ask_for_another_duration_and_other_types,
        rule_9_3_who_was_replaced_is_told,
        rule_9_3_an_id_where_there_is_no_lease_is_not_found,
        rule_9_4_a_condition_type_belongs_to_one_lease_that_is_held,
        rule_9_6_a_lease_is_given_back_by_its_id,
    ]
}

async fn rule_9_1_a_free_lease_is_given_out_under_a_new_id(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let lease = acquire(&leases, &asks("nvml").with_duration(Duration::from_millis(90_500))).await;
    assert_eq!(lease.name, "nvml");
    assert_eq!(lease.duration, Duration::from_millis(90_500));
    assert_eq!(lease.condition_types, ["nvml"]);
    assert_eq!(lease.state, LeaseState::Held);
    assert_eq!(lease.renewed_at, lease.acquired_at);
    assert!(!lease.id.is_empty());
    assert_eq!(latest(&api).await, before + 1, "it is stored");

    let other = acquire(&leases, &asks("a")).await;
    assert_ne!(other.id, lease.id);
    assert_eq!(listed(&leases).await, [other, lease], "sorted by name");
}

async fn rule_9_1_a_lease_that_is_held_is_refused_with_since_when(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &asks("nvml")).await;
    let before = latest(&api).await;
    let error = refused(leases.acquire(&asks("nvml")).await, Reason::Conflict, "a second holder");
    assert!(error.to_string().contains(&lease.acquired_at.to_string()), "{error}");
    let expected = r#"Operation cannot be fulfilled on leases "nvml": it is held since "#;
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(listed(&leases).await, [lease]);
    assert_eq!(latest(&api).await, before);
}

async fn rule_9_1_of_many_who_ask_at_once_one_has_it(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    // They ask for one name, and then for one condition type.
    for (name, type_) in [(None, None), (Some("second"), Some("second"))] {
        let asking: Vec<_> = (0..16)
            .map(|number| {
                let leases = leases.clone();
                let name = name.map_or("first".to_owned(), |name| format!("{name}-{number}"));
                let type_ = type_.map_or(format!("T{number}"), str::to_owned);
                tokio::spawn(
                    async move { leases.acquire(&AcquireLease::new(name).with_condition_types([type_])).await },
                )
            })
            .collect();
        let mut given = Vec::new();
        for asked in asking {
            match asked.await.expect("it does not panic") {
                Ok(lease) => given.push(lease),
                Err(error) => assert!(error.is_conflict(), "{error}"),
            }
        }
        assert_eq!(given.len(), 1, "{given:?}");
        assert!(listed(&leases).await.contains(&given[0]));
    }
}

async fn rule_9_2_a_renewal_raises_no_version(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &asks("nvml")).await;
    let before = latest(&api).await;
    let mut last = lease.renewed_at;
    for _ in 0..10 {
        let renewed = acquire(&leases, &asks("nvml").with_id(&lease.id)).await;
        assert_eq!((&renewed.id, renewed.state), (&lease.id, LeaseState::Held));
        assert_eq!(renewed.acquired_at, lease.acquired_at);
        assert!(renewed.renewed_at >= last);
        last = renewed.renewed_at;
        assert_eq!(listed(&leases).await, [renewed]);
    }
    assert_eq!(latest(&api).await, before);
}

async fn rule_9_2_a_renewal_may_ask_for_another_duration_and_other_types(
    leases: impl LeaseVerbs,
    _api: impl Verbs<Gpu>,
) {
    let lease = acquire(&leases, &asks("nvml")).await;
    let other = asks("nvml").with_id(&lease.id).with_duration(Duration::from_secs(77)).with_condition_types(["A", "B"]);
    let renewed = acquire(&leases, &other).await;
    assert_eq!((&renewed.id, renewed.acquired_at), (&lease.id, lease.acquired_at));
    assert_eq!(renewed.duration, Duration::from_secs(77));
    assert_eq!(renewed.condition_types, ["A", "B"]);
    assert_eq!(listed(&leases).await, [renewed]);
    // What it has no more is free.
    acquire(&leases, &AcquireLease::new("heir").with_condition_types(["nvml"])).await;
}

async fn rule_9_3_who_was_replaced_is_told(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let first = acquire(&leases, &asks("nvml")).await;
    let second = acquire(&leases, &asks("nvml").take_over()).await;
    assert_ne!(second.id, first.id);
    for request in [asks("nvml").with_id(&first.id), asks("nvml").with_id(&first.id).take_over()] {
        let error = refused(leases.acquire(&request).await, Reason::Conflict, "a renewal of who was replaced");
        assert!(error.to_string().contains("taken over"), "{error}");
        assert!(error.to_string().contains(&second.acquired_at.to_string()), "{error}");
    }
    let error = leases.release("nvml", Some(&first.id)).await;
    refused(error, Reason::Conflict, "a release by who was replaced");
    assert_eq!(acquire(&leases, &asks("nvml").with_id(&second.id)).await.id, second.id);
}

async fn rule_9_3_an_id_where_there_is_no_lease_is_not_found(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let error = refused(leases.acquire(&asks("nvml").with_id("x")).await, Reason::NotFound, "a renewal of nothing");
    assert_eq!(error.to_string(), r#"leases "nvml" not found"#);
    for id in [None, Some("x")] {
        refused(leases.release("nvml", id).await, Reason::NotFound, "a release of nothing");
    }
}

async fn rule_9_4_a_condition_type_belongs_to_one_lease_that_is_held(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let owner = acquire(&leases, &AcquireLease::new("owner").with_condition_types(["A", "B"])).await;
    let other = AcquireLease::new("other").with_condition_types(["C", "B"]);
    for request in [other.clone(), other.clone().take_over()] {
        let error = refused(leases.acquire(&request).await, Reason::Conflict, "a type of another");
        let text = error.to_string();
        assert!(text.contains("\"B\"") && text.contains("\"owner\""), "{text}");
    }
    // Nor can a renewal take it.
    let lease = acquire(&leases, &AcquireLease::new("other").with_condition_types(["C"])).await;
    refused(leases.acquire(&other.clone().with_id(lease.id)).await, Reason::Conflict, "a renewal with such a type");
    leases.release("owner", Some(&owner.id)).await.expect("a release");
    acquire(&leases, &other.take_over()).await;
}

async fn rule_9_6_a_lease_is_given_back_by_its_id(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &asks("nvml")).await;
    refused(leases.release("nvml", None).await, Reason::Conflict, "a release without its id");
    refused(leases.release("nvml", Some("x")).await, Reason::Conflict, "a release with another id");
    let before = latest(&api).await;
    leases.release("nvml", Some(&lease.id)).await.expect("a release");
    assert_eq!(listed(&leases).await, []);
    assert_eq!(latest(&api).await, before + 1, "that is stored, too");
    assert_ne!(acquire(&leases, &asks("nvml")).await.id, lease.id);
}
