// SPDX-License-Identifier: Apache-2.0
//! Peers that ask for much and take nothing, or announce much and send nothing: what they hold is bounded, and others
//! do not feel it.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use device_api_client::{Api, Client};
use device_api_core::Error;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::registry::{ListParams, PostParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, ObjectMeta};
use futures_util::future::{join_all, select_all};
use prost::Message as _;
use support::{Daemon, PATIENCE, raw};
use tonic::{Code, Status, Streaming};

const MEMORY: &str = "--datastore-endpoint=memory://";
const LIST: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/ListGpus";
const WATCH: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/WatchGpus";
const CREATE: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/CreateGpu";
/// What a stream is reset with, as the server says it.
const RESET: &str = "reset a stream";

/// A GPU of nearly a mebibyte, the largest that there can be.
fn large(name: &str, round: usize) -> Gpu {
    let mut gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
    for index in 0..33 {
        let message = format!("{round:08}{}", "m".repeat(30_000));
        let condition = Condition::new(format!("c{index}"), ConditionStatus::True).with_message(message);
        gpu.status.conditions.push(condition);
    }
    gpu
}

/// As many of them as one list can hold.
async fn fill(api: &Api<Gpu>, round: usize) {
    for index in 0..31 {
        let gpu = large(&format!("gpu-{index}"), round);
        if round == 0 {
            api.create(&PostParams::default(), &gpu).await.unwrap();
        } else {
            api.replace_status(&gpu.metadata.name, &PostParams::default(), &gpu).await.unwrap();
        }
    }
}

async fn list(client: &Client) -> Result<Streaming<Vec<u8>>, Status> {
    raw::begin(client, LIST, wire::ListGpusRequest::default().encode_to_vec()).await
}

/// Reads an answer to its end.
async fn read(mut answer: Streaming<Vec<u8>>) -> Result<usize, Status> {
    let mut bytes = 0;
    let reading = async {
        while let Some(message) = answer.message().await? {
            bytes += message.len();
        }
        Ok(bytes)
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_nobody_reads_are_refused_before_they_fill_the_memory() {
    let daemon = Daemon::start(&[MEMORY]);
    fill(&daemon.api(), 0).await;
    let clients = [daemon.client(), daemon.client()];
    let answers = join_all((0..40).map(|index| list(&clients[index % 2]))).await;
    let (unread, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(!unread.is_empty());
    assert!(!refused.is_empty());
    for refusal in refused {
        let error = Error::from(refusal.unwrap_err());
        assert!(matches!(error, Error::TooManyRequests { .. }) && error.is_retryable(), "{error:?}");
    }
    // Small calls go on, also on the same connection, and so do large ones when there is room again.
    for client in [&clients[0], &daemon.client()] {
        assert_eq!(
            Api::<Gpu>::all(client.clone()).get("nope").await.unwrap_err().to_string(),
            "gpus \"nope\" not found"
        );
    }
    assert!(list(&daemon.client()).await.is_err());
    // All at once, for those that are not read keep the others of their connection from going on.
    for bytes in join_all(unread.into_iter().map(|answer| read(answer.unwrap()))).await {
        assert!(bytes.unwrap() > 30_000_000);
    }
    assert!(read(list(&daemon.client()).await.unwrap()).await.unwrap() > 30_000_000);
    let peak = daemon.peak_memory();
    assert!(peak < 512 << 20, "the server took {peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_which_its_peer_takes_nothing_is_reset_alone() {
    let daemon = Daemon::start(&[MEMORY, "--request-timeout=1s"]);
    fill(&daemon.api(), 0).await;
    let client = daemon.client();
    let unread = list(&client).await.unwrap();
    daemon.says(RESET).await;
    assert_eq!(read(unread).await.unwrap_err().code(), Code::Cancelled);
    assert!(read(list(&client).await.unwrap()).await.unwrap() > 30_000_000, "the connection goes on");
    assert_eq!(daemon.stderr().matches(RESET).count(), 1, "{}", daemon.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_never_sent_to_their_end_are_refused_before_they_fill_the_memory() {
    let daemon = Daemon::start(&[MEMORY]);
    let clients: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    let calls = (0..400).map(|index| Box::pin(raw::half(&clients[index % 4], CREATE, 7 << 17)));
    let (first, _, rest) = tokio::time::timeout(PATIENCE, select_all(calls)).await.unwrap();
    let refusal = Error::from(Status::from_header_map(first.headers()).unwrap());
    assert!(matches!(refusal, Error::TooManyRequests { .. }) && refusal.is_retryable(), "{refusal:?}");
    // Most of the others are refused, too. The rest has what there is, and is kept.
    let mut rest = select_all(rest);
    let mut refused = 1;
    while refused < 300 {
        let (_, _, others) = tokio::time::timeout(PATIENCE, rest).await.unwrap();
        rest = select_all(others);
        refused += 1;
    }
    // Others do not feel it, as long as they want no more than their own.
    let other = daemon.api();
    let mut gpu = large("other", 0);
    gpu.status.conditions.truncate(24);
    other.create(&PostParams::default(), &gpu).await.unwrap();
    let refusal = other.create(&PostParams::default(), &large("larger", 0)).await;
    assert!(refusal.is_ok() || matches!(refusal, Err(Error::TooManyRequests { .. })), "{refusal:?}");
    let peak = daemon.peak_memory();
    assert!(peak < 512 << 20, "the server took {peak} bytes");

    // It is all given back, and with it what there is for others.
    drop(rest);
    drop(clients);
    let create = async { while other.create(&PostParams::default(), &large("last", 0)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, create).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_nobody_reads_end_and_what_they_held_is_free() {
    let daemon = Daemon::start(&[MEMORY, "--request-timeout=1s", "--history-max-bytes=8MiB"]);
    let (api, client) = (daemon.api(), daemon.client());
    fill(&api, 0).await;
    let mut unread = Vec::new();
    for round in 1..=16 {
        unread.push(raw::begin(&client, WATCH, wire::WatchGpusRequest::default().encode_to_vec()).await.unwrap());
        fill(&api, round).await;
    }
    let reset = async {
        while daemon.stderr().matches(RESET).count() < unread.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reset).await.unwrap();
    for code in join_all(unread.into_iter().map(async |watch| read(watch).await.unwrap_err().code())).await {
        assert_eq!(code, Code::Cancelled);
    }
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 31, "the connection goes on");
    let peak = daemon.peak_memory();
    assert!(peak < 512 << 20, "the server took {peak} bytes");
}
