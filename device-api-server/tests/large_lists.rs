// SPDX-License-Identifier: Apache-2.0
//! More objects than one reply may hold, on the real binary: whoever lists in pages reads them all, and so does all that is ours.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use device_api_client::{Declaration, LeaseApi, Provider};
use device_api_core::lease::AcquireLease;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_client::GpuServiceClient;
use device_api_core::registry::{ListParams, PostParams};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, ObjectMeta};
use support::{Daemon, PATIENCE};
use tonic::Code;

/// So many objects of a quarter of a mebibyte are more than the 32 MiB that a reply may have.
const OBJECTS: usize = 140;

/// A server whose store is full of what others made.
async fn crowded(flags: &[&str]) -> Daemon {
    let daemon = Daemon::start(flags);
    let gpus = daemon.api();
    for index in 0..OBJECTS {
        let metadata = ObjectMeta::named(format!("x-{index:03}")).with_annotation("note", "n".repeat(250 << 10));
        gpus.create(&PostParams::default(), &Gpu { metadata, ..Gpu::default() }).await.unwrap();
    }
    daemon
}

#[tokio::test]
async fn a_client_with_grpcs_own_limit_reads_every_page_and_one_that_wants_all_at_once_is_told_to() {
    let daemon = crowded(&["--datastore-endpoint=memory://"]).await;
    // As every gRPC client is made: 4 MiB for a message.
    let mut stub = GpuServiceClient::new(daemon.client().transport());
    let mut opts = wire::ListOptions { limit: 500, ..Default::default() };
    let (mut names, mut versions) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let request = wire::ListGpusRequest { opts: Some(opts.clone()), ..Default::default() };
        let list = stub.list_gpus(request).await.unwrap().into_inner().gpu_list.unwrap();
        assert!(!list.items.is_empty());
        names.extend(list.items.into_iter().map(|gpu| gpu.metadata.unwrap().name));
        let metadata = list.metadata.unwrap();
        versions.insert(metadata.resource_version);
        let left = metadata.remaining_item_count.unwrap_or(0);
        assert_eq!(names.len() as i64 + left, OBJECTS as i64);
        if metadata.r#continue.is_empty() {
            break;
        }
        opts.r#continue = metadata.r#continue;
    }
    assert_eq!((names.len(), versions.len()), (OBJECTS, 1));
    let refusal = stub.list_gpus(wire::ListGpusRequest::default()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("limit and continue"), "{refusal}");
    assert!(daemon.api().list(&ListParams::default()).await.unwrap_err().is_too_large());
    assert_eq!(daemon.api().list_all(&ListParams::default()).await.unwrap().items.len(), OBJECTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_declares_and_a_source_finds_its_gpus_among_more_objects_than_a_reply_may_have() {
    let daemon = crowded(&["--datastore-endpoint=memory://"]).await;
    let mut source = support::device_apiserver();
    source.args(["nvml-provider", "--nvml=simulated:1", "--target"]).arg(daemon.socket());
    let mut source = source.spawn().unwrap();

    let request = AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]);
    let provider = Provider::start(daemon.api(), LeaseApi::new(daemon.client()), request).await.unwrap();
    let last = format!("x-{:03}", OBJECTS - 1);
    let cool = Condition::new("ThermalHealthy", ConditionStatus::True);
    let declaration = Declaration::default().with::<Gpu>(&last, [cool]).unwrap();
    tokio::time::timeout(PATIENCE, provider.declare(declaration)).await.unwrap().unwrap();
    assert_eq!(daemon.api().get(&last).await.unwrap().status.conditions[0].type_, "ThermalHealthy");

    let found = async {
        let of_source = ListParams::default().labels("app.kubernetes.io/managed-by=nvml");
        while daemon.api().list(&of_source).await.unwrap().items.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap();
    source.kill().unwrap();
    source.wait().unwrap();
}
