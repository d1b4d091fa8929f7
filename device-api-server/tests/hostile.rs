// SPDX-License-Identifier: Apache-2.0
//! Requests that mean harm: each is refused in few words, and the server lives on in little memory.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::fmt::Debug;
use std::iter::repeat_n;

use device_api_client::Transport;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_client::GpuServiceClient;
use futures_util::future::join_all;
use prost::Message as _;
use support::{Daemon, raw};
use tonic::{Code, Status};

type Stub = GpuServiceClient<Transport>;

fn serve() -> (Daemon, Stub) {
    let daemon = Daemon::start(&["--datastore-endpoint=memory://"]);
    let stub = daemon.stub();
    (daemon, stub)
}

/// Every such request is refused as one of these, in fewer bytes than a header may have.
#[track_caller]
fn refused<T: Debug>(answer: Result<T, Status>, codes: &[Code], what: &str) {
    let what: String = what.chars().take(60).collect();
    match answer {
        Ok(answer) => panic!("{what:?} succeeded: {answer:?}"),
        Err(status) => {
            assert!(codes.contains(&status.code()), "{what:?}: {status:?}");
            assert!(status.message().len() + status.details().len() < 4096, "{what:?}: {status:?}");
        }
    }
}

const INVALID: &[Code] = &[Code::InvalidArgument];
const INVALID_OR_TOO_LARGE: &[Code] = &[Code::InvalidArgument, Code::ResourceExhausted];

/// Texts that are no name, no key and no value of a label, and trouble for whoever builds paths, queries, log lines or
/// terminals from them.
fn nasty() -> Vec<String> {
    let texts = [
        ".",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "a//b",
        "a/b/c",
        "%2e%2e%2fx",
        "a\0b",
        "\0",
        " ",
        "a b",
        "\r\nX: y",
        "\x1b[2J\x07",
        "\u{202e}gpu",
        "\u{feff}gpu",
        "e\u{301}",
        "名前",
        "🦀",
        "'; DROP TABLE records; --",
        "${jndi:ldap://localhost/a}",
        "http://localhost:1/x?y=z#f",
        "unix:///x",
        "{{7*7}}",
        "$(reboot)",
        "`reboot`",
        "*",
        "%s%n",
        "-",
        "\\",
        "\"",
    ];
    let long = [254, 4 << 10, 300 << 10].into_iter().flat_map(|size| ["a", "%", "é"].map(|part| part.repeat(size)));
    texts.into_iter().map(ToOwned::to_owned).chain(long).collect()
}

fn gpu(name: &str) -> wire::Gpu {
    let metadata = wire::ObjectMeta { name: name.to_owned(), ..wire::ObjectMeta::default() };
    wire::Gpu { metadata: Some(metadata), ..wire::Gpu::default() }
}

async fn create(stub: &mut Stub, gpu: wire::Gpu) -> Result<wire::Gpu, Status> {
    let request = wire::CreateGpuRequest { gpu: Some(gpu), opts: None };
    stub.create_gpu(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn names_of_every_nasty_kind_are_refused_by_every_verb() {
    let (daemon, mut stub) = serve();
    for name in nasty() {
        let namespace = String::new();
        let get = wire::GetGpuRequest { name: name.clone(), namespace: namespace.clone(), opts: None };
        refused(stub.get_gpu(get).await, INVALID, &name);
        refused(create(&mut stub, gpu(&name)).await, INVALID, &name);
        let update = wire::UpdateGpuRequest { gpu: Some(gpu(&name)), opts: None };
        refused(stub.update_gpu(update).await, INVALID, &name);
        let update = wire::UpdateGpuStatusRequest { gpu: Some(gpu(&name)), opts: None };
        refused(stub.update_gpu_status(update).await, INVALID, &name);
        let delete = wire::DeleteGpuRequest { name: name.clone(), namespace, opts: None };
        refused(stub.delete_gpu(delete).await, INVALID, &name);
        let patch = patch(&name, "merge", "{}");
        refused(stub.patch_gpu(patch).await, INVALID, &name);
        let get = wire::GetGpuRequest { name: "x".to_owned(), namespace: name.clone(), opts: None };
        refused(stub.get_gpu(get).await, INVALID, &name);
    }
    daemon.assert_well().await;
}

#[tokio::test]
async fn nasty_labels_are_refused_and_nasty_free_text_comes_back_as_it_was() {
    let (daemon, mut stub) = serve();
    for (index, text) in nasty().into_iter().enumerate() {
        let mut bad = gpu("bad");
        bad.metadata.as_mut().unwrap().labels = [(text.clone(), String::new())].into();
        refused(create(&mut stub, bad).await, INVALID, &text);
        let mut bad = gpu("bad");
        bad.metadata.as_mut().unwrap().annotations = [(text.clone(), String::new())].into();
        refused(create(&mut stub, bad).await, INVALID, &text);
        let mut bad = gpu("bad");
        bad.metadata.as_mut().unwrap().labels = [("a".to_owned(), text.clone())].into();
        refused(create(&mut stub, bad).await, INVALID, &text);

        let mut free = gpu(&format!("free-{index}"));
        free.metadata.as_mut().unwrap().annotations = [("a".to_owned(), text.clone())].into();
        free.spec = Some(wire::GpuSpec { uuid: text.chars().take(60).collect() });
        match create(&mut stub, free).await {
            Ok(stored) => {
                assert_eq!(stored.metadata.unwrap().annotations["a"], text);
                let uuid: String = text.chars().take(60).collect();
                assert_eq!(stored.spec.unwrap().uuid, uuid);
            }
            refusal => {
                assert!(text.len() > 256 << 10, "{text:?}");
                refused(refusal, INVALID, &text);
            }
        }
    }
    daemon.assert_well().await;
}

#[tokio::test]
async fn hostile_list_options_are_refused() {
    let (daemon, mut stub) = serve();
    create(&mut stub, gpu("x")).await.unwrap();
    let with = |change: &dyn Fn(&mut wire::ListOptions)| {
        let mut opts = wire::ListOptions::default();
        change(&mut opts);
        wire::ListGpusRequest { namespace: String::new(), opts: Some(opts) }
    };
    let mut selectors = vec![
        "(".repeat(16 << 10),
        "a in (".repeat(2 << 10),
        format!("a in ({}", ",".repeat(15 << 10)),
        "a=b,".repeat(100 << 10),
        format!("{},", "!".repeat(15 << 10)),
        "a in (b".to_owned(),
        "a notin b".to_owned(),
        "=".to_owned(),
    ];
    selectors.extend(nasty().into_iter().filter(|text| !text.trim().is_empty()));
    for selector in &selectors {
        let list = with(&|opts| opts.label_selector.clone_from(selector));
        refused(stub.list_gpus(list).await, INVALID_OR_TOO_LARGE, selector);
        let list = with(&|opts| opts.field_selector.clone_from(selector));
        refused(stub.list_gpus(list).await, INVALID_OR_TOO_LARGE, selector);
    }
    for token in nasty().into_iter().chain(["AAAA".repeat(1 << 10), "e30".to_owned(), "=".repeat(99)]) {
        let list = with(&|opts| opts.r#continue.clone_from(&token));
        refused(stub.list_gpus(list).await, INVALID, &token);
    }
    for version in nasty().into_iter().chain(["-1", "+1", "1e9", "0x10", "18446744073709551616", "٣"].map(String::from))
    {
        let list = with(&|opts| opts.resource_version.clone_from(&version));
        refused(stub.list_gpus(list).await, INVALID, &version);
        let opts = Some(wire::ListOptions { resource_version: version.clone(), ..wire::ListOptions::default() });
        let watch = wire::WatchGpusRequest { namespace: String::new(), opts };
        refused(stub.watch_gpus(watch).await, INVALID, &version);
    }
    // The last number that is one lies in the future. A hundred wait for it and cost each other nothing.
    let waiting = (0..100).map(|_| {
        let mut stub = daemon.stub();
        let list = with(&|opts| opts.resource_version = u64::MAX.to_string());
        async move { stub.list_gpus(list).await }
    });
    for answer in join_all(waiting).await {
        refused(answer, &[Code::OutOfRange], "the future");
    }
    daemon.assert_well().await;
}

fn patch(name: &str, patch_type: &str, data: impl Into<Vec<u8>>) -> wire::PatchGpuRequest {
    let data = data.into();
    wire::PatchGpuRequest { name: name.to_owned(), patch_type: patch_type.to_owned(), data, ..Default::default() }
}

fn operations(operations: impl Iterator<Item = String>) -> String {
    format!("[{}]", operations.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn patch_bombs_are_refused() {
    let (daemon, mut stub) = serve();
    create(&mut stub, gpu("x")).await.unwrap();
    // Each copy doubles what it copies.
    let copies = |part: &str| {
        let copy = |name: char| format!(r#"{{"op":"copy","from":"/{part}","path":"/{part}/{name}"}}"#);
        operations(('a'..='t').map(copy))
    };
    assert!(copies("spec").len() < 1 << 10, "a kilobyte that asks for a million copies");
    let nested = |count: usize| {
        operations((1..=count).map(|depth| format!(r#"{{"op":"add","path":"{}","value":{{}}}}"#, "/a".repeat(depth))))
    };
    let json = [
        copies("spec"),
        copies("metadata"),
        copies("status"),
        operations((0..20_000).map(|_| r#"{"op":"add","path":"/spec/a","value":{}}"#.to_owned())),
        nested(200),
        operations(repeat_n(r#"{"op":"test","path":"","value":1}"#.to_owned(), 1_001)),
        format!(r#"[{{"op":"add","path":"{}","value":1}}]"#, "/a".repeat(30_000)),
        format!(r#"[{{"op":"add","path":"/spec/a","value":{}}}]"#, "[".repeat(60_000)),
        r#"[{"op":"add","path":"/status/conditions/18446744073709551615","value":{}}]"#.to_owned(),
        r#"[{"op":"move","from":"","path":"/spec"}]"#.to_owned(),
        r#"[{"op":"remove","path":""}]"#.to_owned(),
    ];
    for data in json {
        refused(stub.patch_gpu(patch("x", "json", data.clone())).await, INVALID_OR_TOO_LARGE, &data);
    }
    let documents = [
        "[".repeat(60_000),
        r#"{"spec":"#.repeat(7_000),
        format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000)),
        format!(r#"{{"spec":{{"uuid":"{}"}}}}"#, "u".repeat(512 << 10)),
        r#"{"spec":{"uuid":1e400}}"#.to_owned(),
        r#"{"spec":{"uuid":"\ud800"}}"#.to_owned(),
        r#"{"metadata":null,"spec":null,"status":[]}"#.to_owned(),
        "NaN".to_owned(),
        String::new(),
    ];
    for data in documents {
        for patch_type in ["merge", "strategic"] {
            refused(stub.patch_gpu(patch("x", patch_type, data.clone())).await, INVALID_OR_TOO_LARGE, &data);
        }
    }
    let get = wire::GetGpuRequest { name: "x".to_owned(), ..wire::GetGpuRequest::default() };
    assert_eq!(stub.get_gpu(get).await.unwrap().into_inner().gpu.unwrap().metadata.unwrap().generation, 1);
    daemon.assert_well().await;
}

/// Two bytes on the wire for each part of an object cost far more once they are decoded.
#[tokio::test]
async fn objects_of_countless_empty_parts_are_refused() {
    let (daemon, stub) = serve();
    let telemetry = wire::GpuTelemetry { throttle_reasons: vec![String::new(); 300_000], ..Default::default() };
    let statuses = [
        wire::GpuStatus { conditions: vec![wire::Condition::default(); 500_000], ..Default::default() },
        wire::GpuStatus { xids: vec![wire::XidRecord::default(); 500_000], ..Default::default() },
        wire::GpuStatus { telemetry: Some(telemetry), ..Default::default() },
    ];
    let statuses = statuses.map(|status| wire::Gpu { status: Some(status), ..gpu("status") });
    let mut labels = gpu("labels");
    labels.metadata.as_mut().unwrap().labels = (0..70_000).map(|n| (format!("_{n:x}"), String::new())).collect();
    for bomb in statuses.into_iter().chain([labels]) {
        let requests = (0..12).map(|_| {
            let (mut stub, bomb) = (stub.clone(), bomb.clone());
            async move { create(&mut stub, bomb).await }
        });
        for answer in join_all(requests).await {
            refused(answer, INVALID_OR_TOO_LARGE, "countless parts");
        }
    }
    daemon.assert_well().await;
}

#[tokio::test]
async fn random_bytes_for_every_method_do_no_harm() {
    let seed = std::env::var("DEVICE_API_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("to replay: DEVICE_API_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (daemon, _) = serve();
    let client = daemon.client();
    let seeds = [
        wire::CreateGpuRequest { gpu: Some(gpu("x")), opts: None }.encode_to_vec(),
        patch("x", "merge", "{}").encode_to_vec(),
        wire::ListGpusRequest { namespace: "a".to_owned(), opts: Some(Default::default()) }.encode_to_vec(),
        wire::ReleaseLeaseRequest { name: "a".to_owned(), id: Some("b".to_owned()) }.encode_to_vec(),
    ];
    let gpus = ["GetGpu", "ListGpus", "CreateGpu", "UpdateGpu", "UpdateGpuStatus", "DeleteGpu", "PatchGpu"];
    let leases = ["AcquireLease", "ReleaseLease", "ListLeases"];
    let gpus = gpus.map(|method| format!("/nvidia.nvsentinel.v1alpha1.GpuService/{method}"));
    let leases = leases.map(|method| format!("/nvidia.nvsentinel.v1alpha1.LeaseService/{method}"));
    let methods: Vec<_> = gpus.iter().chain(&leases).collect();
    for _ in 0..3_000 {
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let method = methods[random.usize(..methods.len())];
        if let Err(status) = raw::call(&client, method, bytes.clone()).await {
            let harm = [Code::Internal, Code::Unknown, Code::Unavailable, Code::DataLoss, Code::Unimplemented];
            assert!(!harm.contains(&status.code()), "{method} of {bytes:?}: {status:?}");
        }
    }
    daemon.assert_well().await;
}
