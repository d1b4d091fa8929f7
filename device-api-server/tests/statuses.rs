// SPDX-License-Identifier: Apache-2.0
//! What only a raw request can say, and what its status says in turn.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use device_api_client::Transport;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_client::GpuServiceClient;
use support::Daemon;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A server that keeps nothing, and a stub on it.
fn serve(flags: &[&str]) -> (Daemon, GpuServiceClient<Transport>) {
    let daemon = Daemon::start(&[&["--datastore-endpoint=memory://"], flags].concat());
    let stub = daemon.stub();
    (daemon, stub)
}

fn gpu(name: &str) -> wire::Gpu {
    let metadata = wire::ObjectMeta { name: name.to_owned(), ..wire::ObjectMeta::default() };
    wire::Gpu { metadata: Some(metadata), ..wire::Gpu::default() }
}

async fn create(stub: &mut GpuServiceClient<Transport>, gpu: wire::Gpu) -> wire::Gpu {
    let request = wire::CreateGpuRequest { gpu: Some(gpu), opts: None };
    stub.create_gpu(request).await.unwrap().into_inner()
}

/// The refusal, which must have this code and reason and be of this API.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> (Status, ErrorDetails) {
    let status = answer.expect_err(reason);
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.check_error_details().unwrap();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("device.nvidia.com", reason), "{status:?}");
    (status, details)
}

/// The refusal of an option: it names the field, in the details and in the message.
#[track_caller]
fn refused_option<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) -> String {
    let (status, details) = refused(answer, Code::InvalidArgument, "BadRequest");
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), [field]);
    assert!(status.message().contains(field), "{status:?}");
    status.message().to_owned()
}

fn list(opts: wire::ListOptions) -> wire::ListGpusRequest {
    wire::ListGpusRequest { namespace: String::new(), opts: Some(opts) }
}

fn watch(opts: wire::ListOptions) -> wire::WatchGpusRequest {
    wire::WatchGpusRequest { namespace: String::new(), opts: Some(opts) }
}

#[tokio::test]
async fn an_unknown_version_match_is_refused_with_the_known_ones() {
    let (_daemon, mut stub) = serve(&[]);
    for text in ["exact", "Newest", "\0", &"x".repeat(1 << 19)] {
        let opts = wire::ListOptions {
            resource_version: "1".to_owned(),
            resource_version_match: text.to_owned(),
            ..wire::ListOptions::default()
        };
        for message in [
            refused_option(stub.list_gpus(list(opts.clone())).await, "resourceVersionMatch"),
            refused_option(stub.watch_gpus(watch(opts)).await, "resourceVersionMatch"),
        ] {
            assert!(message.contains("NotOlderThan") && message.len() < 1024, "{message}");
        }
    }
}

#[tokio::test]
async fn negative_numbers_are_refused() {
    let (_daemon, mut stub) = serve(&[]);
    for limit in [-1, i64::MIN] {
        refused_option(stub.list_gpus(list(wire::ListOptions { limit, ..Default::default() })).await, "limit");
        let opts = wire::ListOptions { timeout_seconds: Some(limit), ..Default::default() };
        refused_option(stub.watch_gpus(watch(opts)).await, "timeoutSeconds");
    }
    let huge = wire::ListOptions { limit: i64::MAX, ..Default::default() };
    assert!(stub.list_gpus(list(huge)).await.is_ok());
}

#[tokio::test]
async fn what_only_the_other_of_list_and_watch_can_do_is_refused() {
    let (_daemon, mut stub) = serve(&[]);
    let opts = wire::ListOptions { send_initial_events: Some(true), ..Default::default() };
    refused_option(stub.list_gpus(list(opts)).await, "sendInitialEvents");
    let opts = wire::ListOptions { r#continue: "token".to_owned(), ..Default::default() };
    refused_option(stub.watch_gpus(watch(opts)).await, "continue");
}

#[tokio::test]
async fn a_write_without_its_object_is_refused() {
    let (_daemon, mut stub) = serve(&[]);
    refused_option(stub.create_gpu(wire::CreateGpuRequest::default()).await, "gpu");
    refused_option(stub.update_gpu(wire::UpdateGpuRequest::default()).await, "gpu");
    refused_option(stub.update_gpu_status(wire::UpdateGpuStatusRequest::default()).await, "gpu");
    // An object of nothing has no name.
    let request = wire::CreateGpuRequest { gpu: Some(wire::Gpu::default()), opts: None };
    let (_, details) = refused(stub.create_gpu(request).await, Code::InvalidArgument, "Invalid");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "metadata.name");
}

fn patch(patch_type: &str, data: &str, subresources: &[&str]) -> wire::PatchGpuRequest {
    wire::PatchGpuRequest {
        name: "x".to_owned(),
        patch_type: patch_type.to_owned(),
        data: data.into(),
        subresources: subresources.iter().map(ToString::to_string).collect(),
        ..wire::PatchGpuRequest::default()
    }
}

#[tokio::test]
async fn each_patch_type_has_two_names_and_there_are_no_others() {
    let (_daemon, mut stub) = serve(&[]);
    create(&mut stub, gpu("x")).await;
    let merge = r#"{"spec":{"uuid":"1"}}"#;
    let json = r#"[{"op":"replace","path":"/spec/uuid","value":"1"}]"#;
    for (patch_type, data) in [
        ("application/merge-patch+json", merge),
        ("merge", merge),
        ("application/strategic-merge-patch+json", merge),
        ("strategic", merge),
        ("application/json-patch+json", json),
        ("json", json),
    ] {
        let patched = stub.patch_gpu(patch(patch_type, data, &[])).await.unwrap().into_inner();
        assert_eq!(patched.spec.unwrap().uuid, "1", "{patch_type}");
    }
    for patch_type in ["", "Merge", "merge ", "application/apply-patch+yaml", "text/plain", &"x".repeat(1 << 19)] {
        let answer = stub.patch_gpu(patch(patch_type, merge, &[])).await;
        let (status, _) = refused(answer, Code::InvalidArgument, "UnsupportedMediaType");
        assert!(status.message().starts_with("unsupported media type:"), "{}", status.message());
    }
    let answer = stub.patch_gpu(patch("merge", "{", &[])).await;
    let (status, _) = refused(answer, Code::InvalidArgument, "UnprocessableEntity");
    assert!(status.message().starts_with("unprocessable content:"), "{}", status.message());
}

#[tokio::test]
async fn subresources_are_none_or_exactly_status() {
    let (_daemon, mut stub) = serve(&[]);
    create(&mut stub, gpu("x")).await;
    let data = r#"{"spec":{"uuid":"new"},"status":{"recommendedAction":"RESET"}}"#;
    let of_status = stub.patch_gpu(patch("merge", data, &["status"])).await.unwrap().into_inner();
    assert_eq!(of_status.spec.unwrap_or_default().uuid, "", "what is outside the status stays");
    assert_eq!(of_status.status.unwrap().recommended_action, "RESET");
    for subresources in [&["scale"] as &[_], &["Status"], &[""], &["status", "status"], &["status", "scale"]] {
        refused_option(stub.patch_gpu(patch("merge", data, subresources)).await, "subresources");
    }
}

#[tokio::test]
async fn all_violations_of_an_object_come_at_once_with_their_fields() {
    let (_daemon, mut stub) = serve(&[]);
    let bad = wire::Gpu {
        metadata: Some(wire::ObjectMeta {
            name: "no spaces".to_owned(),
            labels: [("a b".to_owned(), "c d".to_owned())].into(),
            ..wire::ObjectMeta::default()
        }),
        spec: Some(wire::GpuSpec { uuid: "u".repeat(254) }),
        status: Some(wire::GpuStatus {
            conditions: vec![wire::Condition { status: "Perhaps".to_owned(), ..wire::Condition::default() }],
            ..wire::GpuStatus::default()
        }),
    };
    let request = wire::CreateGpuRequest { gpu: Some(bad), opts: None };
    let (status, details) = refused(stub.create_gpu(request).await, Code::InvalidArgument, "Invalid");
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|one| one.field.as_str()).collect();
    for part in ["metadata.name", "metadata.labels", "spec.uuid", "status.conditions[0].type"] {
        assert!(fields.iter().any(|field| field.starts_with(part)), "{part} is not among {fields:?}");
        assert!(status.message().contains(part), "{part} is not in {}", status.message());
    }
}

#[tokio::test]
async fn refusals_of_one_object_have_kubernetes_words_and_name_it_in_their_details() {
    let (_daemon, mut stub) = serve(&[]);
    create(&mut stub, gpu("x")).await;
    let name = |details: &ErrorDetails| details.error_info().unwrap().metadata["name"].clone();

    let get = wire::GetGpuRequest { name: "Y".to_owned(), ..wire::GetGpuRequest::default() };
    let (status, details) = refused(stub.get_gpu(get).await, Code::NotFound, "NotFound");
    assert_eq!((status.message(), name(&details)), (r#"gpus "y" not found"#, "y".to_owned()));

    let again = wire::CreateGpuRequest { gpu: Some(gpu("x")), opts: None };
    let (status, details) = refused(stub.create_gpu(again).await, Code::AlreadyExists, "AlreadyExists");
    assert_eq!((status.message(), name(&details)), (r#"gpus "x" already exists"#, "x".to_owned()));

    let mut stale = gpu("x");
    stale.metadata.as_mut().unwrap().resource_version = "1".to_owned();
    let update = wire::UpdateGpuRequest { gpu: Some(stale), opts: None };
    let (status, details) = refused(stub.update_gpu(update).await, Code::Aborted, "Conflict");
    let start = r#"Operation cannot be fulfilled on gpus "x": "#;
    assert!(status.message().starts_with(start), "{}", status.message());
    assert!(details.retry_info().is_none(), "the same request would fail again");
}

#[tokio::test]
async fn versions_that_are_out_of_reach_are_out_of_range_with_both_numbers() {
    let (_daemon, mut stub) = serve(&[]);
    let now: u64 = create(&mut stub, gpu("x")).await.metadata.unwrap().resource_version.parse().unwrap();
    let at = |version: u64| wire::ListOptions { resource_version: version.to_string(), ..Default::default() };
    let (_, details) = refused(stub.watch_gpus(watch(at(1))).await, Code::OutOfRange, "Expired");
    assert_eq!(details.error_info().unwrap().metadata["requested"], "1");
    let answer = stub.list_gpus(list(at(now + 1))).await;
    let (_, details) = refused(answer, Code::OutOfRange, "ResourceVersionTooLarge");
    assert_eq!(details.error_info().unwrap().metadata["requested"], (now + 1).to_string());
    assert_eq!(details.error_info().unwrap().metadata["current"], now.to_string());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_unavailable_and_says_when_to_try_again() {
    // A version of the future is waited for, for far longer than this.
    let (_daemon, mut stub) = serve(&["--request-timeout=100ms"]);
    let opts = Some(wire::GetOptions { resource_version: i64::MAX.to_string() });
    let get = wire::GetGpuRequest { name: "x".to_owned(), namespace: String::new(), opts };
    let (status, details) = refused(stub.get_gpu(get).await, Code::Unavailable, "ServiceUnavailable");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert!(status.message().contains("100ms"), "{}", status.message());
}

#[tokio::test]
async fn a_list_over_the_bound_is_refused_with_a_way_out() {
    let (_daemon, mut stub) = serve(&[]);
    let message = "m".repeat(32 << 10);
    let conditions: Vec<_> = (0..31)
        .map(|index| wire::Condition {
            r#type: format!("Large{index}"),
            status: "True".to_owned(),
            message: message.clone(),
            ..wire::Condition::default()
        })
        .collect();
    for index in 0..34 {
        let status = Some(wire::GpuStatus { conditions: conditions.clone(), ..wire::GpuStatus::default() });
        create(&mut stub, wire::Gpu { status, ..gpu(&format!("gpu-{index}")) }).await;
    }
    let answer = stub.list_gpus(list(wire::ListOptions::default())).await;
    let (status, details) = refused(answer, Code::ResourceExhausted, "RequestEntityTooLarge");
    assert!(status.message().contains("limit and continue"), "{}", status.message());
    assert!(details.retry_info().is_none());
    // A page ends where it would be too large for most clients, long before this limit.
    let mut options = wire::ListOptions { limit: 34, ..wire::ListOptions::default() };
    let mut sizes = Vec::new();
    loop {
        let page = stub.list_gpus(list(options.clone())).await.unwrap().into_inner().gpu_list.unwrap();
        sizes.push(page.items.len());
        options.r#continue = page.metadata.unwrap().r#continue;
        if options.r#continue.is_empty() {
            break;
        }
    }
    assert_eq!(sizes.iter().sum::<usize>(), 34);
    assert!(sizes.len() > 1, "{sizes:?}");
}
