// SPDX-License-Identifier: Apache-2.0
//! Rule 9.8: what a request must be like.

use std::time::Duration;

use super::{LeaseCase, LeaseWorld, acquire, asks, list, listed};
use crate::error::Reason;
use crate::lease::{AcquireLease, LeaseVerbs, unique_identity};
use crate::registry::Verbs;
use crate::resource::Gpu;
use crate::testing::expect::{refused, refused_field};
use crate::testing::given::latest;

pub(super) fn cases<W: LeaseWorld>() -> Vec<LeaseCase<W>> {
    list![
        rule_9_8_names_are_those_of_kubernetes,
        rule_9_8_a_lease_has_one_to_64_condition_types_each_once,
        rule_9_8_an_identity_is_at_most_128_printable_ascii_characters,
        rule_9_8_a_duration_is_one_second_to_one_hour,
        rule_9_8_all_that_is_wrong_is_said_at_once_and_nothing_is_done,
    ]
}

async fn rule_9_8_names_are_those_of_kubernetes(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let long = "n".repeat(254);
    for bad in ["", "Nvml", "a b", "a/b", "a_b", "ä", "\0", "-", long.as_str()] {
        let request = AcquireLease::new(bad).with_condition_types(["T"]);
        refused_field(leases.acquire(&request).await, "name", bad);
        refused_field(leases.release(bad, None).await, "name", bad);
        refused_field(leases.release(bad, Some("id")).await, "name", bad);
    }
    for good in ["nvml", "gpu.health-monitor", "0", &"n".repeat(253)] {
        acquire(&leases, &AcquireLease::new(good).with_condition_types([format!("T-{}", good.len())])).await;
    }
}

async fn rule_9_8_a_lease_has_one_to_64_condition_types_each_once(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let types = |count: usize| (0..count).map(|number| format!("example.com/T{number}"));
    let request = AcquireLease::new("nvml");
    refused_field(leases.acquire(&request).await, "conditionTypes", "no type");
    let error = leases.acquire(&request.clone().with_condition_types(types(65))).await;
    assert_eq!(refused_field(error, "conditionTypes", "65 types").violations().len(), 1);
    for (field, bad) in [("conditionTypes[1]", ["A", "no spaces"]), ("conditionTypes[1]", ["A", "A"])] {
        refused_field(leases.acquire(&request.clone().with_condition_types(bad)).await, field, bad[1]);
    }
    let long = "T".repeat(8 << 10);
    refused(leases.acquire(&request.clone().with_condition_types([long])).await, Reason::Invalid, "a long type")
        .violations()
        .iter()
        .for_each(|violation| assert_eq!(violation.field, "conditionTypes[0]"));
    acquire(&leases, &request.with_condition_types(types(64))).await;
}

async fn rule_9_8_an_identity_is_at_most_128_printable_ascii_characters(
    leases: impl LeaseVerbs,
    _api: impl Verbs<Gpu>,
) {
    let request = |identity: &str| asks("nvml").take_over().with_holder_identity(identity);
    let long = "i".repeat(129);
    for bad in ["\0", "a\nb", "\x1b[2J", "\x7f", "ä", "\u{202e}abc", long.as_str()] {
        refused_field(leases.acquire(&request(bad)).await, "holderIdentity", bad);
        refused_field(leases.acquire(&request(bad).with_id("x")).await, "holderIdentity", bad);
    }
    assert_eq!(listed(&leases).await, []);
    for good in ["", " ", "~", "thermal-x7k2p_3f0c1d5e \"{}\\", &"i".repeat(128), &unique_identity()] {
        assert_eq!(acquire(&leases, &request(good)).await.holder_identity, good);
    }
}

async fn rule_9_8_a_duration_is_one_second_to_one_hour(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let nano = Duration::from_nanos(1);
    let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(3600));
    for bad in [Duration::ZERO, shortest - nano, longest + nano, Duration::MAX] {
        refused_field(leases.acquire(&asks("nvml").with_duration(bad)).await, "duration", &format!("{bad:?}"));
    }
    for good in [shortest, shortest + nano, longest] {
        let lease = acquire(&leases, &asks("nvml").with_duration(good).take_over()).await;
        assert_eq!(lease.duration, good);
    }
}

async fn rule_9_8_all_that_is_wrong_is_said_at_once_and_nothing_is_done(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let request = AcquireLease::new("N")
        .with_holder_identity("\0")
        .with_duration(Duration::ZERO)
        .with_condition_types(["", "A", "A"]);
    let error = refused(leases.acquire(&request).await, Reason::Invalid, "all wrong");
    let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["name", "holderIdentity", "duration", "conditionTypes[0]", "conditionTypes[2]"]);
    assert!(error.to_string().starts_with("Lease \"N\" is invalid: "), "{error}");
    assert_eq!(listed(&leases).await, []);
    assert_eq!(latest(&api).await, before);
}
