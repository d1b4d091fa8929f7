// SPDX-License-Identifier: Apache-2.0
//! Section 5: what errors say. The rows about storage and about bugs are in the local cases.

use std::collections::BTreeSet;

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{DeleteParams, ListParams, PostParams, Verbs, WatchParams};
use crate::resource::{Gpu, ObjectMeta};
use crate::testing::expect::{refused, refused_as_invalid, watch_refusal};
use crate::testing::given::{
    at_version, condition, create, get, gpu, latest, merge, version, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_5_invalid_argument_names_all_violations_at_once,
        rule_5_invalid_argument_for_a_bad_option_names_the_option,
        rule_5_invalid_argument_for_a_field_manager_that_is_too_long,
        rule_5_not_found_says_which_in_kubernetes_words,
        rule_5_already_exists_says_which_in_kubernetes_words,
        rule_5_aborted_says_which_and_what_to_do_in_kubernetes_words,
        rule_5_aborted_precondition_says_which_one_failed,
        rule_5_out_of_range_expired_is_for_versions_from_before_history,
        rule_5_out_of_range_too_large_is_for_versions_of_the_future,
        rule_5_resource_exhausted_is_for_an_object_over_the_limit,
        rule_5_a_message_is_bounded_whatever_the_client_sent,
        rule_5_no_retry_is_promised_where_none_helps,
    ]
}

async fn rule_5_invalid_argument_names_all_violations_at_once(api: impl Verbs<Gpu>) {
    let mut bad = with_conditions(&gpu("no spaces"), [ready("True"), ready("False"), condition("Hot", "Maybe")]);
    bad.metadata.labels.insert("bad key".to_owned(), "v".to_owned());
    bad.metadata.annotations.insert("bad key".to_owned(), "v".to_owned());
    bad.spec.uuid = "u".repeat(254);
    let error = refused(api.create(&PostParams::default(), &bad).await, Reason::Invalid, "an object that is all wrong");
    let fields: BTreeSet<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    for expected in [
        "metadata.name",
        "metadata.labels",
        "metadata.annotations",
        "spec.uuid",
        "status.conditions[1].type",
        "status.conditions[2].status",
    ] {
        assert!(fields.iter().any(|field| field.starts_with(expected)), "{expected} is among {fields:?}");
    }
    assert!(error.violations().iter().all(|violation| !violation.why.is_empty()), "each says why");
    let message = error.to_string();
    assert!(message.starts_with("GPU \"no spaces\" is invalid: "), "Kubernetes' words: {message}");
    assert!(message.contains("spec.uuid"), "{message}");
}

async fn rule_5_invalid_argument_for_a_bad_option_names_the_option(api: impl Verbs<Gpu>) {
    for (params, option) in [
        (ListParams::default().labels("=x"), "labelSelector"),
        (ListParams::default().fields("=x"), "fieldSelector"),
        (ListParams::default().at("x"), "resourceVersion"),
        (ListParams::default().limit(1).continue_token("x"), "continue"),
    ] {
        let error = refused(api.list(&params).await, Reason::BadRequest, &format!("{params:?}"));
        assert!(error.to_string().contains(option), "{params:?}: the message names {option}: {error}");
    }
}

async fn rule_5_invalid_argument_for_a_field_manager_that_is_too_long(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    for manager in ["m".repeat(129), "a\nb".to_owned(), "\0".to_owned()] {
        let params = PostParams::default().manager(&manager);
        let what = format!("the field manager {manager:?}");
        refused(api.create(&params, &gpu("y")).await, Reason::BadRequest, &what);
        refused(api.replace("x", &params, &with_uuid(&created, "u")).await, Reason::BadRequest, &what);
        refused(api.replace_status("x", &params, &created).await, Reason::BadRequest, &what);
        let change = merge(serde_json::json!({"spec": {"uuid": "u"}}));
        refused(api.patch("x", &params, &change).await, Reason::BadRequest, &what);
        refused(api.patch_status("x", &params, &change).await, Reason::BadRequest, &what);
    }
    assert_eq!(get(&api, "x").await, created);
    let longest = PostParams::default().manager("ä".repeat(128));
    api.replace("x", &longest, &with_uuid(&created, "u")).await.expect("128 characters are not too many");
}

async fn rule_5_not_found_says_which_in_kubernetes_words(api: impl Verbs<Gpu>) {
    let post = PostParams::default();
    let change = merge(serde_json::json!({}));
    for error in [
        api.get("x").await.map(drop),
        api.replace("x", &post, &gpu("x")).await.map(drop),
        api.replace_status("x", &post, &gpu("x")).await.map(drop),
        api.patch("x", &post, &change).await.map(drop),
        api.delete("x", &DeleteParams::default()).await,
    ] {
        let error = refused(error, Reason::NotFound, "what does not exist");
        assert_eq!(error.to_string(), "gpus \"x\" not found");
        assert!(error.is_not_found());
    }
}

async fn rule_5_already_exists_says_which_in_kubernetes_words(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let error = refused(api.create(&PostParams::default(), &gpu("x")).await, Reason::AlreadyExists, "a taken name");
    assert_eq!(error.to_string(), "gpus \"x\" already exists");
}

async fn rule_5_aborted_says_which_and_what_to_do_in_kubernetes_words(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let stale = at_version(&with_uuid(&created, "u"), "1");
    let error = refused(api.replace("x", &PostParams::default(), &stale).await, Reason::Conflict, "a stale version");
    assert_eq!(
        error.to_string(),
        "Operation cannot be fulfilled on gpus \"x\": the object has been modified; please apply your changes to the \
         latest version and try again"
    );
}

async fn rule_5_aborted_precondition_says_which_one_failed(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let error = refused(api.delete("x", &DeleteParams::default().uid("other")).await, Reason::Conflict, "another uid");
    let message = error.to_string();
    assert!(message.starts_with("Operation cannot be fulfilled on gpus \"x\": "), "{message}");
    assert!(message.to_lowercase().contains("precondition") && message.to_lowercase().contains("uid"), "{message}");
}

async fn rule_5_out_of_range_expired_is_for_versions_from_before_history(api: impl Verbs<Gpu>) {
    let outcome = watch_refusal(&api, &WatchParams::default().at("1")).await;
    let error = refused(outcome, Reason::Expired, "a watch from a version of another store");
    assert!(error.is_expired() && !error.is_retryable(), "the same request never succeeds: list again: {error}");
    assert!(error.to_string().contains("too old resource version"), "Kubernetes' words: {error}");
}

async fn rule_5_out_of_range_too_large_is_for_versions_of_the_future(api: impl Verbs<Gpu>) {
    let future = (latest(&api).await + 1_000).to_string();
    let outcome = api.list(&ListParams::default().at(&future)).await;
    let error = refused(outcome, Reason::ResourceVersionTooLarge, "a list of the future");
    assert!(error.is_expired(), "{error}");
    assert!(error.to_string().contains("Too large resource version"), "Kubernetes' words: {error}");
    assert!(error.to_string().contains(&future), "the version asked for: {error}");
}

async fn rule_5_resource_exhausted_is_for_an_object_over_the_limit(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let conditions: Vec<_> =
        (0..64).map(|index| condition(&format!("T{index}"), "True").with_message("m".repeat(30 * 1024))).collect();
    let large = with_conditions(&created, conditions.clone());
    let post = PostParams::default();
    for (what, outcome) in [
        ("a status update to 1.9 MiB", api.replace_status("x", &post, &large).await),
        ("a create of 1.9 MiB", api.create(&post, &with_conditions(&gpu("y"), conditions)).await),
    ] {
        let error = refused(outcome, Reason::RequestEntityTooLarge, what);
        assert!(error.is_too_large() && !error.is_expired(), "not what clients take for Expired: {error}");
    }
    assert_eq!(latest(&api).await, version(&*created), "nothing was stored");
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_5_a_message_is_bounded_whatever_the_client_sent(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let long = "n".repeat(100_000);
    let post = PostParams::default();
    let metadata = ObjectMeta::named("z").with_label(&long, &long).with_annotation(&long, &long);
    for outcome in [
        api.create(&post, &gpu(&long)).await.map(drop),
        api.create(&post, &Gpu { metadata, ..gpu("z") }).await.map(drop),
        api.create(&post, &with_label(&gpu("y"), &long, &long)).await.map(drop),
        api.replace_status("x", &post, &with_conditions(&created, [condition(&long, &long)])).await.map(drop),
        api.get(&long).await.map(drop),
        api.delete("x", &DeleteParams::default().uid(&long)).await,
        api.replace("x", &post, &at_version(&with_uuid(&created, "u"), &long)).await.map(drop),
        api.list(&ListParams::default().labels(format!("{long}="))).await.map(drop),
        api.list(&ListParams::default().fields(format!("{long}=a"))).await.map(drop),
        api.list(&ListParams::default().at(&long)).await.map(drop),
        api.list(&ListParams::default().continue_token(&long)).await.map(drop),
    ] {
        let error = outcome.expect_err("none of these is a good request");
        assert!(error.to_string().len() < 4_096, "{} bytes of {:?}", error.to_string().len(), error.reason());
    }
}

async fn rule_5_no_retry_is_promised_where_none_helps(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    for outcome in [
        api.get("none").await.map(drop),
        api.create(&PostParams::default(), &gpu("x")).await.map(drop),
        api.create(&PostParams::default(), &gpu("no spaces")).await.map(drop),
        api.list(&ListParams::default().at("x")).await.map(drop),
    ] {
        let error = outcome.expect_err("none of these is a good request");
        assert!(!error.is_retryable(), "the same request never succeeds: {error}");
    }
    refused_as_invalid(api.list(&ListParams::default().labels("=")).await, "a bad selector");
}
