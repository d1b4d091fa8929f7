// SPDX-License-Identifier: Apache-2.0
//! Rule 2.3: create.

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{PostParams, Verbs};
use crate::resource::{Gpu, RecommendedAction};
use crate::testing::expect::{refused, refused_as_invalid};
use crate::testing::given::{
    at_version, condition_since, create, delete, get, gpu, latest, second, version, with_conditions, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_3_create_sets_uid_time_generation_and_version,
        rule_2_3_create_gives_each_object_a_random_uuid_of_its_own,
        rule_2_3_create_refuses_a_resource_version,
        rule_2_3_create_ignores_a_uid_timestamp_and_generation_that_the_client_sent,
        rule_2_3_create_keeps_a_status_that_comes_with_the_object,
        rule_2_3_create_of_an_existing_name_is_already_exists_and_changes_nothing,
        rule_2_3_create_after_delete_makes_a_new_object,
        rule_2_3_one_of_many_concurrent_creates_of_a_name_wins,
    ]
}

async fn rule_2_3_create_sets_uid_time_generation_and_version(api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let created = create(&api, &gpu("x")).await;
    assert!(!created.metadata.uid.is_empty(), "create sets a uid");
    let at = created.metadata.creation_timestamp.expect("create sets the creation timestamp");
    assert_eq!(at, at.truncated_to_seconds(), "the creation timestamp is in whole seconds, as in Kubernetes");
    assert_eq!(created.metadata.generation, 1);
    assert_eq!(version(&*created), before + 1);
    assert_eq!(get(&api, "x").await, created, "what create returned is what was stored");
}

async fn rule_2_3_create_gives_each_object_a_random_uuid_of_its_own(api: impl Verbs<Gpu>) {
    let (left, right) = (create(&api, &gpu("x")).await, create(&api, &gpu("y")).await);
    assert_ne!(left.metadata.uid, right.metadata.uid);
    for object in [left, right] {
        let uid = uuid::Uuid::parse_str(&object.metadata.uid).expect("a uid is a UUID");
        assert_eq!(uid.get_version(), Some(uuid::Version::Random), "a uid is a random UUID: {uid}");
    }
}

async fn rule_2_3_create_refuses_a_resource_version(api: impl Verbs<Gpu>) {
    let current = latest(&api).await.to_string();
    for sent in ["1", current.as_str(), "0", "nonsense"] {
        let outcome = api.create(&PostParams::default(), &at_version(&gpu("x"), sent)).await;
        refused_as_invalid(outcome, &format!("create with resource version {sent:?}"));
    }
    assert_eq!(api.get_opt("x").await, Ok(None));
}

async fn rule_2_3_create_ignores_a_uid_timestamp_and_generation_that_the_client_sent(api: impl Verbs<Gpu>) {
    let mut object = gpu("x");
    object.metadata.uid = "11111111-2222-4333-8444-555555555555".to_owned();
    object.metadata.creation_timestamp = Some(second(1));
    object.metadata.generation = 7;
    let created = create(&api, &object).await;
    assert_ne!(created.metadata.uid, object.metadata.uid);
    assert_ne!(created.metadata.creation_timestamp, object.metadata.creation_timestamp);
    assert_eq!(created.metadata.generation, 1);
}

async fn rule_2_3_create_keeps_a_status_that_comes_with_the_object(api: impl Verbs<Gpu>) {
    let ready = condition_since("Ready", "True", second(1_000)).with_reason("Initialized").with_message("up, ä");
    let mut object = with_conditions(&gpu("x"), [ready]);
    object.status.recommended_action = Some(RecommendedAction::ComponentReset);
    let created = create(&api, &object).await;
    assert_eq!(created.status, object.status);
    assert_eq!(get(&api, "x").await.status, object.status);
}

async fn rule_2_3_create_of_an_existing_name_is_already_exists_and_changes_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let outcome = api.create(&PostParams::default(), &with_uuid(&gpu("x"), "other")).await;
    refused(outcome, Reason::AlreadyExists, "create of a name that is taken");
    let outcome = api.create(&PostParams::default(), &gpu("x")).await;
    refused(outcome, Reason::AlreadyExists, "create of the very same object");
    assert_eq!(get(&api, "x").await, created);
    assert_eq!(latest(&api).await, version(&*created), "a refused create uses no revision");
}

async fn rule_2_3_create_after_delete_makes_a_new_object(api: impl Verbs<Gpu>) {
    let first = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    delete(&api, "x").await;
    let second = create(&api, &gpu("x")).await;
    assert_ne!(second.metadata.uid, first.metadata.uid, "the uid tells the two apart");
    assert_eq!(second.metadata.generation, 1);
    assert!(second.status.conditions.is_empty(), "nothing of the deleted object comes back");
    assert_eq!(version(&*second), version(&*first) + 2);
}

async fn rule_2_3_one_of_many_concurrent_creates_of_a_name_wins(api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let contenders: Vec<_> = (0..16)
        .map(|contender| {
            let api = api.clone();
            let object = with_uuid(&gpu("x"), &format!("contender-{contender}"));
            tokio::spawn(async move { api.create(&PostParams::default(), &object).await })
        })
        .collect();
    let mut winners = Vec::new();
    for contender in contenders {
        match contender.await.expect("a create does not panic") {
            Ok(created) => winners.push(created),
            Err(error) => assert_eq!(error.reason(), Reason::AlreadyExists, "a loser learns that the name is taken"),
        }
    }
    assert_eq!(winners.len(), 1, "one create wins, but these did: {winners:?}");
    assert_eq!(get(&api, "x").await, winners[0]);
    assert_eq!(latest(&api).await, before + 1);
}
