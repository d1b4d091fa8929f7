// SPDX-License-Identifier: Apache-2.0
//! Rule 2.8: delete.

use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{DeleteParams, Verbs, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{Events, names, refused};
use crate::testing::given::{create, delete, get, gpu, labelled, latest, replace, version, with_uuid};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_8_a_deleted_object_is_gone_from_every_read,
        rule_2_8_delete_of_a_name_that_does_not_exist_is_not_found,
        rule_2_8_delete_honours_the_uid_precondition,
        rule_2_8_delete_honours_the_resource_version_precondition,
        rule_2_8_delete_needs_both_preconditions_to_hold,
        rule_2_8_a_precondition_on_what_does_not_exist_is_not_found,
        rule_2_8_the_deleted_event_carries_the_last_state_with_the_delete_s_own_version,
    ]
}

async fn rule_2_8_a_deleted_object_is_gone_from_every_read(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    create(&api, &gpu("y")).await;
    delete(&api, "x").await;
    refused(api.get("x").await, Reason::NotFound, "get of a deleted object");
    let list = api.list(&Default::default()).await.expect("a list");
    assert_eq!(names(&list.items), ["y"]);
}

async fn rule_2_8_delete_of_a_name_that_does_not_exist_is_not_found(api: impl Verbs<Gpu>) {
    refused(api.delete("x", &DeleteParams::default()).await, Reason::NotFound, "delete of what never was");
    create(&api, &gpu("x")).await;
    delete(&api, "x").await;
    refused(api.delete("x", &DeleteParams::default()).await, Reason::NotFound, "the second delete");
}

async fn rule_2_8_delete_honours_the_uid_precondition(api: impl Verbs<Gpu>) {
    let first = create(&api, &gpu("x")).await;
    delete(&api, "x").await;
    let second = create(&api, &gpu("x")).await;
    let outcome = api.delete("x", &DeleteParams::default().uid(&first.metadata.uid)).await;
    refused(outcome, Reason::Conflict, "delete with the uid of an earlier object of the name");
    assert_eq!(get(&api, "x").await, second);
    api.delete("x", &DeleteParams::default().uid(&second.metadata.uid)).await.expect("the uid holds");
    assert_eq!(api.get_opt("x").await, Ok(None));
}

async fn rule_2_8_delete_honours_the_resource_version_precondition(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    let stale = DeleteParams::default().resource_version(&created.metadata.resource_version);
    refused(api.delete("x", &stale).await, Reason::Conflict, "delete at a version that was current");
    assert_eq!(get(&api, "x").await, current);
    let holds = DeleteParams::default().resource_version(&current.metadata.resource_version);
    api.delete("x", &holds).await.expect("the version holds");
    assert_eq!(api.get_opt("x").await, Ok(None));
}

async fn rule_2_8_delete_needs_both_preconditions_to_hold(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let (uid, at) = (&created.metadata.uid, &created.metadata.resource_version);
    for (uid, at) in [(uid.as_str(), "1"), ("other", at.as_str()), ("other", "1")] {
        let outcome = api.delete("x", &DeleteParams::default().uid(uid).resource_version(at)).await;
        refused(outcome, Reason::Conflict, &format!("delete with uid {uid:?} at {at:?}"));
    }
    assert_eq!(get(&api, "x").await, created);
    api.delete("x", &DeleteParams::default().uid(uid).resource_version(at)).await.expect("both hold");
}

async fn rule_2_8_a_precondition_on_what_does_not_exist_is_not_found(api: impl Verbs<Gpu>) {
    let outcome = api.delete("x", &DeleteParams::default().uid("u").resource_version("1")).await;
    refused(outcome, Reason::NotFound, "delete of what does not exist with preconditions");
}

async fn rule_2_8_the_deleted_event_carries_the_last_state_with_the_delete_s_own_version(api: impl Verbs<Gpu>) {
    let created = create(&api, &labelled("x", "a", "b")).await;
    let last = replace(&api, &with_uuid(&created, "changed")).await;
    let mut events = Events::of(&api, WatchParams::default().at(&last.metadata.resource_version)).await;
    delete(&api, "x").await;
    let gone = events.deleted::<Gpu>("x").await;
    assert_eq!(version(&*gone), version(&*last) + 1, "the delete is a write with a version of its own");
    assert_eq!(version(&*gone), latest(&api).await);
    let mut expected = (*last).clone();
    expected.metadata.resource_version.clone_from(&gone.metadata.resource_version);
    assert_eq!(*gone, expected, "all else is the last state");
}
