// SPDX-License-Identifier: Apache-2.0
//! Rules 9.2, 9.5 and 9.6: what becomes of a lease that nobody renews.

use std::sync::Arc;
use std::time::Duration;

use super::{LeaseCase, LeaseWorld, acquire, asks, list, listed};
use crate::lease::{AcquireLease, LeaseState, LeaseVerbs, PROVIDER_LOST};
use crate::registry::{Verbs, WatchParams, WatchStream};
use crate::resource::{Condition, ConditionStatus, Gpu};
use crate::testing::expect::{Events, within};
use crate::testing::given::{create, get, gpu, gpu_in, latest, replace_status, with_conditions};

pub(super) fn cases<W: LeaseWorld>() -> Vec<LeaseCase<W>> {
    list![
        rule_9_2_a_lease_that_had_expired_is_revived_and_says_so,
        rule_9_5_the_conditions_of_a_lost_provider_are_unknown_on_every_object,
        rule_9_5_a_lost_provider_is_overruled_until_it_renews,
        rule_9_6_an_expired_lease_may_be_removed_without_its_id,
    ]
}

/// The shortest lease.
fn brief(name: &str) -> AcquireLease {
    asks(name).with_duration(Duration::from_secs(1))
}

fn fine(types: &[&str]) -> Vec<Condition> {
    types.iter().map(|type_| Condition::new(*type_, ConditionStatus::True).with_reason("Fine")).collect()
}

fn is_lost(condition: &Condition) -> bool {
    condition.status == ConditionStatus::Unknown && condition.reason == PROVIDER_LOST
}

/// The object in a state in which its only condition is, or is not, lost.
async fn seen<S: WatchStream<Gpu>>(events: &mut Events<S>, lost: bool) -> Arc<Gpu> {
    loop {
        let event = events.event("a change of a condition").await;
        let object = event.object().expect("an object");
        if is_lost(&object.status.conditions[0]) == lost {
            return Arc::clone(object);
        }
    }
}

async fn expired(leases: &impl LeaseVerbs) {
    let wait = async {
        while listed(leases).await.iter().any(|lease| lease.state == LeaseState::Held) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("all leases to expire", wait).await;
}

async fn rule_9_2_a_lease_that_had_expired_is_revived_and_says_so(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &brief("nvml")).await;
    expired(&leases).await;
    let renewal = asks("nvml").with_id(&lease.id);
    let revived = acquire(&leases, &renewal).await;
    assert_eq!((&revived.id, revived.state), (&lease.id, LeaseState::Expired));
    assert_eq!(listed(&leases).await[0].state, LeaseState::Held);
    assert_eq!(acquire(&leases, &renewal).await.state, LeaseState::Held, "it is said once");
    // One that expired and was given to another is not revived.
    acquire(&leases, &brief("other")).await;
    leases.release("nvml", Some(&lease.id)).await.expect("a release");
    expired(&leases).await;
    let next = acquire(&leases, &asks("other")).await;
    assert_eq!(next.state, LeaseState::Held);
}

async fn rule_9_5_the_conditions_of_a_lost_provider_are_unknown_on_every_object(
    leases: impl LeaseVerbs,
    api: impl Verbs<Gpu>,
) {
    create(&api, &with_conditions(&gpu("a"), fine(&["nvml", "thermal"]))).await;
    create(&api, &with_conditions(&gpu_in("left", "a"), fine(&["thermal", "nvml"]))).await;
    let bystander = create(&api, &with_conditions(&gpu("b"), fine(&["thermal"]))).await;
    let before = latest(&api).await;
    let mut events = Events::of(&api, WatchParams::default().at(before.to_string())).await;
    acquire(&leases, &brief("nvml")).await;
    acquire(&leases, &asks("thermal")).await;

    for _ in 0..2 {
        let object: Arc<Gpu> = events.modified("a").await;
        let [lost, other] = ["nvml", "thermal"].map(|type_| {
            object.status.conditions.iter().find(|condition| condition.type_ == type_).expect("both conditions").clone()
        });
        assert!(is_lost(&lost), "{lost:?}");
        assert!(lost.message.contains("\"nvml\""), "the message names the provider: {lost:?}");
        assert_eq!(other.status, ConditionStatus::True);
        assert_eq!(other.reason, "Fine");
    }
    assert_eq!(get(&api, "b").await, bystander);
    // Two leases, one expiry, two objects.
    assert_eq!(latest(&api).await, before + 5);
}

async fn rule_9_5_a_lost_provider_is_overruled_until_it_renews(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let healthy = with_conditions(&gpu("a"), fine(&["nvml"]));
    create(&api, &gpu("a")).await;
    replace_status(&api, &healthy).await;
    let params = WatchParams::default().at(latest(&api).await.to_string());
    let mut events = Events::of(&api, params).await;
    let lease = acquire(&leases, &brief("nvml")).await;
    seen(&mut events, true).await;
    for _ in 0..3 {
        replace_status(&api, &healthy).await;
        seen(&mut events, false).await;
        seen(&mut events, true).await;
    }
    let revived = acquire(&leases, &asks("nvml").with_id(lease.id)).await;
    assert_eq!(revived.state, LeaseState::Expired);
    let stored = replace_status(&api, &healthy).await;
    assert_eq!(seen(&mut events, false).await, stored);
    // A keeper that had not heard of the renewal would have come to this one by now.
    let second = create(&api, &with_conditions(&gpu("b"), fine(&["nvml"]))).await;
    events.added::<Gpu>("b").await;
    acquire(&leases, &asks("other")).await;
    assert_eq!((get(&api, "a").await, get(&api, "b").await), (stored, second));
}

async fn rule_9_6_an_expired_lease_may_be_removed_without_its_id(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&gpu("a"), fine(&["nvml"]))).await;
    let params = WatchParams::default().at(latest(&api).await.to_string());
    let mut events = Events::of(&api, params).await;
    acquire(&leases, &brief("nvml")).await;
    let lost = seen(&mut events, true).await;
    leases.release("nvml", None).await.expect("a release");
    assert_eq!(listed(&leases).await, []);
    assert_eq!(get(&api, "a").await, lost, "conditions stay as they are");
}
