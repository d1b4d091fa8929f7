// SPDX-License-Identifier: Apache-2.0
//! Leases on the real binary: a provider that is killed, and peers that mean harm.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use device_api_client::{Api, Client, ConnectOptions, LeaseApi};
use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs as _, PROVIDER_LOST};
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::registry::{Part, PostParams, WatchEvent, WatchParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, ObjectMeta};
use prost::Message as _;
use support::{Daemon, PATIENCE, raw};
use tempfile::TempDir;
use tonic::{Code, Status};

/// Where a provider that runs as a process of its own finds the server.
const SOCKET: &str = "LEASE_TEST_SOCKET";
/// What it says once it holds the lease, and what it writes.
const HOLDS: &str = "the provider holds its lease";

fn nvml() -> AcquireLease {
    AcquireLease::new("nvml").with_condition_types(["NVMLReady"]).with_duration(Duration::from_secs(1))
}

fn ready() -> Condition {
    Condition::new("NVMLReady", ConditionStatus::True).with_reason("Healthy")
}

/// A provider as they are: it takes its lease over, declares its state, and renews.
#[tokio::test]
#[ignore = "a program that a test below runs"]
async fn provider() {
    let target = std::env::var(SOCKET).unwrap().parse().unwrap();
    let client = Client::connect(target).await.unwrap();
    let (leases, gpus) = (LeaseApi::new(client.clone()), Api::<Gpu>::all(client));
    let renewal = nvml().with_id(leases.acquire(&nvml().take_over()).await.unwrap().id);
    let declare = async || {
        let change = |gpu: &mut Gpu| {
            gpu.status.conditions = vec![ready()];
            Ok(())
        };
        gpus.modify(Part::Status, "a", &PostParams::default(), change).await.unwrap();
    };
    declare().await;
    writeln!(std::io::stdout(), "{HOLDS}").unwrap();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if leases.acquire(&renewal).await.unwrap().state == LeaseState::Expired {
            declare().await;
        }
    }
}

/// Runs the provider and waits until it has declared its state.
fn start_provider(daemon: &Daemon) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "provider", "--ignored", "--nocapture"])
        .env(SOCKET, daemon.socket())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line.contains(HOLDS)), "the provider ended");
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_killed_is_lost_and_its_next_run_takes_over() {
    let daemon = Daemon::start(&[]);
    let (gpus, leases) = (daemon.api(), LeaseApi::new(daemon.client()));
    let gpu = Gpu { metadata: ObjectMeta::named("a"), ..Gpu::default() };
    gpus.create(&PostParams::default(), &gpu).await.unwrap();
    let mut watch = gpus.watch(&WatchParams::default()).await.unwrap();
    let mut until = async |reason: &str| loop {
        let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        let (WatchEvent::Added(gpu) | WatchEvent::Modified(gpu)) = event else { panic!("{event:?}") };
        if let Some(found) = gpu.status.conditions.iter().find(|condition| condition.reason == reason) {
            return found.clone();
        }
    };

    let mut provider = start_provider(&daemon);
    assert_eq!(until("Healthy").await.status, ConditionStatus::True);
    provider.kill().unwrap();
    provider.wait().unwrap();
    let lost = until(PROVIDER_LOST).await;
    assert_eq!(lost.status, ConditionStatus::Unknown);
    assert!(lost.message.contains("nvml"), "{lost:?}");
    let before = leases.list().await.unwrap().remove(0);
    assert_eq!(before.state, LeaseState::Expired);

    let mut provider = start_provider(&daemon);
    until("Healthy").await;
    let after = leases.list().await.unwrap().remove(0);
    assert_ne!(after.id, before.id);
    provider.kill().unwrap();
    provider.wait().unwrap();
    until(PROVIDER_LOST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_all_the_same_that_a_provider_is_lost() {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    let mut gpu = Gpu { metadata: ObjectMeta::named("a"), ..Gpu::default() };
    gpu.metadata.annotations.insert("note".to_owned(), "n".repeat(2048));
    gpu.status.conditions = vec![ready()];
    let stored = daemon.api().create(&PostParams::default(), &gpu).await.unwrap();
    assert!(daemon.stop().success());

    // Neither another object nor another byte in this one.
    let size = format!("--max-object-bytes={}B", serde_json::to_vec(&*stored).unwrap().len());
    let daemon = Daemon::start_in(folder.path(), &["--max-objects=1", &size]);
    let (gpus, leases) = (daemon.api(), LeaseApi::new(daemon.client()));
    let another = Gpu { metadata: ObjectMeta::named("b"), ..Gpu::default() };
    assert!(gpus.create(&PostParams::default(), &another).await.unwrap_err().is_too_large());
    gpu.metadata.annotations.insert("note".to_owned(), "n".repeat(2049));
    assert!(gpus.replace("a", &PostParams::default(), &gpu).await.unwrap_err().is_too_large());

    let mut watch = gpus.watch(&WatchParams::default().at(&stored.metadata.resource_version)).await.unwrap();
    let lease = leases.acquire(&nvml()).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    let lost = &event.object().unwrap().status.conditions[0];
    assert_eq!((&lost.status, lost.reason.as_str()), (&ConditionStatus::Unknown, PROVIDER_LOST));
    assert!(lost.message.contains("nvml"), "{lost:?}");
    // It comes back, and finds its room as it left it.
    assert_eq!(leases.acquire(&nvml().with_id(&lease.id)).await.unwrap().state, LeaseState::Expired);
    gpus.replace_status("a", &PostParams::default(), &gpu).await.unwrap();
    leases.release("nvml", Some(&lease.id)).await.unwrap();
}

/// A call of the lease service whose message is bytes.
async fn call(client: &Client, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    raw::call(client, &format!("/nvidia.nvsentinel.v1alpha1.LeaseService/{method}"), message).await
}

#[tokio::test]
async fn who_asks_again_by_its_identity_has_the_same_lease_also_after_a_kill_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    let request = |holder_identity: &str, take_over| wire::AcquireLeaseRequest {
        name: "nvml".to_owned(),
        condition_types: vec!["NVMLReady".to_owned()],
        duration: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        holder_identity: holder_identity.to_owned(),
        take_over,
        ..Default::default()
    };
    let acquire = async |client: &Client, request: wire::AcquireLeaseRequest| {
        let lease = call(client, "AcquireLease", request.encode_to_vec()).await?;
        Ok::<_, Status>(wire::Lease::decode(lease.as_slice()).unwrap())
    };
    let first = acquire(&daemon.client(), request("me", true)).await.unwrap();
    assert_eq!(first.holder_identity, "me");
    for _ in 0..2 {
        let client = daemon.client();
        for take_over in [false, true] {
            let again = acquire(&client, request("me", take_over)).await.unwrap();
            assert_eq!((&again.id, again.state.as_str(), again.acquired_at), (&first.id, "Held", first.acquired_at));
        }
        for other in ["", "you", "ME"] {
            let refusal = acquire(&client, request(other, false)).await.unwrap_err();
            assert_eq!(refusal.code(), Code::Aborted, "{other:?}: {refusal}");
        }
        let listed = call(&client, "ListLeases", Vec::new()).await.unwrap();
        let [listed] = &wire::ListLeasesResponse::decode(listed.as_slice()).unwrap().leases[..] else {
            panic!("one lease")
        };
        assert_eq!((&listed.id, &listed.holder_identity), (&first.id, &first.holder_identity));
        daemon.kill();
        daemon = Daemon::start_in(folder.path(), &[]);
    }
    assert_ne!(acquire(&daemon.client(), request("you", true)).await.unwrap().id, first.id);
    daemon.assert_well().await;
}

#[tokio::test]
async fn hostile_identities_are_refused_and_hold_nothing() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let sane = wire::AcquireLeaseRequest {
        name: "nvml".to_owned(),
        condition_types: vec!["NVMLReady".to_owned()],
        ..Default::default()
    };
    let long = "i".repeat(20_000);
    for bad in ["\0", "\u{1b}[2J", "a\r\nb", "\u{7f}", "ä", "\u{202e}", "\u{feff}me", &long[..129], &long] {
        let request = wire::AcquireLeaseRequest { holder_identity: bad.to_owned(), ..sane.clone() };
        let refusal = call(&client, "AcquireLease", request.encode_to_vec()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{bad:?}: {refusal}");
        let told = refusal.message();
        assert!(told.contains("holderIdentity") && told.len() < 1_000, "{refusal}");
    }
    let too_long = wire::AcquireLeaseRequest { holder_identity: "i".repeat(1 << 20), ..sane.clone() };
    let refusal = call(&client, "AcquireLease", too_long.encode_to_vec()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    // Field 6: text that is none, a number, and one that is longer than the message.
    for bad in [&[0x32, 2, 0xc3, 0x28][..], &[0x30, 1], &[0x32, 0x7f, b'm'], &[0x32, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let message = [sane.encode_to_vec().as_slice(), bad].concat();
        let refusal = call(&client, "AcquireLease", message).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{bad:x?}: {refusal}");
    }
    assert!(call(&client, "ListLeases", Vec::new()).await.unwrap().is_empty(), "there is no lease");
    daemon.assert_well().await;
}

#[tokio::test]
async fn hostile_requests_for_leases_are_refused() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let call = async |method: &str, message: Vec<u8>| call(&client, method, message).await;
    let sane = || wire::AcquireLeaseRequest {
        name: "nvml".to_owned(),
        condition_types: vec!["NVMLReady".to_owned()],
        ..Default::default()
    };
    for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, i32::MIN), (i64::MAX, i32::MAX), (0, 999_999_999)] {
        let request = wire::AcquireLeaseRequest { duration: Some(prost_types::Duration { seconds, nanos }), ..sane() };
        let refusal = call("AcquireLease", request.encode_to_vec()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{seconds}s {nanos}ns: {refusal}");
    }
    let request = wire::AcquireLeaseRequest { condition_types: vec![String::new(); 10_000], ..sane() };
    let refusal = call("AcquireLease", request.encode_to_vec()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    let request = wire::AcquireLeaseRequest { condition_types: vec![String::new(); 500_000], ..sane() };
    let refusal = call("AcquireLease", request.encode_to_vec()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    for method in ["AcquireLease", "ReleaseLease"] {
        let request = wire::ReleaseLeaseRequest { name: "n".repeat(20_000), id: Some("i".repeat(10_000)) };
        let refusal = call(method, request.encode_to_vec()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{method}: {refusal}");
        let refusal = call(method, vec![0xff; 100]).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{method}: {refusal}");
    }
    // Without a duration it is the default one.
    let lease = call("AcquireLease", sane().encode_to_vec()).await.unwrap();
    let lease = wire::Lease::decode(lease.as_slice()).unwrap();
    assert_eq!((lease.duration.unwrap().seconds, lease.state.as_str()), (30, "Held"));
    daemon.assert_well().await;
}

#[tokio::test]
async fn a_server_out_of_reach_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("nobody.sock").display().to_string().parse().unwrap();
    let leases = LeaseApi::new(Client::lazy(&target, ConnectOptions::default()));
    assert!(leases.acquire(&nvml()).await.unwrap_err().is_retryable());
    assert!(leases.list().await.unwrap_err().is_retryable());
    assert!(leases.release("nvml", None).await.unwrap_err().is_retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_many_long_types_that_expires_is_a_short_line_in_the_log() {
    let daemon = Daemon::start(&[]);
    let long = |number: usize| format!("{}.example/{number:0>63}", "x".repeat(60));
    let request =
        AcquireLease::new("long").with_condition_types((0..64).map(long)).with_duration(Duration::from_secs(1));
    LeaseApi::new(daemon.client()).acquire(&request).await.unwrap();
    daemon.says("has not renewed its lease in time").await;
    let longest = daemon.stderr().lines().map(str::len).max().unwrap();
    assert!(longest < 1024, "a line of {longest} bytes: {}", daemon.stderr());
}
