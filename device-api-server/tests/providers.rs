// SPDX-License-Identifier: Apache-2.0
//! The client's `Provider` on the real binary: beside other writers, through a restart, and through the loss of the store.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use device_api_client::{Api, Declaration, LeaseApi, Provider, VerbsExt as _};
use device_api_core::error::Cause;
use device_api_core::lease::{AcquireLease, Lease, LeaseState, LeaseVerbs};
use device_api_core::registry::{ListParams, PostParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, ObjectMeta, condition};
use device_api_core::{Error, Result};
use rustix::process::Signal;
use support::{Daemon, PATIENCE};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

const GPUS: [&str; 3] = ["a", "b", "c"];
const ROUNDS: usize = 15;

fn request() -> AcquireLease {
    AcquireLease::new("thermal").with_condition_types(["Cool", "Clean"])
}

fn said(type_: &str, round: usize) -> Condition {
    Condition::new(type_, ConditionStatus::True).with_reason(format!("Round{round}"))
}

/// All that the provider says in a round: the second condition in every other one.
fn all(round: usize) -> Declaration {
    let types = if round.is_multiple_of(2) { &["Cool", "Clean"][..] } else { &["Cool"] };
    GPUS.iter().fold(Declaration::default(), |all, name| {
        all.with::<Gpu>(name, types.iter().map(|type_| said(type_, round))).unwrap()
    })
}

async fn register(gpus: &Api<Gpu>) {
    for name in GPUS {
        let gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
        gpus.create(&PostParams::default(), &gpu).await.unwrap();
    }
}

/// Of each GPU, the reason of its condition of this type.
async fn reasons(gpus: &Api<Gpu>, type_: &str) -> Vec<Option<String>> {
    let list = gpus.list(&ListParams::default()).await.unwrap();
    let reason = |gpu: &Arc<Gpu>| condition::find(&gpu.status.conditions, type_).map(|found| found.reason.clone());
    list.items.iter().map(reason).collect()
}

async fn leases(daemon: &Daemon) -> Vec<Lease> {
    LeaseApi::new(daemon.client()).list().await.unwrap()
}

async fn declare(provider: &Provider, round: usize) {
    timeout(PATIENCE, provider.declare(all(round))).await.unwrap().unwrap();
}

/// Sets one condition on every GPU, round after round, whichever way a writer may.
async fn write(gpus: Api<Gpu>, type_: String, by_patch: bool) {
    let params = PostParams::default();
    for round in 0..ROUNDS {
        let said = said(&type_, round);
        for name in GPUS {
            if by_patch {
                gpus.set_condition(name, &params, &said).await.unwrap();
                continue;
            }
            let change = |status: &mut <Gpu as device_api_core::resource::Resource>::Status| {
                status.conditions.retain(|condition| condition.type_ != type_);
                status.conditions.push(said.clone());
            };
            // Those who patch wait for nobody, and may win more often than this one tries.
            while let Err(error) = gpus.modify_status(name, &params, change).await {
                assert!(error.is_conflict(), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_and_writers_of_other_conditions_lose_nothing_of_each_other_over_a_socket() {
    let daemon = Daemon::start(&[]);
    let gpus = daemon.api();
    register(&gpus).await;
    let provider = Provider::start(daemon.api(), LeaseApi::new(daemon.client()), request()).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        writers.spawn(write(daemon.api(), format!("Writer{writer}"), writer % 2 == 0));
    }
    for round in 0..ROUNDS {
        declare(&provider, round).await;
        let expected = Some(format!("Round{round}"));
        assert_eq!(reasons(&gpus, "Cool").await, vec![expected.clone(); 3], "what is declared is stored");
        let clean = if round % 2 == 0 { expected } else { None };
        assert_eq!(reasons(&gpus, "Clean").await, vec![clean; 3], "what is not declared any more is gone");
    }
    timeout(PATIENCE, writers.join_all()).await.unwrap();
    let last = vec![Some(format!("Round{}", ROUNDS - 1)); 3];
    for writer in 0..6 {
        assert_eq!(reasons(&gpus, &format!("Writer{writer}")).await, last, "Writer{writer}");
    }
    assert_eq!(reasons(&gpus, "Cool").await, last);
    provider.stop().await.unwrap();
    assert_eq!(leases(&daemon).await, []);
    daemon.assert_well().await;
}

/// Leases over the socket, of which the answer to an acquire can be lost.
#[derive(Clone)]
struct Line {
    leases: LeaseApi,
    loses_answer: Arc<AtomicBool>,
}

impl LeaseVerbs for Line {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        let lease = self.leases.acquire(request).await?;
        if self.loses_answer.swap(false, Ordering::Relaxed) {
            let retry_after = Some(Duration::ZERO);
            let why = "the answer was lost".to_owned();
            return Err(Error::Unavailable { why, retry_after, cause: Cause::unknown() });
        }
        Ok(lease)
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        self.leases.release(name, id).await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        self.leases.list().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_goes_on_after_a_restart_and_after_the_store_was_lost() {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    register(&daemon.api()).await;
    // One client for the whole test.
    let line = Line { leases: LeaseApi::new(daemon.client()), loses_answer: Arc::default() };
    let provider = Provider::start(daemon.api(), line.clone(), request()).await.unwrap();
    declare(&provider, 0).await;
    let first = leases(&daemon).await.remove(0);

    daemon.kill();
    daemon = Daemon::start_in(folder.path(), &[]);
    declare(&provider, 1).await;
    assert_eq!(reasons(&daemon.api(), "Cool").await, vec![Some("Round1".to_owned()); 3]);
    assert_eq!(leases(&daemon).await[0].id, first.id);

    // The answer by which it is given another lease is lost, and so it has to know that for its own.
    daemon.kill();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("state.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    line.loses_answer.store(true, Ordering::Relaxed);
    daemon = Daemon::start_in(folder.path(), &[]);
    register(&daemon.api()).await;
    declare(&provider, 2).await;
    assert_eq!(reasons(&daemon.api(), "Cool").await, vec![Some("Round2".to_owned()); 3]);
    assert!(!line.loses_answer.load(Ordering::Relaxed), "an answer was lost");
    let last = leases(&daemon).await.remove(0);
    assert_ne!(last.id, first.id);
    assert_eq!((last.duration, last.condition_types), (first.duration, first.condition_types));
    provider.stop().await.unwrap();
    assert_eq!(leases(&daemon).await, []);
    daemon.assert_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_server_stood_still_for_longer_than_its_lease_declares_all_anew() {
    let daemon = Daemon::start(&[]);
    register(&daemon.api()).await;
    let lease = Duration::from_secs(2);
    let (gpus, leases_api) = (daemon.api(), LeaseApi::new(daemon.client()));
    let provider = Provider::start(gpus, leases_api, request().with_duration(lease)).await.unwrap();
    declare(&provider, 0).await;
    for round in 1..3 {
        daemon.signal(Signal::STOP);
        let declaring = declare(&provider, round);
        let thawing = async {
            tokio::time::sleep(lease * 2).await;
            daemon.signal(Signal::CONT);
        };
        tokio::join!(declaring, thawing);
        let expected = vec![Some(format!("Round{round}")); 3];
        // The keeper may see the lease expired before the provider has renewed it, and between two rounds of it.
        let settled = async {
            while reasons(&daemon.api(), "Cool").await != expected || leases(&daemon).await[0].state != LeaseState::Held
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, settled).await.unwrap();
    }
    provider.stop().await.unwrap();
    daemon.assert_well().await;
}
