// SPDX-License-Identifier: Apache-2.0
//! The kubelet's side of a device plugin, on its sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use device_api_client::core::registry::PostParams;
use device_api_client::core::resource::ConditionStatus::{False, True};
use device_api_client::core::resource::{Gpu, GpuSpec, ObjectMeta};
use device_api_client::{Client, ConnectOptions, Transport};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::kubelet::v1beta1::device_plugin_client::DevicePluginClient;
use crate::kubelet::v1beta1::registration_server::{Registration, RegistrationServer};
use crate::kubelet::v1beta1::{
    AllocateRequest, ContainerAllocateRequest, Empty, ListAndWatchResponse, RegisterRequest,
};
use crate::node::Node;
use crate::{device_plugin, socket};

/// Ends a test that hangs.
const LONG: Duration = Duration::from_secs(60);

/// The part of the kubelet that plugins register with. It is killed when it is dropped.
struct Kubelet {
    folder: PathBuf,
    registrations: mpsc::Receiver<RegisterRequest>,
    _serving: JoinSet<()>,
}

struct Registry {
    registrations: mpsc::Sender<RegisterRequest>,
    refuses: bool,
}

#[tonic::async_trait]
impl Registration for Registry {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        self.registrations.send(request.into_inner()).await.unwrap();
        if self.refuses { Err(Status::internal("unsupported version")) } else { Ok(Response::new(Empty {})) }
    }
}

impl Kubelet {
    /// Takes the place of an earlier one.
    fn start(folder: &Path, refuses: bool) -> Self {
        let (registrations, received) = mpsc::channel(8);
        let service = RegistrationServer::new(Registry { registrations, refuses });
        let incoming = socket::bind(&folder.join("kubelet.sock")).unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            socket::server().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { folder: folder.to_owned(), registrations: received, _serving: serving }
    }

    /// Waits for a plugin, and calls it back.
    async fn plugin(&mut self) -> Plugin {
        let request = timeout(LONG, self.registrations.recv()).await.unwrap().unwrap();
        assert_eq!((request.version.as_str(), request.resource_name.as_str()), ("v1beta1", device_plugin::RESOURCE));
        let target = format!("unix://{}", self.folder.join(request.endpoint).display()).parse().unwrap();
        let mut calls = DevicePluginClient::new(Client::lazy(&target, ConnectOptions::default()).transport());
        let options = calls.get_device_plugin_options(Empty {}).await.unwrap().into_inner();
        assert_eq!(Some(options), request.options);
        let lists = calls.list_and_watch(Empty {}).await.unwrap().into_inner();
        Plugin { calls, lists, devices: BTreeMap::new() }
    }
}

struct Plugin {
    calls: DevicePluginClient<Transport>,
    lists: Streaming<ListAndWatchResponse>,
    /// Their health, by id.
    devices: BTreeMap<String, String>,
}

impl Plugin {
    /// Waits until each device is as expected, and there is no other.
    async fn until(&mut self, expected: &[(String, &str)]) {
        let expected = expected.iter().map(|(id, health)| (id.clone(), (*health).to_owned())).collect();
        while self.devices != expected {
            let list = timeout(LONG, self.lists.message()).await.unwrap().unwrap().unwrap();
            self.devices = list.devices.into_iter().map(|device| (device.id, device.health)).collect();
        }
    }

    async fn allocate(&mut self, id: &str) -> Result<Vec<String>, Status> {
        let container = ContainerAllocateRequest { devices_ids: vec![id.to_owned()] };
        let reply = self.calls.allocate(AllocateRequest { container_requests: vec![container] }).await?;
        let containers = reply.into_inner().container_responses;
        Ok(containers.into_iter().flat_map(|given| given.cdi_devices).map(|device| device.name).collect())
    }
}

fn uuid(number: usize) -> String {
    format!("GPU-00000000-0000-0000-0000-{number:012x}")
}

/// The plugin, until it is dropped.
fn run(node: &Node, folder: &Path) -> JoinSet<Result<(), String>> {
    let (devices, folder) = (node.devices(), folder.to_owned());
    let mut plugin = JoinSet::new();
    plugin.spawn(async move { device_plugin::run(devices, &folder).await.map_err(|error| error.to_string()) });
    plugin
}

#[tokio::test]
async fn the_kubelet_is_told_which_devices_are_known_to_be_healthy_now() {
    let (node, folder) = (Node::start().await, TempDir::new().unwrap());
    let mut kubelet = Kubelet::start(folder.path(), false);
    let _plugin = run(&node, folder.path());
    let mut plugin = kubelet.plugin().await;
    plugin.until(&[(uuid(0), "Healthy"), (uuid(1), "Unhealthy"), (uuid(2), "Unhealthy")]).await;
    node.set("gpu-0", False).await;
    plugin.until(&[(uuid(0), "Unhealthy"), (uuid(1), "Unhealthy"), (uuid(2), "Unhealthy")]).await;
    node.set("gpu-2", True).await;
    plugin.until(&[(uuid(0), "Unhealthy"), (uuid(1), "Unhealthy"), (uuid(2), "Healthy")]).await;
    node.server.registry().delete("gpu-1", &Default::default()).await.unwrap();
    plugin.until(&[(uuid(0), "Unhealthy"), (uuid(2), "Healthy")]).await;
}

#[tokio::test]
async fn a_kubelet_that_starts_later_or_again_finds_the_plugin() {
    let (node, folder) = (Node::start().await, TempDir::new().unwrap());
    let _plugin = run(&node, folder.path());
    for empties_the_folder in [false, false, true, true] {
        if empties_the_folder {
            // As the kubelet does, when it starts.
            for left in std::fs::read_dir(folder.path()).unwrap() {
                std::fs::remove_file(left.unwrap().path()).unwrap();
            }
        }
        let mut kubelet = Kubelet::start(folder.path(), false);
        let mut plugin = kubelet.plugin().await;
        plugin.until(&[(uuid(0), "Healthy"), (uuid(1), "Unhealthy"), (uuid(2), "Unhealthy")]).await;
    }
}

#[tokio::test]
async fn what_is_not_healthy_any_more_is_not_given_out() {
    let (node, folder) = (Node::start().await, TempDir::new().unwrap());
    let mut kubelet = Kubelet::start(folder.path(), false);
    let _plugin = run(&node, folder.path());
    let mut plugin = kubelet.plugin().await;
    plugin.until(&[(uuid(0), "Healthy"), (uuid(1), "Unhealthy"), (uuid(2), "Unhealthy")]).await;
    assert_eq!(plugin.allocate(&uuid(0)).await.unwrap(), [format!("example.com/gpu={}", uuid(0))]);
    assert_eq!(plugin.allocate(&uuid(1)).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(plugin.allocate("GPU-gone").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_plugin_that_the_kubelet_refuses_ends_and_says_so() {
    let (node, folder) = (Node::start().await, TempDir::new().unwrap());
    let _kubelet = Kubelet::start(folder.path(), true);
    let ended = timeout(LONG, run(&node, folder.path()).join_next()).await.unwrap().unwrap().unwrap();
    assert!(ended.unwrap_err().contains("unsupported version"));
}

#[tokio::test]
async fn a_device_whose_uuid_is_no_name_is_given_out_by_a_name_of_its_own() {
    let (node, folder) = (Node::start().await, TempDir::new().unwrap());
    let spec = GpuSpec { uuid: "tray 3, slot 1".to_owned() };
    let odd = Gpu { metadata: ObjectMeta::named("gpu.odd"), spec, ..Gpu::default() };
    node.server.registry().create(&PostParams::default(), &odd).await.unwrap();
    node.set("gpu.odd", True).await;
    let mut kubelet = Kubelet::start(folder.path(), false);
    let _plugin = run(&node, folder.path());
    let mut plugin = kubelet.plugin().await;
    let name = "gpu-odd-3c710e576c0418aa".to_owned();
    let others = [(uuid(0), "Healthy"), (uuid(1), "Unhealthy"), (uuid(2), "Unhealthy")];
    plugin.until(&[&others[..], &[(name.clone(), "Healthy")]].concat()).await;
    assert_eq!(plugin.allocate(&name).await.unwrap(), [format!("example.com/gpu={name}")]);
}
