// SPDX-License-Identifier: Apache-2.0
//! What writers do again and again, by many at once, in process and over connections of their own.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod worlds;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use device_api_client::{Outcome, VerbsExt as _};
use device_api_core::Result;
use device_api_core::registry::{PostParams, Verbs};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, condition};
use device_api_server::testing::TestServer;
use tokio::task::JoinSet;
use worlds::{gpu, over_socket, within};

const WRITERS: usize = 8;
const WRITES: usize = 10;

/// What a writer writes with. All but the last count up, so that a change that is lost shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Entry,
    CreateOrUpdate,
    ModifyStatus,
    SetConditions,
}

use Method::{CreateOrUpdate, Entry, ModifyStatus, SetConditions};

fn count(gpu: &Gpu, of: Method) -> usize {
    gpu.metadata.annotations.get(&format!("{of:?}")).map_or(0, |count| count.parse().unwrap())
}

fn count_up(gpu: &mut Gpu, of: Method) {
    let next = count(gpu, of) + 1;
    gpu.metadata.annotations.insert(format!("{of:?}"), next.to_string());
}

/// The count that is in the status.
fn status_count(conditions: &[Condition]) -> usize {
    condition::find(conditions, "Count").map_or(0, |count| count.reason.trim_start_matches('N').parse().unwrap())
}

/// The two conditions of a writer at a turn.
fn own(writer: usize, turn: usize) -> [Condition; 2] {
    ["Power", "Heat"]
        .map(|of| Condition::new(format!("{of}{writer}"), ConditionStatus::True).with_reason(format!("Turn{turn}")))
}

impl Method {
    /// Writes once; true when that created the object.
    async fn write(self, gpus: &impl Verbs<Gpu>, name: &str, writer: usize, turn: usize) -> Result<bool> {
        let params = PostParams::default();
        match self {
            Entry => {
                let first = || {
                    let mut first = Gpu::default();
                    count_up(&mut first, self);
                    first
                };
                let entry = gpus.entry(name).and_modify(|gpu| count_up(gpu, self));
                Ok(matches!(entry.or_create(&params, first).await?, Outcome::Created(_)))
            }
            CreateOrUpdate => {
                let outcome = gpus.create_or_update(name, &params, |gpu| count_up(gpu, self)).await?;
                Ok(matches!(outcome, Outcome::Created(_)))
            }
            ModifyStatus => {
                let change = |status: &mut <Gpu as device_api_core::resource::Resource>::Status| {
                    let next = status_count(&status.conditions) + 1;
                    status.conditions.retain(|condition| condition.type_ != "Count");
                    let count = Condition::new("Count", ConditionStatus::True).with_reason(format!("N{next}"));
                    status.conditions.push(count);
                };
                gpus.modify_status(name, &params, change).await.map(|_| false)
            }
            SetConditions => gpus.set_conditions(name, &params, &own(writer, turn)).await.map(|_| false),
        }
    }
}

/// Lets eight writers write as often as they do to one object, with these methods by turns, and checks that nothing is lost.
async fn assert_nothing_is_lost<V: Verbs<Gpu>>(server: &TestServer, handle: impl Fn() -> V, methods: &[Method]) {
    let name = "x";
    // These two change what is there.
    let is_there = methods.contains(&ModifyStatus) || methods.contains(&SetConditions);
    if is_there {
        server.registry().create(&PostParams::default(), &gpu(name)).await.unwrap();
    }
    let created = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for (writer, method) in (0..WRITERS).zip(methods.iter().copied().cycle()) {
        let (gpus, created) = (handle(), Arc::clone(&created));
        writers.spawn(async move {
            for turn in 0..WRITES {
                // How often one meets another is a matter of luck; that it was told so is not.
                let has_created = loop {
                    match method.write(&gpus, name, writer, turn).await {
                        Err(error) if error.is_conflict() && method != SetConditions => {}
                        other => break other.unwrap(),
                    }
                };
                created.fetch_add(usize::from(has_created), Ordering::Relaxed);
            }
        });
    }
    within(writers.join_all()).await;

    let gpu = server.registry().get(name).await.unwrap();
    let conditions = &gpu.status.conditions;
    for (writer, method) in (0..WRITERS).zip(methods.iter().copied().cycle()) {
        let writes = WRITERS / methods.len() * WRITES;
        match method {
            Entry | CreateOrUpdate => assert_eq!(count(&gpu, method), writes, "{method:?} of {methods:?}"),
            ModifyStatus => assert_eq!(status_count(conditions), writes, "{method:?} of {methods:?}"),
            SetConditions => {
                for own in own(writer, WRITES - 1) {
                    let found = condition::find(conditions, &own.type_).map(|found| &found.reason);
                    assert_eq!(found, Some(&own.reason), "{method:?} of {methods:?}");
                }
            }
        }
    }
    assert_eq!(created.load(Ordering::Relaxed), usize::from(!is_there), "{methods:?}");
}

const ALL: [Method; 4] = [Entry, CreateOrUpdate, ModifyStatus, SetConditions];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_writers_at_once_none_loses_a_change_in_process() {
    for methods in ALL.each_ref().map(std::slice::from_ref).into_iter().chain([&ALL[..2], &ALL[..]]) {
        let server = TestServer::builder().start().await;
        assert_nothing_is_lost(&server, || server.gpus(), methods).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_writers_at_once_none_loses_a_change_over_a_socket() {
    for methods in ALL.each_ref().map(std::slice::from_ref).into_iter().chain([&ALL[..2], &ALL[..]]) {
        let server = TestServer::builder().on_socket().start().await;
        // Each has a connection of its own.
        assert_nothing_is_lost(&server, || over_socket(&server), methods).await;
    }
}
