// SPDX-License-Identifier: Apache-2.0
//! Rules 2.5 and 2.6: update and status update.

use std::sync::Arc;

use super::conditions::{hot, ready};
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{Part, PostParams, Verbs, WatchParams};
use crate::resource::{Condition, Gpu, GpuDevice, GpuStatus, GpuTelemetry, RecommendedAction, XidRecord};
use crate::testing::expect::{Events, refused, refused_as_invalid, within};
use crate::testing::given::{
    at_version, condition, create, delete, get, gpu, latest, replace, replace_status, second, unversioned, version,
    with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_5_update_replaces_labels_annotations_and_spec,
        rule_2_5_update_ignores_status,
        rule_2_5_status_update_replaces_status,
        rule_2_5_status_update_ignores_metadata_and_spec,
        rule_2_5_what_a_replacement_lacks_is_emptied,
        rule_2_5_generation_rises_by_one_when_spec_changed_and_only_then,
        rule_2_5_generation_that_the_client_sent_is_ignored,
        rule_2_5_update_keeps_uid_and_creation_timestamp,
        rule_2_5_an_update_that_changes_nothing_commits_nothing,
        rule_2_5_a_status_update_that_changes_nothing_commits_nothing,
        rule_2_5_an_update_of_another_name_than_the_request_s_is_refused,
        rule_2_6_an_update_with_the_current_version_succeeds,
        rule_2_6_an_update_with_a_stale_version_is_a_conflict_and_writes_nothing,
        rule_2_6_a_stale_version_is_a_conflict_even_if_nothing_would_change,
        rule_2_6_a_future_version_is_a_conflict,
        rule_2_6_an_update_without_a_version_never_conflicts,
        rule_2_6_what_is_read_changed_and_tried_again_loses_no_update,
        rule_2_6_changing_the_uid_is_invalid,
        rule_2_6_changing_the_creation_timestamp_is_invalid,
        rule_2_6_an_update_of_a_name_that_does_not_exist_is_not_found,
        rule_2_6_an_update_of_a_deleted_and_remade_object_by_its_old_uid_is_refused,
    ]
}

async fn rule_2_5_update_replaces_labels_annotations_and_spec(api: impl Verbs<Gpu>) {
    let mut object = with_label(&gpu("x"), "gone", "1");
    object.metadata = object.metadata.with_annotation("gone", "1");
    let created = create(&api, &object).await;
    let mut object = with_label(&gpu("x"), "new", "2");
    object.metadata = object.metadata.with_annotation("fresh", "2");
    object.spec.uuid = "changed".to_owned();
    let replaced = replace(&api, &object).await;
    assert_eq!(replaced.metadata.labels, object.metadata.labels, "labels that the update lacks are gone");
    assert_eq!(replaced.metadata.annotations, object.metadata.annotations);
    assert_eq!(replaced.spec, object.spec);
    assert_eq!(version(&*replaced), version(&*created) + 1);
    assert_eq!(get(&api, "x").await, replaced, "what update returned is what was stored");
}

async fn rule_2_5_update_ignores_status(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    let mut object = with_conditions(&with_uuid(&created, "changed"), [ready("False"), ready("nonsense")]);
    object.status.recommended_action = Some(RecommendedAction::RestartBm);
    let replaced = replace(&api, &object).await;
    assert_eq!(replaced.status, created.status, "an update ignores the status, even one that is not valid");
    assert_eq!(replaced.spec.uuid, "changed");
}

async fn rule_2_5_status_update_replaces_status(api: impl Verbs<Gpu>) {
    let mut object = with_conditions(&gpu("x"), [ready("True")]);
    object.status.recommended_action = Some(RecommendedAction::RestartBm);
    create(&api, &object).await;
    let replaced = replace_status(&api, &with_conditions(&gpu("x"), [hot("False")])).await;
    let types: Vec<_> = replaced.status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["Hot"], "conditions that the update lacks are gone");
    assert_eq!(replaced.status.recommended_action, None);
    assert_eq!(get(&api, "x").await, replaced);
}

async fn rule_2_5_what_a_replacement_lacks_is_emptied(api: impl Verbs<Gpu>) {
    let mut full = with_label(&gpu("x"), "a", "b");
    full.metadata = full.metadata.with_annotation("a", "b");
    full.status.conditions = vec![Condition { observed_generation: Some(1), ..ready("True") }];
    full.status.device = Some(GpuDevice { index: Some(1), ..GpuDevice::default() });
    full.status.telemetry = Some(GpuTelemetry { temperature_celsius: Some(40), ..GpuTelemetry::default() });
    full.status.xids = vec![XidRecord { xid: 13, count: 1, ..XidRecord::default() }];
    let created = create(&api, &full).await;
    assert_eq!((created.metadata.labels.len(), created.status.xids.len()), (1, 1));
    let replaced = replace(&api, &gpu("x")).await;
    assert!(replaced.metadata.labels.is_empty() && replaced.metadata.annotations.is_empty(), "{replaced:?}");
    assert_eq!(replaced.status, created.status);
    let replaced = replace_status(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    let GpuStatus { conditions, device, telemetry, xids, .. } = &replaced.status;
    assert_eq!((conditions[0].observed_generation, device, telemetry, xids.len()), (None, &None, &None, 0));
}

async fn rule_2_5_status_update_ignores_metadata_and_spec(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_label(&gpu("x"), "a", "b")).await;
    let mut object = with_conditions(&with_label(&gpu("x"), "a", "no spaces"), [ready("True")]);
    object.metadata = object.metadata.with_annotation("new", "1");
    object.spec.uuid = "u".repeat(1_000);
    object.metadata.generation = 9;
    let replaced = replace_status(&api, &object).await;
    assert_eq!(replaced.metadata.labels, created.metadata.labels);
    assert_eq!(replaced.metadata.annotations, created.metadata.annotations);
    assert_eq!(replaced.spec, created.spec);
    assert_eq!(replaced.metadata.generation, 1);
    assert_eq!(replaced.status.conditions.len(), 1);
}

async fn rule_2_5_generation_rises_by_one_when_spec_changed_and_only_then(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let object = replace(&api, &with_label(&created, "a", "b")).await;
    assert_eq!(object.metadata.generation, 1, "a change of labels keeps the generation");
    let object = replace_status(&api, &with_conditions(&object, [ready("True")])).await;
    assert_eq!(object.metadata.generation, 1, "a change of the status keeps the generation");
    let object = replace(&api, &with_uuid(&object, "1")).await;
    assert_eq!(object.metadata.generation, 2, "a change of the spec raises it by one");
    let object = replace(&api, &with_label(&with_uuid(&object, "2"), "a", "c")).await;
    assert_eq!(object.metadata.generation, 3, "one write raises it by one, whatever else changed");
}

async fn rule_2_5_generation_that_the_client_sent_is_ignored(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let mut object = with_uuid(&created, "changed");
    object.metadata.generation = 70;
    assert_eq!(replace(&api, &object).await.metadata.generation, 2);
    let mut object = unversioned(&object);
    object.metadata.generation = 80;
    assert_eq!(replace(&api, &object).await.metadata.generation, 2, "another generation alone changes nothing");
}

async fn rule_2_5_update_keeps_uid_and_creation_timestamp(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    // A provider that never read the object sends neither.
    for replaced in [
        replace(&api, &with_uuid(&gpu("x"), "changed")).await,
        replace_status(&api, &with_conditions(&gpu("x"), [ready("True")])).await,
    ] {
        assert_eq!(replaced.metadata.uid, created.metadata.uid);
        assert_eq!(replaced.metadata.creation_timestamp, created.metadata.creation_timestamp);
    }
}

async fn rule_2_5_an_update_that_changes_nothing_commits_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_label(&gpu("x"), "a", "b")).await;
    let mut events = Events::of(&api, WatchParams::default().at(&created.metadata.resource_version)).await;
    for (what, object) in [
        ("the object as it was read", (*created).clone()),
        ("the object without a version", unversioned(&created)),
        ("only what a provider knows", with_label(&gpu("x"), "a", "b")),
        ("a change of what update ignores", with_conditions(&created, [ready("False")])),
    ] {
        assert_eq!(replace(&api, &object).await, created, "{what}: the same object and version come back");
    }
    assert_eq!(latest(&api).await, version(&*created));
    let marker = create(&api, &gpu("marker")).await;
    assert_eq!(version(&*marker), version(&*created) + 1);
    events.added::<Gpu>("marker").await;
}

async fn rule_2_5_a_status_update_that_changes_nothing_commits_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let mut events = Events::of(&api, WatchParams::default().at(&created.metadata.resource_version)).await;
    let timeless = with_conditions(&created, [ready("True"), hot("False")]);
    for (what, object) in [
        ("the object as it was read", (*created).clone()),
        ("conditions without times", timeless),
        ("a change of what a status update ignores", with_uuid(&created, "changed")),
    ] {
        assert_eq!(replace_status(&api, &object).await, created, "{what}: the same object and version come back");
    }
    assert_eq!(version(&*create(&api, &gpu("marker")).await), version(&*created) + 1);
    events.added::<Gpu>("marker").await;
}

async fn rule_2_5_an_update_of_another_name_than_the_request_s_is_refused(api: impl Verbs<Gpu>) {
    let (left, right) = (create(&api, &gpu("x")).await, create(&api, &gpu("y")).await);
    let outcome = api.replace("x", &PostParams::default(), &with_uuid(&right, "changed")).await;
    refused_as_invalid(outcome, "an update of x with the object y");
    let outcome = api.replace_status("x", &PostParams::default(), &with_conditions(&right, [ready("True")])).await;
    refused_as_invalid(outcome, "a status update of x with the object y");
    assert_eq!((get(&api, "x").await, get(&api, "y").await), (left, right));
}

async fn rule_2_6_an_update_with_the_current_version_succeeds(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let object = at_version(&with_uuid(&created, "changed"), &created.metadata.resource_version);
    let replaced = replace(&api, &object).await;
    assert_eq!(version(&*replaced), version(&*created) + 1);
    let object = at_version(&with_conditions(&replaced, [ready("True")]), &replaced.metadata.resource_version);
    assert_eq!(version(&*replace_status(&api, &object).await), version(&*replaced) + 1);
}

/// Both kinds of update with this version: conflicts that write nothing.
async fn conflicts(api: &impl Verbs<Gpu>, current: &Arc<Gpu>, object: &Gpu, what: &str) {
    let post = PostParams::default();
    refused(api.replace("x", &post, object).await, Reason::Conflict, &format!("an update with {what}"));
    refused(api.replace_status("x", &post, object).await, Reason::Conflict, &format!("a status update with {what}"));
    assert_eq!(get(api, "x").await, *current, "a conflict writes nothing");
}

async fn rule_2_6_an_update_with_a_stale_version_is_a_conflict_and_writes_nothing(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    let stale = with_conditions(&with_uuid(&created, "again"), [ready("True")]);
    conflicts(&api, &current, &at_version(&stale, &created.metadata.resource_version), "a version that was current")
        .await;
    conflicts(&api, &current, &at_version(&stale, "1"), "a version of long ago").await;
    assert_eq!(latest(&api).await, version(&*current));
}

async fn rule_2_6_a_stale_version_is_a_conflict_even_if_nothing_would_change(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    let same = at_version(&current, &created.metadata.resource_version);
    conflicts(&api, &current, &same, "a stale version and the current content").await;
}

async fn rule_2_6_a_future_version_is_a_conflict(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let future = (version(&*created) + 1).to_string();
    let object = with_conditions(&with_uuid(&created, "changed"), [ready("True")]);
    conflicts(&api, &created, &at_version(&object, &future), "a version of the future").await;
}

async fn rule_2_6_an_update_without_a_version_never_conflicts(api: impl Verbs<Gpu>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 10;
    let created = create(&api, &gpu("x")).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let api = api.clone();
            tokio::spawn(async move {
                for write in 0..WRITES {
                    replace(&api, &with_uuid(&gpu("x"), &format!("{writer}-{write}"))).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no update without a version may fail");
    }
    let last = get(&api, "x").await;
    assert_eq!(version(&*last), version(&*created) + (WRITERS * WRITES) as u64);
    assert_eq!(last.metadata.generation, 1 + (WRITERS * WRITES) as i64);
}

async fn rule_2_6_what_is_read_changed_and_tried_again_loses_no_update(api: impl Verbs<Gpu>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 5;
    create(&api, &gpu("x")).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let api = api.clone();
            // Both parts have the one version.
            let part = if writer % 2 == 0 { Part::Main } else { Part::Status };
            tokio::spawn(async move {
                for write in 0..WRITES {
                    let own = format!("w{writer}-{write}");
                    let add = |gpu: &mut Gpu| {
                        gpu.metadata.labels.insert(own.clone(), String::new());
                        gpu.status.conditions.push(condition(&own, "True"));
                        Ok(())
                    };
                    let added = api.modify(part, "x", &PostParams::default(), add).await;
                    added.unwrap_or_else(|error| panic!("change {own}: {error}"));
                }
            })
        })
        .collect();
    for writer in writers {
        within("a writer to end", writer).await.expect("no change may fail for good");
    }
    let last = get(&api, "x").await;
    assert_eq!(last.metadata.labels.len(), WRITERS / 2 * WRITES, "lost: {:?}", last.metadata.labels);
    assert_eq!(last.status.conditions.len(), WRITERS / 2 * WRITES, "lost: {:?}", last.status.conditions);
}

async fn rule_2_6_changing_the_uid_is_invalid(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let mut object = with_uuid(&created, "changed");
    object.metadata.uid = "11111111-2222-4333-8444-555555555555".to_owned();
    let outcome = api.replace("x", &PostParams::default(), &object).await;
    refused_as_invalid(outcome, "an update with another uid");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_6_changing_the_creation_timestamp_is_invalid(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let mut object = with_uuid(&created, "changed");
    object.metadata.creation_timestamp = Some(second(1));
    let outcome = api.replace("x", &PostParams::default(), &object).await;
    refused_as_invalid(outcome, "an update with another creation timestamp");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_6_an_update_of_a_name_that_does_not_exist_is_not_found(api: impl Verbs<Gpu>) {
    let post = PostParams::default();
    refused(api.replace("x", &post, &gpu("x")).await, Reason::NotFound, "an update of what does not exist");
    refused(api.replace_status("x", &post, &gpu("x")).await, Reason::NotFound, "a status update of the same");
    let versioned = at_version(&gpu("x"), "1");
    refused(api.replace("x", &post, &versioned).await, Reason::NotFound, "an update with a version");
    assert_eq!(api.get_opt("x").await, Ok(None), "update does not create");
}

async fn rule_2_6_an_update_of_a_deleted_and_remade_object_by_its_old_uid_is_refused(api: impl Verbs<Gpu>) {
    let first = create(&api, &gpu("x")).await;
    delete(&api, "x").await;
    let second = create(&api, &gpu("x")).await;
    let outcome = api.replace("x", &PostParams::default(), &with_uuid(&first, "changed")).await;
    refused_as_invalid(outcome, "an update with the uid of the deleted object");
    assert_eq!(get(&api, "x").await, second);
}
