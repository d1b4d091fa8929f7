// SPDX-License-Identifier: Apache-2.0
//! kube's own `Api`, reflector, `Controller` and waiting on the GPUs of a server, with no Kubernetes.
#![allow(clippy::unwrap_used)]

mod worlds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use device_api_client::kube::Apiserver;
use device_api_client::wait::wait_for;
use device_api_core::registry::{
    DeleteParams as CoreDelete, ListParams as CoreList, Part, PostParams as CorePost, Verbs,
};
use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuSpec, GpuStatus, Resource as _};
use device_api_server::testing::{CallFault, CallFaults, TestServer, Verb, WatchFault};
use futures_util::StreamExt as _;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind, Object};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::wait::{await_condition, conditions, delete};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use worlds::{gpu, over_socket, through_grpc, within};

/// How long what must happen may take: no verdict depends on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a reflector must list at least: at first, and after each of the two times that history has expired.
const LISTINGS: u32 = 3;

/// A GPU in kube's own types.
type KubeGpu = Object<GpuSpec, GpuStatus>;

fn kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(Gpu::GROUP, Gpu::VERSION, Gpu::KIND), Gpu::PLURAL)
}

fn api(gpus: impl Verbs<Gpu>) -> Api<KubeGpu> {
    Api::default_namespaced_with(kube::Client::new(Apiserver::new(gpus), "default"), &kind())
}

/// What a failure says to kube's users.
fn failed<T: std::fmt::Debug>(result: kube::Result<T>) -> String {
    match result {
        Err(kube::Error::Api(status)) => format!("{} {}: {}", status.code, status.reason, status.message),
        other => format!("{other:?}"),
    }
}

/// Each verb of kube's `Api`, and how it fails.
async fn verbs(_server: &TestServer, gpus: impl Verbs<Gpu>) -> Vec<String> {
    let api = api(gpus);
    let params = PostParams { field_manager: Some("me".to_owned()), ..PostParams::default() };
    let own = KubeGpu::new("own", &kind(), GpuSpec { uuid: "GPU-own".to_owned() });
    let mut told = Vec::new();

    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert_eq!(api.create(&dry, &own).await.unwrap().spec.uuid, "GPU-own");
    assert!(api.get_opt("own").await.unwrap().is_none(), "a dry run stores nothing");
    let created = api.create(&params, &own).await.unwrap();
    told.push(failed(api.create(&params, &own).await));

    let mut changed = created.clone();
    changed.spec.uuid = "GPU-changed".to_owned();
    let replaced = api.replace("own", &params, &changed).await.unwrap();
    assert_eq!((replaced.metadata.generation, replaced.spec.uuid.as_str()), (Some(2), "GPU-changed"));
    told.push(failed(api.replace("own", &params, &changed).await));

    let merge = Patch::Merge(json!({"metadata": {"labels": {"zone": "left"}}}));
    api.patch("own", &PatchParams::default(), &merge).await.unwrap();
    let condition = json!({"type": "Healthy", "status": "False", "reason": "Xid", "message": ""});
    let strategic = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    let mut patched = api.patch_status("own", &PatchParams::default(), &strategic).await.unwrap();
    let status = patched.status.get_or_insert_default();
    assert_eq!(
        (status.conditions[0].type_.as_str(), status.conditions[0].status.clone()),
        ("Healthy", ConditionStatus::False)
    );
    status.conditions[0].status = ConditionStatus::True;
    api.replace_status("own", &params, &patched).await.unwrap();
    let read = api.get_status("own").await.unwrap();
    assert_eq!(read.status.unwrap().conditions[0].status, ConditionStatus::True);
    told.push(failed(api.patch("own", &PatchParams::apply("me").force(), &Patch::Apply(&own)).await));

    let selected = kube::api::ListParams::default().labels("zone=left").limit(1);
    let page = api.list(&selected).await.unwrap();
    told.extend(page.items.iter().filter_map(|gpu| gpu.metadata.name.clone()));
    told.push(failed(api.list(&kube::api::ListParams::default().labels("!!")).await));

    let another = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    told.push(failed(api.delete("own", &DeleteParams::default().preconditions(another)).await));
    let status = api.delete("own", &DeleteParams::default()).await.unwrap().right().unwrap();
    assert_eq!(Some(status.details.unwrap().uid), created.metadata.uid);
    told.push(failed(api.get("own").await));
    let uid = created.metadata.uid.unwrap();
    told.into_iter().map(|told| told.replace(&uid, "UID")).collect()
}

#[tokio::test]
async fn kubes_api_has_its_verbs_and_fails_alike_whatever_is_in_between() {
    let server = TestServer::builder().on_socket().start().await;
    let told = everywhere!(server, verbs);
    let starts = [
        "409 AlreadyExists: gpus \"own\" already exists",
        "409 Conflict: Operation cannot be fulfilled on gpus \"own\": the object has been modified",
        "415 UnsupportedMediaType: unsupported media type: \"application/apply-patch+yaml\"",
        "own",
        "400 BadRequest: ",
        "409 Conflict: Operation cannot be fulfilled on gpus \"own\": Precondition failed: UID in precondition: another",
        "404 NotFound: gpus \"own\" not found",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told} is not {start}");
    }
}

/// The name and version of each GPU of the server.
async fn truth(server: &TestServer) -> BTreeMap<String, String> {
    let list = server.registry().list(&CoreList::default()).await.unwrap();
    let of = |gpu: &Arc<Gpu>| (gpu.metadata.name.clone(), gpu.metadata.resource_version.clone());
    list.items.iter().map(of).collect()
}

fn held(store: &reflector::Store<KubeGpu>) -> BTreeMap<String, String> {
    let of = |gpu: &Arc<KubeGpu>| {
        (gpu.metadata.name.clone().unwrap_or_default(), gpu.metadata.resource_version.clone().unwrap_or_default())
    };
    store.state().iter().map(of).collect()
}

/// A reflector of kube's, through everything that goes wrong with a server, until it holds what the
/// server does. How often it listed.
async fn reflected(server: &mut TestServer, gpus: impl Verbs<Gpu>, config: watcher::Config) -> u32 {
    let writer = reflector::store::Writer::new(kind());
    let store = writer.as_reader();
    let mut events = watcher(api(gpus), config).default_backoff().reflect(writer).boxed();

    let mut listings = 0;
    for round in 0..5 {
        match round {
            0 => {}
            // The watch is lost, and then every one after a few events.
            1 => {
                server.faults().every_watch(WatchFault::CutAfter(2));
                server.faults().cut_watches();
            }
            2 => {
                server.faults().clear();
                server.restart().await;
            }
            3 => server.kill().await,
            _ => {
                server.kill().await;
                server.faults().next(Verb::List, CallFault::Fail(CallFaults::lost()));
                server.faults().next(Verb::Watch, CallFault::Fail(CallFaults::lost()));
            }
        }
        server.start().await;
        let registry = server.registry();
        registry.create(&CorePost::default(), &gpu(&format!("new-{round}"))).await.unwrap();
        registry.delete(&format!("gpu-{round}"), &CoreDelete::default()).await.unwrap();
        let sick = |gpu: &mut Gpu| {
            gpu.status.conditions = vec![Condition::new("Healthy", ConditionStatus::False).with_reason("Xid")];
            Ok(())
        };
        let params = CorePost::default();
        registry
            .modify_in_place(Part::Status, &format!("new-{round}"), &params, Default::default(), sick)
            .await
            .unwrap();
        if round >= 3 {
            // What the watcher, which was not polled since the server died, resumes from.
            server.expire_history().await;
        }
        let wanted = truth(server).await;
        let caught_up = async {
            while held(&store) != wanted {
                // What fails is tried again: the stream goes on after it.
                if let Ok(watcher::Event::Init) = events.next().await.unwrap() {
                    listings += 1;
                }
            }
        };
        within(caught_up).await;
    }
    assert_eq!(held(&store).len(), 8, "of eight, five have gone and five are new");
    listings
}

#[tokio::test(start_paused = true)]
async fn kubes_reflector_follows_the_registry_in_process_through_faults() {
    let mut server = TestServer::builder().with_gpus(8).start().await;
    let gpus = server.gpus();
    assert!(reflected(&mut server, gpus, watcher::Config::default().page_size(3)).await >= LISTINGS);
}

#[tokio::test(start_paused = true)]
async fn kubes_reflector_follows_through_grpc_with_streaming_lists() {
    let mut server = TestServer::builder().with_gpus(8).start().await;
    let gpus = through_grpc(&server);
    assert!(reflected(&mut server, gpus, watcher::Config::default().streaming_lists()).await >= LISTINGS);
}

#[tokio::test]
async fn kubes_reflector_follows_a_server_on_a_socket_through_faults() {
    let mut server = TestServer::builder().with_gpus(8).on_socket().start().await;
    let gpus = over_socket(&server);
    assert!(reflected(&mut server, gpus, watcher::Config::default()).await >= LISTINGS);
}

/// What a reconciler of the tests works with.
struct Context {
    api: Api<KubeGpu>,
}

async fn reconcile(gpu: Arc<KubeGpu>, context: Arc<Context>) -> kube::Result<Action> {
    let name = gpu.metadata.name.clone().unwrap_or_default();
    if gpu.status.as_ref().is_none_or(|status| status.conditions.is_empty()) {
        let seen = json!({"type": "Seen", "status": "True", "reason": "Reconciled", "message": ""});
        let patch = Patch::Strategic(json!({"status": {"conditions": [seen]}}));
        context.api.patch_status(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(Action::await_change())
}

#[tokio::test]
async fn kubes_controller_reconciles_every_gpu_and_tries_again_what_failed() {
    let server = TestServer::builder().with_gpus(3).on_socket().start().await;
    server.faults().next(Verb::PatchStatus, CallFault::Fail(CallFaults::lost()));
    let api = api(over_socket(&server));
    let (stop, context) = (CancellationToken::new(), Arc::new(Context { api: api.clone() }));
    let outcomes = Controller::new_with(api, watcher::Config::default(), kind())
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, |_, _: &kube::Error, _| Action::requeue(Duration::from_millis(1)), context);
    let running = tokio::spawn(outcomes.map(|outcome| outcome.is_ok()).collect::<Vec<_>>());

    let is_seen = |gpu: &Gpu| gpu.status.conditions.iter().any(|condition| condition.type_ == "Seen");
    server.registry().create(&CorePost::default(), &gpu("late")).await.unwrap();
    for name in ["gpu-0", "gpu-1", "gpu-2", "late"] {
        let has_been_seen = |gpu: Option<&Gpu>| gpu.is_some_and(is_seen);
        within(wait_for(&server.gpus(), name, has_been_seen, PATIENCE)).await.unwrap();
    }
    stop.cancel();
    let outcomes = within(running).await.unwrap();
    assert_eq!(outcomes.iter().filter(|is_ok| !**is_ok).count(), 1, "the one call that was made to fail");
    assert_eq!(server.faults().calls(Verb::PatchStatus), 5, "each GPU once, and the one that failed again");
}

#[tokio::test]
async fn kubes_waiting_sees_an_object_come_change_and_go() {
    let server = TestServer::builder().start().await;
    let api = api(server.gpus());
    let created = tokio::spawn(await_condition(api.clone(), "own", conditions::is_created()));
    server.registry().create(&CorePost::default(), &gpu("own")).await.unwrap();
    let created = within(created).await.unwrap().unwrap().unwrap();

    let uid = created.metadata.uid.unwrap();
    let deleted = tokio::spawn({
        let (api, uid) = (api.clone(), uid.clone());
        async move { await_condition(api, "own", conditions::is_deleted(&uid)).await.map(|_| ()) }
    });
    within(delete::delete_and_finalize(api, "own", &DeleteParams::default())).await.unwrap();
    within(deleted).await.unwrap().unwrap();
    assert!(truth(&server).await.is_empty());
}
