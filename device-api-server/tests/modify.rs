// SPDX-License-Identifier: Apache-2.0
//! Read, change, replace, and again after a conflict, by clients with connections of their own.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod support;

use device_api_client::{Api, VerbsExt as _, retry_on_conflict};
use device_api_core::registry::{Part, PostParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, ObjectMeta};
use support::Daemon;

fn count(gpu: &Gpu) -> u32 {
    gpu.metadata.annotations.get("count").map_or(0, |count| count.parse().unwrap())
}

async fn count_up(api: &Api<Gpu>) -> device_api_core::Result<u32> {
    let change = |gpu: &mut Gpu| {
        let next = count(gpu) + 1;
        gpu.metadata.annotations.insert("count".to_owned(), next.to_string());
        Ok(())
    };
    api.modify(Part::Main, "x", &PostParams::default(), change).await.map(|gpu| count(&gpu))
}

async fn with_a_gpu() -> (Daemon, Api<Gpu>) {
    let daemon = Daemon::start(&[]);
    let api = daemon.api();
    let gpu = Gpu { metadata: ObjectMeta::named("x"), ..Gpu::default() };
    api.create(&PostParams::default(), &gpu).await.unwrap();
    (daemon, api)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_that_count_up_at_once_lose_no_count() {
    const WRITERS: u32 = 8;
    const WRITES: u32 = 10;
    let (daemon, api) = with_a_gpu().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let api = daemon.api();
            tokio::spawn(async move {
                let mut counts = Vec::new();
                for _ in 0..WRITES {
                    counts.push(count_up(&api).await.unwrap());
                }
                counts
            })
        })
        .collect();
    let mut counts = Vec::new();
    for writer in writers {
        counts.extend(writer.await.unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=WRITERS * WRITES).collect::<Vec<_>>());
    assert_eq!(count(&api.get("x").await.unwrap()), WRITERS * WRITES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_that_create_or_update_and_set_conditions_at_once_lose_nothing() {
    const WRITES: usize = 10;
    let daemon = Daemon::start(&[]);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let api = daemon.api();
        writers.spawn(async move {
            let params = PostParams::default();
            for turn in 0..WRITES {
                let count_up = |gpu: &mut Gpu| {
                    let next = count(gpu) + 1;
                    gpu.metadata.annotations.insert("count".to_owned(), next.to_string());
                };
                // The conditions of the others, which wait for nobody, may win more often than a writer tries.
                retry_on_conflict(|| api.create_or_update("x", &params, count_up)).await.unwrap();
                let condition = Condition::new(format!("Writer{writer}"), ConditionStatus::True);
                let condition = condition.with_reason(format!("Turn{turn}"));
                api.set_condition("x", &params, &condition).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let gpu = daemon.api().get("x").await.unwrap();
    assert_eq!((count(&gpu), gpu.status.conditions.len()), (8 * 10, 8));
    assert!(gpu.status.conditions.iter().all(|condition| condition.reason == "Turn9"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_to_whom_another_is_always_ahead_is_told_of_the_conflict() {
    let (daemon, api) = with_a_gpu().await;
    let faster = daemon.api();
    let mut tries = 0;
    let change = |gpu: &mut Gpu| {
        tries += 1;
        gpu.spec.uuid = "late".to_owned();
        let ahead = count_up(&faster);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ahead)).map(drop)
    };
    let error = api.modify(Part::Main, "x", &PostParams::default(), change).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(tries > 1);
    let last = api.get("x").await.unwrap();
    assert_eq!((last.spec.uuid.as_str(), count(&last)), ("", tries));
}

#[tokio::test]
async fn a_change_that_fails_is_not_written() {
    let (_daemon, api) = with_a_gpu().await;
    let before = api.get("x").await.unwrap();
    let refuse = |gpu: &mut Gpu| {
        gpu.spec.uuid = "changed".to_owned();
        Err(device_api_core::Error::bad_request("spec.uuid", "on second thoughts"))
    };
    let error = api.modify(Part::Main, "x", &PostParams::default(), refuse).await.unwrap_err();
    assert_eq!(error, device_api_core::Error::bad_request("spec.uuid", "on second thoughts"));
    assert_eq!(api.get("x").await.unwrap(), before);
}
