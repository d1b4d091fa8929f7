// SPDX-License-Identifier: Apache-2.0
//! Rule 9.2: who asks again without the id, by the holder's identity.

use std::time::Duration;

use super::{LeaseCase, LeaseWorld, acquire, asks, list, listed};
use crate::error::Reason;
use crate::lease::{AcquireLease, LeaseState, LeaseVerbs};
use crate::registry::Verbs;
use crate::resource::Gpu;
use crate::testing::expect::{refused, within};
use crate::testing::given::latest;

pub(super) fn cases<W: LeaseWorld>() -> Vec<LeaseCase<W>> {
    list![
        rule_9_2_who_asks_again_by_its_identity_has_the_same_lease,
        rule_9_2_of_many_with_one_identity_all_have_one_lease,
        rule_9_2_by_its_identity_a_holder_may_ask_for_another_duration_and_other_types,
        rule_9_2_by_its_identity_a_holder_revives_its_lease_and_is_told_so,
        rule_9_2_another_identity_is_refused,
        rule_9_2_an_empty_identity_is_nobody,
        rule_9_2_an_id_that_is_not_that_of_the_lease_is_refused_whatever_the_identity,
        rule_9_2_a_renewal_may_say_another_identity_and_without_one_it_stays,
    ]
}

fn mine() -> AcquireLease {
    asks("nvml").with_holder_identity("me")
}

async fn rule_9_2_who_asks_again_by_its_identity_has_the_same_lease(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &mine().take_over()).await;
    assert_eq!(lease.holder_identity, "me");
    assert_eq!(listed(&leases).await, std::slice::from_ref(&lease));
    let before = latest(&api).await;
    for request in [mine(), mine().take_over(), mine().with_id(&lease.id)] {
        let again = acquire(&leases, &request).await;
        assert_eq!((&again.id, again.state, again.acquired_at), (&lease.id, LeaseState::Held, lease.acquired_at));
        assert_eq!(listed(&leases).await, [again]);
    }
    assert_eq!(latest(&api).await, before, "to ask again is no write");
    leases.release("nvml", Some(&lease.id)).await.expect("a release");
    assert_ne!(acquire(&leases, &mine()).await.id, lease.id, "what was given back is another lease");
}

async fn rule_9_2_of_many_with_one_identity_all_have_one_lease(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let asking: Vec<_> = (0..16)
        .map(|number| {
            let leases = leases.clone();
            let request = if number % 2 == 0 { mine() } else { mine().take_over() };
            tokio::spawn(async move { acquire(&leases, &request).await.id })
        })
        .collect();
    let standing = || async { listed(&leases).await.remove(0).id };
    for asked in asking {
        assert_eq!(asked.await.expect("it does not panic"), standing().await);
    }
    assert_eq!(latest(&api).await, before + 1, "it is stored once");
}

async fn rule_9_2_by_its_identity_a_holder_may_ask_for_another_duration_and_other_types(
    leases: impl LeaseVerbs,
    _api: impl Verbs<Gpu>,
) {
    let lease = acquire(&leases, &mine()).await;
    let other = mine().with_duration(Duration::from_secs(77)).with_condition_types(["A", "B"]);
    let renewed = acquire(&leases, &other).await;
    assert_eq!((&renewed.id, renewed.acquired_at), (&lease.id, lease.acquired_at));
    assert_eq!(
        (renewed.duration, &renewed.condition_types[..]),
        (Duration::from_secs(77), &["A", "B"].map(String::from)[..])
    );
    assert_eq!(listed(&leases).await, [renewed]);
    // A type of another is refused, as in any renewal.
    acquire(&leases, &AcquireLease::new("heir").with_condition_types(["nvml"])).await;
    refused(leases.acquire(&mine().take_over()).await, Reason::Conflict, "a type of another");
}

async fn rule_9_2_by_its_identity_a_holder_revives_its_lease_and_is_told_so(
    leases: impl LeaseVerbs,
    _api: impl Verbs<Gpu>,
) {
    let lease = acquire(&leases, &mine().with_duration(Duration::from_secs(1))).await;
    let over = async {
        while listed(&leases).await[0].state == LeaseState::Held {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the lease to expire", over).await;
    let revived = acquire(&leases, &mine()).await;
    assert_eq!((&revived.id, revived.state), (&lease.id, LeaseState::Expired));
    assert_eq!(acquire(&leases, &mine()).await.state, LeaseState::Held, "it is said once");
}

async fn rule_9_2_another_identity_is_refused(leases: impl LeaseVerbs, api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &mine()).await;
    let before = latest(&api).await;
    for other in ["Me", "me ", " me", "m", "mee", &lease.id] {
        let request = asks("nvml").with_holder_identity(other);
        refused(leases.acquire(&request).await, Reason::Conflict, other);
    }
    assert_eq!((listed(&leases).await, latest(&api).await), (vec![lease.clone()], before));
    // To take over is to replace, and then the first one is another.
    let next = acquire(&leases, &asks("nvml").with_holder_identity("you").take_over()).await;
    assert_ne!(next.id, lease.id);
    refused(leases.acquire(&mine()).await, Reason::Conflict, "who was replaced");
    assert_eq!(listed(&leases).await, [next]);
}

async fn rule_9_2_an_empty_identity_is_nobody(leases: impl LeaseVerbs, _api: impl Verbs<Gpu>) {
    let lease = acquire(&leases, &asks("nvml")).await;
    assert_eq!(lease.holder_identity, "");
    for nobody in [asks("nvml"), asks("nvml").with_holder_identity("")] {
        refused(leases.acquire(&nobody).await, Reason::Conflict, "nobody is its holder");
    }
    refused(leases.acquire(&mine()).await, Reason::Conflict, "nor is anybody");
    assert_eq!(listed(&leases).await, std::slice::from_ref(&lease));
    assert_ne!(acquire(&leases, &asks("nvml").take_over()).await.id, lease.id);
}

async fn rule_9_2_an_id_that_is_not_that_of_the_lease_is_refused_whatever_the_identity(
    leases: impl LeaseVerbs,
    _api: impl Verbs<Gpu>,
) {
    refused(leases.acquire(&mine().with_id("x")).await, Reason::NotFound, "an id where there is no lease");
    let lease = acquire(&leases, &mine()).await;
    for id in ["x", "", "me"] {
        refused(leases.acquire(&mine().with_id(id)).await, Reason::Conflict, id);
    }
    assert_eq!(listed(&leases).await, [lease]);
}

async fn rule_9_2_a_renewal_may_say_another_identity_and_without_one_it_stays(
    leases: impl LeaseVerbs,
    api: impl Verbs<Gpu>,
) {
    let lease = acquire(&leases, &asks("nvml")).await;
    let before = latest(&api).await;
    for _ in 0..2 {
        assert_eq!(acquire(&leases, &mine().with_id(&lease.id)).await.holder_identity, "me");
        assert_eq!(acquire(&leases, &asks("nvml").with_id(&lease.id)).await.holder_identity, "me");
    }
    assert_eq!(latest(&api).await, before + 1, "it is stored when it is another");
    // Also where the renewal is a write.
    let renewal = asks("nvml").with_id(&lease.id).with_duration(Duration::from_secs(77));
    assert_eq!(acquire(&leases, &renewal).await.holder_identity, "me");
    assert_eq!(acquire(&leases, &mine()).await.id, lease.id);
}
