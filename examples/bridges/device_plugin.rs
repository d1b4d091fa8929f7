// SPDX-License-Identifier: Apache-2.0
//! The health of devices for the kubelet's device manager: a device plugin's `ListAndWatch`.
//!
//! The kubelet knows healthy devices and others, and gives out the healthy ones: of a device of which nobody can say how it is
//! this tells that it is not.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use device_api_client::core::health::Verdict;
use device_api_client::{Client, ConnectOptions};
use futures_util::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status};

use super::devices::{Device, Devices};
use super::kubelet::v1beta1::device_plugin_server::{DevicePlugin, DevicePluginServer};
use super::kubelet::v1beta1::registration_client::RegistrationClient;
use super::kubelet::v1beta1::{
    AllocateRequest, AllocateResponse, CdiDevice, ContainerAllocateRequest, ContainerAllocateResponse,
    DevicePluginOptions, Empty, ListAndWatchResponse, NumaNode, PreStartContainerRequest, PreStartContainerResponse,
    PreferredAllocationRequest, PreferredAllocationResponse, RegisterRequest, TopologyInfo,
};
use super::{kubelet::v1beta1, socket};

/// What a container asks for, and the kind of its CDI devices.
pub(crate) const RESOURCE: &str = "example.com/gpu";
/// The plugin's socket, beside the kubelet's.
pub(crate) const SOCKET: &str = "example-gpu.sock";
/// The socket of the kubelet.
const KUBELET: &str = "kubelet.sock";
/// How long the name of a device may be, in bytes.
const MAX_ID: usize = 63;
/// How often it is looked whether the kubelet is another one.
const BEAT: Duration = Duration::from_secs(1);

/// Answers the kubelet.
#[derive(Clone, Debug)]
struct Plugin {
    devices: Devices,
}

/// Serves the kubelet whose sockets are in this folder, `/var/lib/kubelet/device-plugins` on a node, through its restarts.
///
/// # Errors
/// When the kubelet refuses the plugin, as one that speaks another version does, or no socket can be made in the folder.
pub(crate) async fn run(devices: Devices, folder: &Path) -> Result<(), Box<dyn Error>> {
    loop {
        serve_one_kubelet(&devices, folder).await?;
    }
}

/// Registers, and serves until the kubelet is another one: one that starts empties the folder and knows no plugin.
async fn serve_one_kubelet(devices: &Devices, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (kubelet, own) = (folder.join(KUBELET), folder.join(SOCKET));
    let first = loop {
        match identity(&kubelet) {
            Some(first) => break first,
            None => tokio::time::sleep(BEAT).await,
        }
    };
    let service = DevicePluginServer::new(Plugin { devices: devices.clone() });
    // It calls back at once, so the plugin listens before it registers.
    let serving = socket::server().add_service(service).serve_with_incoming(socket::bind(&own)?);
    let registered = async {
        register(&kubelet).await?;
        while identity(&kubelet) == Some(first) {
            tokio::time::sleep(BEAT).await;
        }
        Ok(())
    };
    tokio::select! {
        served = serving => Ok(served?),
        ended = registered => ended,
    }
}

/// What tells this socket from one that took its place; `None` where there is none. Numbers of inodes are used again, times are not.
fn identity(socket: &Path) -> Option<(u64, i64, i64)> {
    let file = std::fs::metadata(socket).ok()?;
    Some((file.ino(), file.ctime(), file.ctime_nsec()))
}

async fn register(kubelet: &Path) -> Result<(), Box<dyn Error>> {
    let client = Client::lazy(&format!("unix://{}", kubelet.display()).parse()?, ConnectOptions::default());
    let request = RegisterRequest {
        version: "v1beta1".to_owned(),
        endpoint: SOCKET.to_owned(),
        resource_name: RESOURCE.to_owned(),
        options: Some(DevicePluginOptions::default()),
    };
    loop {
        match RegistrationClient::new(client.transport()).register(request.clone()).await {
            // It has made its socket and does not listen yet, or is gone and has left it.
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(BEAT).await,
            reply => return Ok(reply.map(drop)?),
        }
    }
}

/// NVML's name for the device, which a container runtime knows too, or where that is no name for the kubelet and for CDI, the API's.
fn id(device: &Device) -> String {
    let uuid = &device.gpu.spec.uuid;
    let is_name = (1..=MAX_ID).contains(&uuid.len())
        && uuid.starts_with(|first: char| first.is_ascii_alphanumeric())
        && uuid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    if is_name { uuid.clone() } else { device.label() }
}

fn tell(devices: &[Device]) -> ListAndWatchResponse {
    let devices = devices.iter().map(|device| {
        let health = match device.verdict {
            Verdict::Healthy => "Healthy",
            Verdict::Unhealthy | Verdict::Unknown => "Unhealthy",
        };
        let numa_node = device.gpu.status.device.as_ref().and_then(|facts| facts.numa_node);
        let topology = numa_node.map(|node| TopologyInfo { nodes: vec![NumaNode { id: node.into() }] });
        v1beta1::Device { id: id(device), health: health.to_owned(), topology }
    });
    ListAndWatchResponse { devices: devices.collect() }
}

impl Plugin {
    /// What a container gets; how its runtime makes the device of the name is its own matter.
    fn allocate_to(&self, request: &ContainerAllocateRequest) -> Result<ContainerAllocateResponse, Status> {
        let devices = self.devices.list();
        let cdi_devices = request.devices_ids.iter().map(|wanted| {
            let device = devices.iter().find(|device| id(device) == *wanted);
            let device = device.ok_or_else(|| Status::not_found(format!("device {wanted:?} is gone")))?;
            match device.verdict {
                Verdict::Healthy => Ok(CdiDevice { name: format!("{RESOURCE}={wanted}") }),
                // It has changed since the kubelet chose it.
                _ => Err(Status::failed_precondition(format!("device {wanted:?} is not healthy: {}", device.why))),
            }
        });
        Ok(ContainerAllocateResponse { cdi_devices: cdi_devices.collect::<Result<_, _>>()?, ..Default::default() })
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(&self, _: Request<Empty>) -> Reply<DevicePluginOptions> {
        Ok(Response::new(DevicePluginOptions::default()))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Reply<Self::ListAndWatchStream> {
        Ok(Response::new(Box::pin(self.devices.follow(None, tell).map(Ok))))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Reply<AllocateResponse> {
        let containers = request.get_ref().container_requests.iter().map(|container| self.allocate_to(container));
        Ok(Response::new(AllocateResponse { container_responses: containers.collect::<Result<_, _>>()? }))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<PreferredAllocationRequest>,
    ) -> Reply<PreferredAllocationResponse> {
        Err(Status::unimplemented("the options say that there is no preferred allocation"))
    }

    async fn pre_start_container(&self, _: Request<PreStartContainerRequest>) -> Reply<PreStartContainerResponse> {
        Err(Status::unimplemented("the options ask for no call before a container starts"))
    }
}
