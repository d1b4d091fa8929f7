// SPDX-License-Identifier: Apache-2.0
//! What goes out comes in again as it was, and what cannot come in is refused by name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::device::{device, telemetry, xid};
use crate::Error;
use crate::proto::required;
use crate::proto::v1alpha1 as wire;
use crate::registry::{
    Bookmark, DeleteParams, GetParams, List, ListParams, PostParams, Preconditions, VersionMatch, WatchEvent,
    WatchParams,
};
use crate::resource::{Condition, Gpu, GpuSpec, GpuStatus, ListMeta, ObjectMeta, RecommendedAction, Timestamp};

/// Sends a message through its bytes.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

pub(super) fn timestamp() -> impl Strategy<Value = Timestamp> {
    // From the second second on: the first is how Go writes "not set".
    (-62_135_596_799_i64..=253_402_300_799, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanos)| Timestamp::from_unix(seconds, nanos).unwrap())
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(any::<String>(), any::<String>(), 0..4)
}

fn metadata() -> impl Strategy<Value = ObjectMeta> {
    let names = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    (names, any::<i64>(), option::of(timestamp()), texts(), texts()).prop_map(
        |((name, namespace, uid, resource_version), generation, creation_timestamp, labels, annotations)| ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            labels,
            annotations,
        },
    )
}

fn condition() -> impl Strategy<Value = Condition> {
    let status = prop_oneof![Just("True".to_owned()), Just("False".to_owned()), any::<String>()];
    (any::<String>(), status, option::of(any::<i64>()), option::of(timestamp()), any::<String>(), any::<String>())
        .prop_map(|(type_, status, observed_generation, last_transition_time, reason, message)| Condition {
            type_,
            status: status.as_str().into(),
            observed_generation,
            last_transition_time,
            reason,
            message,
        })
}

pub(super) fn action() -> impl Strategy<Value = RecommendedAction> {
    prop_oneof![Just("RESTART_BM".to_owned()), ".+"].prop_map(|text| RecommendedAction::from(&*text))
}

fn gpu() -> impl Strategy<Value = Gpu> {
    let device = (option::of(device()), option::of(telemetry()), vec(xid(), 0..4));
    (metadata(), any::<String>(), vec(condition(), 0..4), option::of(action()), device).prop_map(
        |(metadata, uuid, conditions, recommended_action, (device, telemetry, xids))| Gpu {
            metadata,
            spec: GpuSpec { uuid },
            status: GpuStatus { conditions, recommended_action, device, telemetry, xids },
        },
    )
}

fn version_match() -> impl Strategy<Value = Option<VersionMatch>> {
    option::of(prop_oneof![Just(VersionMatch::Exact), Just(VersionMatch::NotOlderThan)])
}

fn list_params() -> impl Strategy<Value = ListParams> {
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    (texts, version_match(), 0..=i64::MAX as u64).prop_map(
        |((label_selector, field_selector, resource_version, continue_token), version_match, limit)| ListParams {
            label_selector,
            field_selector,
            resource_version,
            version_match,
            limit,
            continue_token,
        },
    )
}

fn watch_params() -> impl Strategy<Value = WatchParams> {
    let texts = (any::<String>(), any::<String>(), any::<String>());
    let timeout = option::of((1..=i64::MAX as u64).prop_map(Duration::from_secs));
    (texts, version_match(), timeout, any::<bool>(), option::of(any::<bool>())).prop_map(
        |(
            (label_selector, field_selector, resource_version),
            version_match,
            timeout,
            allow_bookmarks,
            send_initial_events,
        )| {
            WatchParams {
                label_selector,
                field_selector,
                resource_version,
                version_match,
                timeout,
                allow_bookmarks,
                send_initial_events,
            }
        },
    )
}

proptest! {
    // proptest prints the smallest case that fails; no file beside the sources remembers it.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_gpu_comes_back_as_it_went(gpu in gpu()) {
        prop_assert_eq!(Gpu::try_from(sent(&wire::Gpu::from(&gpu))).unwrap(), gpu);
    }

    #[test]
    fn a_list_comes_back_as_it_went(
        items in vec(gpu(), 0..3),
        resource_version: String,
        continue_token: String,
        remaining_item_count: Option<i64>,
    ) {
        let metadata = ListMeta { resource_version, continue_token, remaining_item_count };
        let list = List { metadata, items: items.into_iter().map(Arc::new).collect() };
        prop_assert_eq!(List::try_from(sent(&wire::GpuList::from(&list))).unwrap(), list);
    }

    #[test]
    fn a_watch_event_comes_back_as_it_went(gpu in gpu(), resource_version: String, initial_events_end: bool) {
        let gpu = Arc::new(gpu);
        for event in [
            WatchEvent::Added(gpu.clone()),
            WatchEvent::Modified(gpu.clone()),
            WatchEvent::Deleted(gpu),
            WatchEvent::Bookmark(Bookmark { resource_version, initial_events_end }),
        ] {
            prop_assert_eq!(WatchEvent::try_from(sent(&wire::WatchGpusResponse::from(&event))).unwrap(), event);
        }
    }

    #[test]
    fn parameters_come_back_as_they_went(
        list in list_params(),
        watch in watch_params(),
        resource_version: String,
        dry_run: bool,
        field_manager: String,
        precondition_uid: Option<String>,
        precondition_version: Option<String>,
    ) {
        let get = GetParams { resource_version };
        prop_assert_eq!(GetParams::from(sent(&wire::GetOptions::from(&get))), get);
        prop_assert_eq!(ListParams::try_from(sent(&wire::ListOptions::from(&list))).unwrap(), list);
        prop_assert_eq!(WatchParams::try_from(sent(&wire::ListOptions::from(&watch))).unwrap(), watch);
        let post = PostParams { dry_run, field_manager };
        prop_assert_eq!(&PostParams::from(sent(&wire::CreateOptions::from(&post))), &post);
        prop_assert_eq!(&PostParams::from(sent(&wire::UpdateOptions::from(&post))), &post);
        prop_assert_eq!(&PostParams::from(sent(&wire::PatchOptions::from(&post))), &post);
        let preconditions = Preconditions { uid: precondition_uid, resource_version: precondition_version };
        let delete = DeleteParams { dry_run, preconditions };
        prop_assert_eq!(DeleteParams::from(sent(&wire::DeleteOptions::from(&delete))), delete);
    }
}

#[test]
fn absent_parts_and_options_are_the_default_ones() {
    assert_eq!(Gpu::try_from(wire::Gpu::default()).unwrap(), Gpu::default());
    assert_eq!(GetParams::from(wire::GetOptions::default()), GetParams::default());
    assert_eq!(ListParams::try_from(wire::ListOptions::default()).unwrap(), ListParams::default());
    assert_eq!(WatchParams::try_from(wire::ListOptions::default()).unwrap(), WatchParams::default());
    assert_eq!(PostParams::from(wire::CreateOptions::default()), PostParams::default());
    assert_eq!(DeleteParams::from(wire::DeleteOptions::default()), DeleteParams::default());
}

#[test]
fn every_time_out_of_range_is_named_with_its_path() {
    let bad = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let condition = |last_transition_time| wire::Condition { last_transition_time, ..Default::default() };
    let gpu = wire::Gpu {
        metadata: Some(wire::ObjectMeta {
            name: "gpu-0".into(),
            creation_timestamp: bad(i64::MAX, 0),
            ..Default::default()
        }),
        spec: None,
        status: Some(wire::GpuStatus {
            conditions: vec![condition(bad(0, -1)), condition(None), condition(bad(0, 1_000_000_000))],
            telemetry: Some(wire::GpuTelemetry { sampled_at: bad(0, -1), ..Default::default() }),
            xids: vec![
                wire::XidRecord { first_seen: bad(i64::MIN, 0), ..Default::default() },
                wire::XidRecord { last_seen: bad(0, -1), ..Default::default() },
            ],
            ..Default::default()
        }),
    };
    let error = Gpu::try_from(gpu).unwrap_err();
    assert!(error.to_string().starts_with(r#"GPU "gpu-0" is invalid: [metadata.creationTimestamp: "#), "{error}");
    let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    let expected = [
        "metadata.creationTimestamp",
        "status.conditions[0].lastTransitionTime",
        "status.conditions[2].lastTransitionTime",
        "status.xids[0].firstSeen",
        "status.xids[1].lastSeen",
        "status.telemetry.sampledAt",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn the_zero_time_of_go_clients_is_no_time() {
    let zero = prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 };
    let condition = wire::Condition { last_transition_time: Some(zero), ..Default::default() };
    assert_eq!(Condition::try_from(condition).unwrap().last_transition_time, None);
}

#[test]
fn a_write_without_an_object_is_refused() {
    assert!(matches!(required(None), Err(Error::BadRequest { field, .. }) if field == "gpu"));
}

/// The option that a conversion refuses.
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::BadRequest { field, .. }) => field,
        other => panic!("expected a bad request, got {other:?}"),
    }
}

#[test]
fn options_that_a_list_cannot_honour_are_refused_by_name() {
    let list = |options| refused(ListParams::try_from(options));
    assert_eq!(list(wire::ListOptions { limit: -1, ..Default::default() }), "limit");
    let options = wire::ListOptions { resource_version_match: "exact".into(), ..Default::default() };
    assert_eq!(list(options), "resourceVersionMatch");
    let options = wire::ListOptions { send_initial_events: Some(true), ..Default::default() };
    assert_eq!(list(options), "sendInitialEvents");
}

#[test]
fn options_that_a_watch_cannot_honour_are_refused_by_name() {
    let watch = |options| refused(WatchParams::try_from(options));
    assert_eq!(watch(wire::ListOptions { timeout_seconds: Some(-1), ..Default::default() }), "timeoutSeconds");
    assert_eq!(watch(wire::ListOptions { r#continue: "token".into(), ..Default::default() }), "continue");
    let options = wire::ListOptions { resource_version_match: "Latest".into(), ..Default::default() };
    assert_eq!(watch(options), "resourceVersionMatch");
}

#[test]
fn options_of_the_other_verb_that_change_no_result_are_ignored() {
    let options = wire::ListOptions { timeout_seconds: Some(5), allow_watch_bookmarks: true, ..Default::default() };
    assert_eq!(ListParams::try_from(options).unwrap(), ListParams::default());
    let options = wire::ListOptions { limit: 5, ..Default::default() };
    assert_eq!(WatchParams::try_from(options).unwrap(), WatchParams::default());
}

#[test]
fn a_watch_timeout_is_sent_in_whole_seconds_and_zero_is_none() {
    let seconds = |timeout| wire::ListOptions::from(&WatchParams::default().timeout(timeout)).timeout_seconds;
    assert_eq!(seconds(Duration::ZERO), Some(1));
    assert_eq!(seconds(Duration::from_millis(1500)), Some(2));
    assert_eq!(seconds(Duration::MAX), Some(i64::MAX));
    let options = wire::ListOptions { timeout_seconds: Some(0), ..Default::default() };
    assert_eq!(WatchParams::try_from(options).unwrap().timeout, None);
}

#[test]
fn a_bookmark_is_an_object_with_nothing_but_its_version() {
    let bookmark = Bookmark { resource_version: "7".into(), initial_events_end: false };
    let message = wire::WatchGpusResponse::from(&WatchEvent::Bookmark(bookmark));
    assert_eq!(message.r#type, "BOOKMARK");
    let metadata = wire::ObjectMeta { resource_version: "7".into(), ..Default::default() };
    assert_eq!(message.object, Some(wire::Gpu { metadata: Some(metadata), spec: None, status: None }));
}

#[test]
fn an_event_of_an_unknown_type_or_without_an_object_is_an_error() {
    for (event_type, object) in [("ERROR", Some(wire::Gpu::default())), ("ADDED", None)] {
        let message = wire::WatchGpusResponse { r#type: event_type.into(), object };
        assert!(matches!(WatchEvent::try_from(message), Err(Error::Internal { .. })), "{event_type}");
    }
}
