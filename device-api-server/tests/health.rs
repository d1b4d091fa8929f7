// SPDX-License-Identifier: Apache-2.0
//! Health and reflection, as probes and generic clients use them.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use prost::Message as _;
use prost_types::FileDescriptorProto;
use rustix::process::Signal;
use support::{Daemon, PATIENCE, raw};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

const GPUS: &str = "nvidia.nvsentinel.v1alpha1.GpuService";
const LEASES: &str = "nvidia.nvsentinel.v1alpha1.LeaseService";

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

#[tokio::test]
async fn the_server_and_its_services_are_serving_and_others_are_unknown() {
    let daemon = Daemon::start(&[]);
    let mut health = HealthClient::new(daemon.client().transport());
    for service in ["", GPUS, LEASES] {
        let answer = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(health.check(of("other")).await.unwrap_err().code(), Code::NotFound);
}

// A second thread, for this one blocks at the end while the client has yet to see the connection close.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_watch_of_health_sees_the_shutdown_and_does_not_hold_it_up() {
    let mut daemon = Daemon::start(&["--shutdown-grace-period=60s"]);
    let mut health = HealthClient::new(daemon.client().transport());
    for service in ["", GPUS] {
        let mut watch = health.watch(of(service)).await.unwrap().into_inner();
        let first = within("first status", watch.message()).await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
        if service.is_empty() {
            continue;
        }
        daemon.signal(Signal::TERM);
        let second: HealthCheckResponse = within("second status", watch.message()).await.unwrap().unwrap();
        assert_eq!(second.status(), ServingStatus::NotServing);
        // A probe that knows no more than gRPC takes this for "gone", and tries elsewhere.
        assert_eq!(within("end", watch.message()).await.unwrap_err().code(), Code::Unavailable);
    }
    assert!(daemon.wait().success(), "{}", daemon.stderr());
}

/// What reflection answers to one request. Its two versions have the same messages.
async fn reflect(daemon: &Daemon, version: &str, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let method = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let answer = within("answer", raw::call(&daemon.client(), &method, request.encode_to_vec())).await.unwrap();
    ServerReflectionResponse::decode(&*answer).unwrap().message_response.unwrap()
}

#[tokio::test]
async fn both_versions_of_reflection_list_every_service() {
    let daemon = Daemon::start(&[]);
    for version in ["v1", "v1alpha"] {
        let MessageResponse::ListServicesResponse(list) =
            reflect(&daemon, version, MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list of services")
        };
        let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
        let itself = format!("grpc.reflection.{version}.ServerReflection");
        for service in [GPUS, LEASES, "grpc.health.v1.Health", &itself] {
            assert!(names.iter().any(|name| name == service), "{version}: {service} is not among {names:?}");
        }
    }
}

#[tokio::test]
async fn both_versions_of_reflection_describe_the_service_and_all_that_it_needs() {
    let daemon = Daemon::start(&[]);
    for version in ["v1", "v1alpha"] {
        let file = describe(&daemon, version, MessageRequest::FileContainingSymbol(GPUS.to_owned())).await;
        let service = file.service.iter().find(|service| service.name() == "GpuService").unwrap();
        let methods: Vec<_> = service.method.iter().map(|method| method.name()).collect();
        assert_eq!(methods.len(), 8, "{methods:?}");
        assert!(service.method.iter().any(|method| method.name() == "WatchGpus" && method.server_streaming()));
        let leases = describe(&daemon, version, MessageRequest::FileContainingSymbol(LEASES.to_owned())).await;
        assert_eq!(leases.service[0].method.len(), 3);
        // A generic client asks for each import in turn.
        assert!(!file.dependency.is_empty() && !leases.dependency.is_empty());
        for import in file.dependency.into_iter().chain(leases.dependency) {
            let file = describe(&daemon, version, MessageRequest::FileByFilename(import.clone())).await;
            assert_eq!(file.name(), import, "{version}");
        }
    }
}

#[tokio::test]
async fn both_versions_of_reflection_describe_the_details_of_errors() {
    let daemon = Daemon::start(&[]);
    for version in ["v1", "v1alpha"] {
        // What grpcurl asks for to print the details of a status.
        for detail in ["ErrorInfo", "BadRequest", "RetryInfo"] {
            let symbol = MessageRequest::FileContainingSymbol(format!("google.rpc.{detail}"));
            let file = describe(&daemon, version, symbol).await;
            assert_eq!(file.name(), "google/rpc/error_details.proto", "{version}");
            assert!(file.message_type.iter().any(|message| message.name() == detail), "{version}: {detail}");
            for import in file.dependency {
                let file = describe(&daemon, version, MessageRequest::FileByFilename(import.clone())).await;
                assert_eq!(file.name(), import, "{version}");
            }
        }
        let symbol = MessageRequest::FileContainingSymbol("google.rpc.Status".to_owned());
        assert_eq!(describe(&daemon, version, symbol).await.name(), "google/rpc/status.proto", "{version}");
    }
}

async fn describe(daemon: &Daemon, version: &str, request: MessageRequest) -> FileDescriptorProto {
    match reflect(daemon, version, request.clone()).await {
        MessageResponse::FileDescriptorResponse(files) => {
            FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap()
        }
        other => panic!("{version}: {request:?}: {other:?}"),
    }
}
