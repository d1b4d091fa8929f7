// SPDX-License-Identifier: Apache-2.0
//! Rule 2.7: conditions.

use super::{ContractCase, World, list};
use crate::registry::{PostParams, Verbs};
use crate::resource::{Condition, Gpu, Timestamp, condition};
use crate::testing::expect::refused_field;
use crate::testing::given::{
    condition as any, condition_since, create, get, gpu, json, merge, patch_status, replace_status, second, strategic,
    version, with_conditions,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_7_a_type_twice_is_invalid,
        rule_2_7_status_is_one_of_true_false_and_unknown,
        rule_2_7_a_status_that_was_left_out_is_invalid_however_it_is_sent,
        rule_2_7_a_type_has_kubernetes_format,
        rule_2_7_a_reason_is_printable_ascii_without_spaces,
        rule_2_7_one_bad_condition_of_many_is_named,
        rule_2_7_a_new_condition_gets_a_transition_time,
        rule_2_7_a_new_condition_keeps_the_time_that_its_writer_sent,
        rule_2_7_a_changed_status_gets_a_new_transition_time,
        rule_2_7_a_changed_status_gets_a_new_transition_time_by_patch_too,
        rule_2_7_a_changed_status_keeps_the_time_that_its_writer_sent,
        rule_2_7_an_unchanged_status_keeps_the_old_transition_time,
        rule_2_7_another_order_of_the_conditions_is_no_change,
        rule_2_7_every_field_of_a_condition_is_kept,
    ]
}

/// The condition that most cases write.
pub(crate) fn ready(status: &str) -> Condition {
    any("Ready", status)
}

/// Another one.
pub(super) fn hot(status: &str) -> Condition {
    any("Hot", status)
}

/// Since when the object's `Ready` is what it is.
fn since(gpu: &Gpu) -> Timestamp {
    let ready = condition::find(&gpu.status.conditions, "Ready").expect("the object has Ready");
    ready.last_transition_time.expect("every stored condition has a transition time")
}

/// Create, status update and status patch with these conditions: each is refused for the field.
async fn refused_everywhere(api: &impl Verbs<Gpu>, conditions: Vec<Condition>, field: &str, what: &str) {
    let post = PostParams::default();
    let existing = get(api, "existing").await;
    let outcome = api.create(&post, &with_conditions(&gpu("new"), conditions.clone())).await;
    refused_field(outcome, field, &format!("create with {what}"));
    let outcome = api.replace_status("existing", &post, &with_conditions(&existing, conditions.clone())).await;
    refused_field(outcome, field, &format!("a status update with {what}"));
    let change = merge(serde_json::json!({"status": {"conditions": conditions}}));
    refused_field(api.patch_status("existing", &post, &change).await, field, &format!("a status patch with {what}"));
    assert_eq!(get(api, "existing").await, existing, "{what} is not stored");
}

async fn rule_2_7_a_type_twice_is_invalid(api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&gpu("existing"), [ready("True")])).await;
    for pair in [vec![ready("True"), ready("False")], vec![ready("True"), hot("True"), ready("True")]] {
        refused_everywhere(&api, pair, "status.conditions", "a type twice").await;
    }
    create(&api, &with_conditions(&gpu("cases"), [any("Ready", "True"), any("ready", "True")])).await;
}

async fn rule_2_7_status_is_one_of_true_false_and_unknown(api: impl Verbs<Gpu>) {
    let existing = create(&api, &gpu("existing")).await;
    for status in ["True", "False", "Unknown"] {
        let stored = replace_status(&api, &with_conditions(&existing, [ready(status)])).await;
        assert_eq!(stored.status.conditions[0].status.as_str(), status);
    }
    for status in ["", "true", "Maybe", "TRUE", " True"] {
        let what = format!("the status {status:?}");
        refused_everywhere(&api, vec![ready(status)], "status.conditions[0].status", &what).await;
    }
}

async fn rule_2_7_a_status_that_was_left_out_is_invalid_however_it_is_sent(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [hot("False")])).await;
    let left_out = [serde_json::json!({"type": "Ready"}), serde_json::json!({"type": "Ready", "status": null})];
    for condition in left_out.into_iter().chain([serde_json::json!({"type": "Ready", "status": ""})]) {
        let change = serde_json::json!({"status": {"conditions": [{"type": "Hot", "status": "False"}, condition]}});
        let add = serde_json::json!([{"op": "add", "path": "/status/conditions/-", "value": condition}]);
        for change in [merge(change.clone()), strategic(change), json(add)] {
            let outcome = api.patch_status("x", &PostParams::default(), &change).await;
            refused_field(outcome, "status.conditions[1].status", &format!("{change:?}: nobody said Unknown"));
        }
    }
    let removed = json(serde_json::json!([{"op": "remove", "path": "/status/conditions/0/status"}]));
    let outcome = api.patch_status("x", &PostParams::default(), &removed).await;
    refused_field(outcome, "status.conditions[0].status", "a status that was removed");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_7_a_type_has_kubernetes_format(api: impl Verbs<Gpu>) {
    let existing = create(&api, &gpu("existing")).await;
    for type_ in ["Ready", "NVMLReady", "nvidia.com/XidErrors", "a_b.c-d", "0"] {
        replace_status(&api, &with_conditions(&existing, [any(type_, "True")])).await;
    }
    for type_ in ["", "two words", "-a", "a/b/c", "/a", "ä", &"t".repeat(64)] {
        let what = format!("the type {type_:?}");
        refused_everywhere(&api, vec![any(type_, "True")], "status.conditions[0].type", &what).await;
    }
}

async fn rule_2_7_a_reason_is_printable_ascii_without_spaces(api: impl Verbs<Gpu>) {
    let existing = create(&api, &gpu("existing")).await;
    // Some are what monitors in the field send.
    let longest = "r".repeat(1_024);
    for reason in ["", "Initialized", "A,b:c", "xid-checkIsNotHealthy", "48.1", "a-b", "1a", "a:", "!~", &longest] {
        replace_status(&api, &with_conditions(&existing, [ready("True").with_reason(reason)])).await;
    }
    for reason in ["two words", " a", "a\n", "ä", "\u{7f}", &"r".repeat(1_025)] {
        let what = format!("the reason {reason:?}");
        let conditions = vec![ready("True").with_reason(reason)];
        refused_everywhere(&api, conditions, "status.conditions[0].reason", &what).await;
    }
}

async fn rule_2_7_one_bad_condition_of_many_is_named(api: impl Verbs<Gpu>) {
    create(&api, &gpu("existing")).await;
    let good: Vec<Condition> = (0..9).map(|index| any(&format!("Type{index}"), "True")).collect();
    for place in [0, 4, 8] {
        let mut conditions = good.clone();
        conditions[place].reason = "two words".to_owned();
        let field = format!("status.conditions[{place}].reason");
        refused_everywhere(&api, conditions, &field, "one bad reason among nine").await;
    }
    let first = create(&api, &with_conditions(&gpu("x"), good)).await;
    // Whose list this is the third of, only the server knows.
    let change = serde_json::json!({"status": {"conditions": [{"type": "Type2", "reason": "two words"}]}});
    let outcome = api.patch_status("x", &PostParams::default(), &strategic(change)).await;
    let error = refused_field(outcome, "status.conditions[2].reason", "one bad reason in a strategic patch");
    assert!(error.to_string().contains("in \"Type2\""), "the type is said: {error}");
    assert_eq!(get(&api, "x").await, first);
}

async fn rule_2_7_a_new_condition_gets_a_transition_time(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    assert!(Some(since(&created)) >= created.metadata.creation_timestamp);
    let stored = replace_status(&api, &with_conditions(&created, [ready("True"), hot("True")])).await;
    for condition in &stored.status.conditions {
        assert!(condition.last_transition_time.is_some(), "{condition:?} has a transition time");
    }
}

async fn rule_2_7_a_new_condition_keeps_the_time_that_its_writer_sent(api: impl Verbs<Gpu>) {
    // The last is what some clients send for "never".
    for (name, text) in [("x", "1970-01-01T00:16:40.000000005Z"), ("y", "9999-12-31T23:59:59.999999999Z")] {
        let sent = text.parse().expect("a test's time is in range");
        let created = create(&api, &with_conditions(&gpu(name), [condition_since("Ready", "True", sent)])).await;
        assert_eq!(since(&created), sent);
        assert_eq!(since(&*get(&api, name).await), sent, "to the nanosecond");
    }
}

async fn rule_2_7_a_changed_status_gets_a_new_transition_time(api: impl Verbs<Gpu>) {
    let old = second(1_000);
    let created = create(&api, &with_conditions(&gpu("x"), [condition_since("Ready", "True", old)])).await;
    let stored = replace_status(&api, &with_conditions(&created, [ready("False")])).await;
    assert!(since(&stored) > old, "the server sets the time of a change whose writer sent none");
    assert!(Some(since(&stored)) >= created.metadata.creation_timestamp);
}

async fn rule_2_7_a_changed_status_gets_a_new_transition_time_by_patch_too(api: impl Verbs<Gpu>) {
    let old = second(1_000);
    create(&api, &with_conditions(&gpu("x"), [condition_since("Ready", "True", old)])).await;
    // The merged condition still has the old time, but its writer sent none.
    let change = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let stored = patch_status(&api, "x", strategic(change)).await;
    assert_eq!(stored.status.conditions[0].status.as_str(), "False");
    assert!(since(&stored) > old, "a strategic patch that sent no time leaves the old one: {:?}", since(&stored));
    let change = serde_json::json!([{"op": "replace", "path": "/status/conditions/0/status", "value": "Unknown"}]);
    create(&api, &with_conditions(&gpu("y"), [condition_since("Ready", "True", old)])).await;
    let stored = patch_status(&api, "y", json(change)).await;
    assert!(since(&stored) > old, "a JSON patch that sent no time leaves the old one: {:?}", since(&stored));
}

async fn rule_2_7_a_changed_status_keeps_the_time_that_its_writer_sent(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True")])).await;
    let sent = second(2_000);
    let stored = replace_status(&api, &with_conditions(&created, [condition_since("Ready", "False", sent)])).await;
    assert_eq!(since(&stored), sent);
    let change = serde_json::json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T01:00:00Z"},
    ]}});
    assert_eq!(since(&*patch_status(&api, "x", strategic(change)).await), second(3_600));
}

async fn rule_2_7_an_unchanged_status_keeps_the_old_transition_time(api: impl Verbs<Gpu>) {
    let old = second(1_000);
    let created = create(&api, &with_conditions(&gpu("x"), [condition_since("Ready", "True", old)])).await;
    for sent in [None, Some(second(5_000))] {
        let message = format!("sent {sent:?}");
        let condition = Condition { last_transition_time: sent, ..ready("True").with_message(&message) };
        let stored = replace_status(&api, &with_conditions(&created, [condition])).await;
        assert_eq!(since(&stored), old, "whatever the writer sent");
        assert_eq!(stored.status.conditions[0].message, message);
    }
    let current = get(&api, "x").await;
    let later = Condition { last_transition_time: Some(second(6_000)), ..current.status.conditions[0].clone() };
    let stored = replace_status(&api, &with_conditions(&current, [later])).await;
    assert_eq!(version(&*stored), version(&*current), "another time alone changes nothing");
}

async fn rule_2_7_another_order_of_the_conditions_is_no_change(api: impl Verbs<Gpu>) {
    let created = create(&api, &with_conditions(&gpu("x"), [ready("True"), hot("False")])).await;
    let stored = replace_status(&api, &with_conditions(&created, [hot("False"), ready("True")])).await;
    assert_eq!(stored, created, "conditions are a map by type");
}

async fn rule_2_7_every_field_of_a_condition_is_kept(api: impl Verbs<Gpu>) {
    let mut full = condition_since("Ready", "Unknown", second(1)).with_reason("Why").with_message("text, ä, \n");
    full.observed_generation = Some(3);
    let created = create(&api, &with_conditions(&gpu("x"), [full.clone()])).await;
    assert_eq!(created.status.conditions, [full.clone()]);
    assert_eq!(get(&api, "x").await.status.conditions, [full.clone()]);
    full.observed_generation = Some(0);
    let stored = replace_status(&api, &with_conditions(&created, [full.clone()])).await;
    assert_eq!(stored.status.conditions, [full.clone()], "0 and absent are two things");
    full.observed_generation = None;
    let stored = replace_status(&api, &with_conditions(&created, [full.clone()])).await;
    assert_eq!(stored.status.conditions, [full]);
}
