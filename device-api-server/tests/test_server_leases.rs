// SPDX-License-Identifier: Apache-2.0
//! The leases of a test's server: they end by the clock that the test moves, fail as it says, and outlive a restart.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod worlds;

use std::fmt::Debug;
use std::time::Duration;

use device_api_client::{Client, ConnectOptions, Declaration, LeaseApi, Provider};
use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs, PROVIDER_LOST};
use device_api_core::registry::{Verbs, WatchEvent, WatchParams, WatchStream as _};
use device_api_core::resource::{Condition, ConditionStatus, Gpu};
use device_api_core::{Error, Result};
use device_api_server::testing::{CallFault, CallFaults, TestServer, Verb};
use worlds::{over_socket, through_grpc, within};

/// So long that nobody renews within a test, whatever the machine does meanwhile.
const HOUR: Duration = Duration::from_secs(60 * 60);

fn thermal() -> AcquireLease {
    AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]).with_duration(HOUR)
}

/// The same thing in each of the three worlds, each with a server of its own. `$what` takes the server and two handles.
macro_rules! in_each_world {
    ($what:ident) => {{
        let mut server = TestServer::builder().with_gpus(2).start().await;
        let (gpus, leases) = (server.gpus(), server.leases());
        let in_process = $what(&mut server, gpus, leases).await;
        let mut server = TestServer::builder().with_gpus(2).start().await;
        let client = Client::from_service(server.service(), ConnectOptions::default());
        let gpus = through_grpc(&server);
        assert_eq!($what(&mut server, gpus, LeaseApi::new(client)).await, in_process, "through gRPC, and in process");
        let mut server = TestServer::builder().with_gpus(2).on_socket().start().await;
        let client = Client::lazy(&server.address().parse().unwrap(), ConnectOptions::default());
        let gpus = over_socket(&server);
        assert_eq!(
            $what(&mut server, gpus, LeaseApi::new(client)).await,
            in_process,
            "over the socket, and in process"
        );
        in_process
    }};
}

fn said(status: ConditionStatus, reason: &str) -> (ConditionStatus, String) {
    (status, reason.to_owned())
}

/// Waits until a condition of `gpu-0` says this.
async fn until(gpus: &impl Verbs<Gpu>, wanted: (ConditionStatus, String)) {
    let mut watch = within(gpus.watch(&WatchParams::default())).await.unwrap();
    loop {
        let event = within(watch.next_event()).await.unwrap().unwrap();
        let (WatchEvent::Added(gpu) | WatchEvent::Modified(gpu)) = event else { continue };
        let is_so = |condition: &Condition| (condition.status.clone(), condition.reason.clone()) == wanted;
        if gpu.metadata.name == "gpu-0" && gpu.status.conditions.iter().any(is_so) {
            return;
        }
    }
}

/// What the only lease is while its provider lives, when it is over, and when the provider has spoken again.
async fn lost_and_back(server: &mut TestServer, gpus: impl Verbs<Gpu>, leases: impl LeaseVerbs) -> [LeaseState; 3] {
    let state = async || within(leases.list()).await.unwrap()[0].state;
    let provider = within(Provider::start(gpus.clone(), leases.clone(), thermal())).await.unwrap();
    let cool = Condition::new("ThermalHealthy", ConditionStatus::True).with_reason("BelowLimit");
    let declaration = Declaration::default().with::<Gpu>("gpu-0", [cool]).unwrap();
    within(provider.declare(declaration.clone())).await.unwrap();
    server.clock().advance(HOUR - Duration::from_secs(1));
    let alive = state().await;
    until(&gpus, said(ConditionStatus::True, "BelowLimit")).await;

    server.clock().advance(Duration::from_secs(1));
    let lost = state().await;
    until(&gpus, said(ConditionStatus::Unknown, PROVIDER_LOST)).await;

    // It lives, and says so with its next word.
    within(provider.declare(declaration)).await.unwrap();
    until(&gpus, said(ConditionStatus::True, "BelowLimit")).await;
    [alive, lost, state().await]
}

#[tokio::test]
async fn a_provider_is_lost_when_the_tests_clock_has_passed_its_lease() {
    assert_eq!(in_each_world!(lost_and_back), [LeaseState::Held, LeaseState::Expired, LeaseState::Held]);
}

async fn restarted(server: &mut TestServer, gpus: impl Verbs<Gpu>, leases: impl LeaseVerbs) {
    let provider = within(Provider::start(gpus.clone(), leases.clone(), thermal())).await.unwrap();
    let hot = Condition::new("ThermalHealthy", ConditionStatus::False).with_reason("Slowdown");
    within(provider.declare(Declaration::default().with::<Gpu>("gpu-0", [hot]).unwrap())).await.unwrap();
    let before = within(leases.list()).await.unwrap();

    within(server.stop()).await;
    assert!(within(leases.list()).await.unwrap_err().is_unavailable());
    // Nobody can renew while it is away, so that this ends no lease.
    server.clock().advance(2 * HOUR);
    within(server.start()).await;
    assert_eq!(within(leases.list()).await.unwrap(), before);
    until(&gpus, said(ConditionStatus::False, "Slowdown")).await;

    within(server.kill()).await;
    within(server.start()).await;
    server.clock().advance(HOUR);
    until(&gpus, said(ConditionStatus::Unknown, PROVIDER_LOST)).await;
}

#[tokio::test]
async fn a_lease_outlives_a_restart_and_has_its_whole_time_again() {
    in_each_world!(restarted);
}

fn refused<T: Debug>(outcome: Result<T>) -> Error {
    outcome.unwrap_err()
}

async fn refusals(server: &mut TestServer, _: impl Verbs<Gpu>, leases: impl LeaseVerbs) -> Vec<Error> {
    let lease = within(leases.acquire(&thermal())).await.unwrap();
    server.clock().advance(Duration::from_secs(60));
    let renewed = within(leases.acquire(&thermal().with_id(&lease.id))).await.unwrap();
    assert_eq!(renewed.renewed_at.to_string(), "2026-01-01T00:01:00Z");
    let other = AcquireLease::new("other").with_condition_types(["ThermalHealthy"]);
    let many = AcquireLease::new("no name").with_condition_types(["no type", "no type"]).with_duration(2 * HOUR);
    vec![
        refused(within(leases.acquire(&thermal())).await),
        refused(within(leases.acquire(&thermal().with_id("another"))).await),
        refused(within(leases.acquire(&other)).await),
        refused(within(leases.acquire(&other.clone().with_id("another"))).await),
        refused(within(leases.acquire(&many)).await),
        refused(within(leases.release("thermal", None)).await),
        refused(within(leases.release("none", None)).await),
        refused(within(leases.release("no name", None)).await),
    ]
}

#[tokio::test]
async fn a_refusal_of_a_lease_is_the_same_value_whatever_is_in_between() {
    let refusals = in_each_world!(refusals);
    assert!(refusals[..3].iter().chain(&refusals[5..6]).all(Error::is_conflict), "{refusals:?}");
    assert!([3, 6].iter().all(|index| refusals[*index].is_not_found()), "{refusals:?}");
    assert!([4, 7].iter().all(|index| refusals[*index].is_invalid()), "{refusals:?}");
}

async fn faults(server: &mut TestServer, _: impl Verbs<Gpu>, leases: impl LeaseVerbs) -> Vec<Result<()>> {
    let forbidden = |why: &str| CallFault::Fail(Error::Forbidden { why: why.to_owned() });
    server.faults().nth(Verb::AcquireLease, 2, forbidden("to acquire"));
    server.faults().always(Verb::ListLeases, forbidden("to list"));
    let lease = within(leases.acquire(&thermal())).await.unwrap();
    let renewal = thermal().with_id(&lease.id);
    let mut outcomes = vec![within(leases.acquire(&renewal)).await.map(drop)];
    within(leases.acquire(&renewal)).await.unwrap();
    outcomes.push(within(leases.list()).await.map(drop));
    server.faults().clear();
    // What is lost is the reply alone.
    server.faults().next(Verb::ReleaseLease, CallFault::LoseReply);
    outcomes.push(within(leases.release("thermal", Some(&lease.id))).await);
    assert!(within(leases.list()).await.unwrap().is_empty());

    server.faults().next(Verb::AcquireLease, CallFault::Hang);
    let disconnect = async {
        server.faults().hanging().await;
        server.faults().disconnect();
    };
    let request = thermal();
    let (hung, ()) = within(async { tokio::join!(leases.acquire(&request), disconnect) }).await;
    outcomes.push(hung.map(drop));
    outcomes
}

#[tokio::test]
async fn calls_about_leases_fail_as_the_test_says() {
    let forbidden = |why: &str| Err(Error::Forbidden { why: why.to_owned() });
    let lost = || Err(CallFaults::lost());
    assert_eq!(in_each_world!(faults), [forbidden("to acquire"), forbidden("to list"), lost(), lost()]);
}

#[tokio::test(start_paused = true)]
async fn where_tokios_time_is_paused_a_lease_ends_when_it_has_passed() {
    let server = TestServer::builder().with_gpus(1).start().await;
    server.leases().acquire(&thermal()).await.unwrap();
    tokio::time::sleep(HOUR / 2).await;
    server.clock().advance(HOUR / 4);
    assert_eq!(server.leases().list().await.unwrap()[0].state, LeaseState::Held);
    tokio::time::sleep(HOUR / 4).await;
    assert_eq!(server.leases().list().await.unwrap()[0].state, LeaseState::Expired);
}
