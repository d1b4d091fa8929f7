// SPDX-License-Identifier: Apache-2.0
//! What writers do again and again, by many at once and on a registry in process.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::sync::Arc;
use std::time::Duration;

use device_api_client::{Outcome, VerbsExt as _, retry_on_conflict};
use device_api_core::registry::{DeleteParams, Ledger, LedgerOptions, PostParams, Registry};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuSpec, GpuStrategy, ObjectMeta, condition};
use device_api_core::testing::{CallFaults, FaultyVerbs, ManualClock, Verb};
use device_api_store_memory::Memory;
use tokio::task::JoinSet;

const WRITERS: usize = 8;
const WRITES: usize = 10;

async fn registry(clock: &ManualClock) -> Registry<Gpu> {
    let options = LedgerOptions::default().with_clock(Arc::new(clock.clone()));
    let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), options).await.unwrap();
    ledger.registry(GpuStrategy).await.unwrap()
}

async fn with_a_gpu() -> (Registry<Gpu>, ManualClock) {
    let clock = ManualClock::default();
    let gpus = registry(&clock).await;
    gpus.create(&PostParams::default(), &named("x")).await.unwrap();
    (gpus, clock)
}

/// Lets each writer write as often as it does, all at once.
async fn all_at_once<W, T>(mut writer: impl FnMut(usize) -> W)
where
    W: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut writers: JoinSet<T> = (0..WRITERS).map(&mut writer).collect();
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
}

fn named(name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() }
}

fn count(gpu: &Gpu) -> usize {
    gpu.metadata.annotations.get("count").map_or(0, |count| count.parse().unwrap())
}

fn count_up(gpu: &mut Gpu) {
    let next = count(gpu) + 1;
    gpu.metadata.annotations.insert("count".to_owned(), next.to_string());
}

/// What another does while a closure runs.
fn meanwhile<T>(other: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(other))
}

fn healthy(writer: usize, status: ConditionStatus) -> Condition {
    Condition::new(format!("Writer{writer}"), status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retried_on_conflict_no_count_of_eight_writers_is_lost() {
    let (gpus, _) = with_a_gpu().await;
    all_at_once(|_| {
        let gpus = gpus.clone();
        async move {
            for _ in 0..WRITES {
                retry_on_conflict(|| async {
                    let mut gpu = Gpu::clone(&*gpus.get("x").await?);
                    count_up(&mut gpu);
                    tokio::task::yield_now().await;
                    gpus.replace("x", &PostParams::default(), &gpu).await
                })
                .await
                .unwrap();
            }
        }
    })
    .await;
    assert_eq!(count(&gpus.get("x").await.unwrap()), WRITERS * WRITES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_eight_writers_change_at_once_loses_no_change() {
    let (gpus, _) = with_a_gpu().await;
    all_at_once(|_| {
        let gpus = gpus.clone();
        async move {
            for _ in 0..WRITES {
                gpus.modify_status("x", &PostParams::default(), |status| {
                    let next = status.conditions.len();
                    status.conditions.push(Condition::new(format!("C{next}"), ConditionStatus::True));
                })
                .await
                .unwrap();
            }
        }
    })
    .await;
    assert_eq!(gpus.get("x").await.unwrap().status.conditions.len(), WRITERS * WRITES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_providers_that_set_their_conditions_at_once_keep_them_all() {
    let (gpus, _) = with_a_gpu().await;
    all_at_once(|writer| {
        let gpus = gpus.clone();
        async move {
            for turn in 0..=WRITES {
                let status = if turn % 2 == 0 { ConditionStatus::True } else { ConditionStatus::False };
                gpus.set_condition("x", &PostParams::default(), &healthy(writer, status)).await.unwrap();
            }
        }
    })
    .await;
    let gpu = gpus.get("x").await.unwrap();
    assert_eq!(gpu.status.conditions.len(), WRITERS);
    assert!(gpu.status.conditions.iter().all(|condition| condition.status == ConditionStatus::True));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_writers_that_create_or_update_one_creates_and_no_count_is_lost() {
    let gpus = registry(&ManualClock::default()).await;
    let created = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    all_at_once(|writer| {
        let (gpus, created) = (gpus.clone(), Arc::clone(&created));
        async move {
            let change = |gpu: &mut Gpu| {
                count_up(gpu);
                gpu.status.conditions.retain(|condition| condition.type_ != format!("Writer{writer}"));
                gpu.status.conditions.push(healthy(writer, ConditionStatus::True));
            };
            for _ in 0..WRITES {
                if let Outcome::Created(_) = gpus.create_or_update("x", &PostParams::default(), change).await.unwrap() {
                    created.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    })
    .await;
    let gpu = gpus.get("x").await.unwrap();
    assert_eq!((count(&gpu), gpu.status.conditions.len()), (WRITERS * WRITES, WRITERS));
    assert_eq!(created.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_there_for_all_who_ask_while_another_deletes_it() {
    let gpus = registry(&ManualClock::default()).await;
    all_at_once(|writer| {
        let gpus = gpus.clone();
        async move {
            for _ in 0..WRITES {
                if writer == 0 {
                    // Whether it is there just now is not the point.
                    let _ = gpus.delete("x", &DeleteParams::default()).await;
                } else {
                    let entry = gpus.entry("x").and_modify(count_up);
                    entry.or_create(&PostParams::default(), Gpu::default).await.unwrap();
                }
            }
        }
    })
    .await;
    let gpu = gpus.entry("x").or_create(&PostParams::default(), Gpu::default).await.unwrap().into_object();
    assert_eq!(gpu.metadata.name, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_overtaken_by_a_create_or_a_delete_starts_over() {
    let gpus = registry(&ManualClock::default()).await;
    let params = PostParams::default();
    // Between the read that found nothing and the create, another creates it.
    let make = || {
        meanwhile(gpus.create(&params, &named("x"))).unwrap();
        Gpu::default()
    };
    let overtaken = gpus.entry("x").and_modify(count_up).or_create(&params, make).await.unwrap();
    assert!(matches!(overtaken, Outcome::Updated(gpu) if count(&gpu) == 1));

    // Between the read that found it and the write, another deletes it.
    let mut is_first = true;
    let change = |gpu: &mut Gpu| {
        if std::mem::take(&mut is_first) {
            meanwhile(gpus.delete("x", &DeleteParams::default())).unwrap();
        }
        count_up(gpu);
    };
    let overtaken = gpus.entry("x").and_modify(change).or_create(&params, Gpu::default).await.unwrap();
    assert!(matches!(overtaken, Outcome::Created(gpu) if count(&gpu) == 0));
}

#[tokio::test]
async fn an_entry_says_what_became_of_it_and_writes_only_what_differs() {
    let gpus = registry(&ManualClock::default()).await;
    let params = PostParams::default();
    let uuid = |gpu: &mut Gpu| gpu.spec = GpuSpec { uuid: "GPU-1".to_owned() };
    let created = gpus.create_or_update("GPU-1", &params, uuid).await.unwrap();
    assert!(matches!(&created, Outcome::Created(gpu) if gpu.metadata.name == "gpu-1" && gpu.spec.uuid == "GPU-1"));
    let same = gpus.create_or_update("GPU-1", &params, uuid).await.unwrap();
    assert_eq!(same, Outcome::Unchanged(created.into_object()));
    let both = |gpu: &mut Gpu| {
        gpu.spec.uuid.clear();
        gpu.status.conditions.push(healthy(0, ConditionStatus::True));
    };
    let Outcome::Updated(updated) = gpus.create_or_update("gpu-1", &params, both).await.unwrap() else {
        panic!("nothing was updated");
    };
    assert_eq!((updated.spec.uuid.as_str(), updated.status.conditions.len(), updated.metadata.generation), ("", 1, 2));

    assert!(gpus.entry("y").or_create(&params, || named("z")).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn what_comes_to_the_same_is_unchanged_and_not_written() {
    let (gpus, clock) = with_a_gpu().await;
    let faults = CallFaults::new();
    let (counted, params) = (FaultyVerbs::new(gpus.clone(), &faults), PostParams::default());
    for writer in 0..2 {
        gpus.set_condition("x", &params, &healthy(writer, ConditionStatus::True)).await.unwrap();
    }
    clock.advance(Duration::from_secs(60));
    let stored = gpus.get("x").await.unwrap();
    // It says what holds, as they do: in place of what it said before, and without a time.
    let same = |gpu: &mut Gpu| {
        gpu.status.conditions.retain(|condition| condition.type_ != "Writer0");
        gpu.status.conditions.push(healthy(0, ConditionStatus::True));
    };
    let outcome = counted.entry("x").and_modify(same).or_create(&params, Gpu::default).await.unwrap();
    assert_eq!(outcome, Outcome::Unchanged(Arc::clone(&stored)));
    assert_eq!(faults.calls(Verb::ReplaceStatus) + faults.calls(Verb::Replace), 0);

    // What is the server's part is not changed by asking for it.
    let ignored = |gpu: &mut Gpu| gpu.metadata.generation = 99;
    let outcome = counted.create_or_update("x", &params, ignored).await.unwrap();
    assert_eq!(outcome, Outcome::Unchanged(stored));

    let other = |gpu: &mut Gpu| gpu.status.conditions = vec![healthy(0, ConditionStatus::False)];
    let dry = counted.create_or_update("x", &params.clone().dry_run(), other).await.unwrap();
    assert!(matches!(dry, Outcome::Updated(gpu) if gpu.status.conditions.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_overtaken_by_the_same_change_has_changed_nothing() {
    let (gpus, _) = with_a_gpu().await;
    let faults = CallFaults::new();
    let (counted, params) = (FaultyVerbs::new(gpus.clone(), &faults), PostParams::default());
    let mut is_first = true;
    let change = |gpu: &mut Gpu| {
        "GPU-1".clone_into(&mut gpu.spec.uuid);
        if std::mem::take(&mut is_first) {
            meanwhile(gpus.replace("x", &params, gpu)).unwrap();
        }
    };
    let outcome = counted.create_or_update("x", &params, change).await.unwrap();
    assert_eq!(outcome, Outcome::Unchanged(gpus.get("x").await.unwrap()));
    assert_eq!(faults.calls(Verb::Replace), 1, "the one that met the conflict");
}

#[tokio::test]
async fn a_condition_becomes_what_is_given_and_its_time_is_that_of_the_change() {
    let (gpus, clock) = with_a_gpu().await;
    let params = PostParams::default();
    let others = healthy(1, ConditionStatus::False).with_reason("Own").with_message("Own text");
    gpus.set_condition("x", &params, &others).await.unwrap();

    let sick = healthy(0, ConditionStatus::False).with_reason("Hot").with_message("93 C");
    let sick = Condition { observed_generation: Some(1), ..sick };
    gpus.set_condition("x", &params, &sick).await.unwrap();
    clock.advance(Duration::from_secs(60));

    let silent = healthy(0, ConditionStatus::False);
    let gpu = gpus.set_condition("x", &params, &silent).await.unwrap();
    let found = condition::find(&gpu.status.conditions, "Writer0").unwrap();
    let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(*found, Condition { last_transition_time: since, ..silent.clone() }, "no reason, and the old time");

    let again = gpus.set_condition("x", &params, &silent).await.unwrap();
    assert_eq!(again.metadata.resource_version, gpu.metadata.resource_version);

    let gpu = gpus.set_condition("x", &params, &healthy(0, ConditionStatus::True)).await.unwrap();
    let found = condition::find(&gpu.status.conditions, "Writer0").unwrap();
    assert_eq!(found.last_transition_time, Some("2026-01-01T00:01:00Z".parse().unwrap()));
    let kept = condition::find(&gpu.status.conditions, "Writer1").unwrap();
    assert_eq!(*kept, Condition { last_transition_time: since, ..others });
}
