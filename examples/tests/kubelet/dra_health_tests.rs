// SPDX-License-Identifier: Apache-2.0
//! The kubelet's side of the health of DRA devices, in virtual time.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use device_api_client::core::health::Polarities;
use device_api_client::core::registry::{DeleteParams, PostParams};
use device_api_client::core::resource::ConditionStatus::{False, True};
use device_api_client::core::resource::Gpu;
use device_api_client::watcher::Config;
use device_api_client::{Reflector, VerbsExt as _};
use device_api_server::testing::{CallFault, Verb};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};
use tonic::Streaming;
use tonic::service::Routes;

use crate::devices::Devices;
use crate::dra_health;
use crate::kubelet::v1::dra_resource_health_client::DraResourceHealthClient;
use crate::kubelet::v1::{DeviceHealth, HealthStatus, NodeWatchResourcesRequest, NodeWatchResourcesResponse};
use crate::kubelet::v1alpha1;
use crate::node::Node;
use crate::taints;

use HealthStatus::{Healthy, Unhealthy, Unknown};

/// What the kubelet knows of the devices of one driver, as its cache does: it believes a report for its timeout only.
pub(crate) struct Kubelet {
    reports: Streaming<NodeWatchResourcesResponse>,
    known: BTreeMap<String, (DeviceHealth, Instant)>,
}

impl Kubelet {
    pub(crate) fn new(reports: Streaming<NodeWatchResourcesResponse>) -> Self {
        Self { reports, known: BTreeMap::new() }
    }

    async fn connect(routes: Routes) -> Self {
        let reply = DraResourceHealthClient::new(routes).node_watch_resources(NodeWatchResourcesRequest {}).await;
        Self::new(reply.unwrap().into_inner())
    }

    /// Takes the next report; `None` when the driver has ended the stream.
    pub(crate) async fn take(&mut self) -> Option<usize> {
        let report = self.reports.message().await.unwrap()?;
        let count = report.devices.len();
        for device in report.devices {
            let name = device.device.clone().unwrap().device_name;
            self.known.insert(name, (device, Instant::now()));
        }
        Some(count)
    }

    pub(crate) fn health(&self, name: &str) -> HealthStatus {
        let Some((device, at)) = self.known.get(name) else { return Unknown };
        let seconds = match device.health_check_timeout_seconds {
            1.. => device.health_check_timeout_seconds.unsigned_abs(),
            _ => 30,
        };
        if at.elapsed() > Duration::from_secs(seconds) { Unknown } else { device.health() }
    }

    pub(crate) fn message(&self, name: &str) -> &str {
        &self.known[name].0.message
    }

    pub(crate) async fn until(&mut self, name: &str, health: HealthStatus) {
        let comes = async {
            while self.health(name) != health {
                self.take().await.unwrap();
            }
        };
        timeout(Duration::from_secs(600), comes).await.unwrap();
    }
}

fn routes(node: &Node) -> Routes {
    dra_health::routes(node.devices(), "node-a", Arc::new(node.server.clock().clone()))
}

#[tokio::test(start_paused = true)]
async fn the_kubelet_sees_every_device_and_every_change_of_its_health() {
    let node = Node::start().await;
    let mut kubelet = Kubelet::connect(routes(&node)).await;
    assert_eq!(kubelet.take().await, Some(3));
    assert_eq!(["gpu-0", "gpu-1", "gpu-2"].map(|name| kubelet.health(name)), [Healthy, Unhealthy, Unknown]);
    assert_eq!(kubelet.message("gpu-1"), "Unhealthy: NVMLReady is False (Tested)");
    assert_eq!(kubelet.message("gpu-2"), "Unknown: no condition says how it is");

    node.set("gpu-0", False).await;
    kubelet.until("gpu-0", Unhealthy).await;
    node.set("gpu-1", True).await;
    kubelet.until("gpu-1", Healthy).await;

    node.server.registry().delete("gpu-0", &DeleteParams::default()).await.unwrap();
    kubelet.until("gpu-0", Unknown).await;
    assert_eq!(kubelet.take().await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_all_devices_are_known() {
    let node = Node::start().await;
    node.server.faults().next(Verb::Watch, CallFault::Hang);
    let reflector = Reflector::start(node.server.gpus(), Config::default());
    let devices = Devices::new(reflector.store(), Polarities::default());
    let routes = dra_health::routes(devices, "node-a", Arc::new(node.server.clock().clone()));
    let mut kubelet = Kubelet::connect(routes).await;
    assert!(timeout(Duration::from_secs(60), kubelet.take()).await.is_err());
    node.server.faults().release();
    assert_eq!(kubelet.take().await, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_report_names_its_pool_its_time_and_how_long_it_holds() {
    let node = Node::start().await;
    node.server.clock().advance(Duration::from_secs(90));
    let mut kubelet = Kubelet::connect(routes(&node)).await;
    kubelet.take().await;
    let (device, _) = &kubelet.known["gpu-0"];
    assert_eq!(device.device.as_ref().unwrap().pool_name, "node-a");
    assert_eq!(device.last_updated_time, 1_767_225_600 + 90); // the clock begins with 2026
    assert_eq!(device.health_check_timeout_seconds, 30);
}

#[tokio::test(start_paused = true)]
async fn a_health_that_does_not_change_is_told_again_before_the_kubelet_forgets_it() {
    let node = Node::start().await;
    let mut kubelet = Kubelet::connect(routes(&node)).await;
    kubelet.take().await;
    for _ in 0..60 {
        let (_, before) = kubelet.known["gpu-0"];
        // No report comes for nothing.
        assert!(timeout(Duration::from_secs(5), kubelet.take()).await.is_err());
        kubelet.take().await.unwrap();
        assert_eq!(kubelet.health("gpu-0"), Healthy);
        // Two may be late.
        let (_, now) = kubelet.known["gpu-0"];
        assert!(now - before <= Duration::from_secs(11), "{:?}", now - before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_api_changes_no_health_and_its_absence_makes_all_unknown() {
    let mut node = Node::start().await;
    let mut kubelet = Kubelet::connect(routes(&node)).await;
    kubelet.until("gpu-0", Healthy).await;
    for _ in 0..3 {
        node.server.kill().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        node.server.start().await;
        for _ in 0..12 {
            kubelet.take().await.unwrap();
            assert_eq!(kubelet.health("gpu-0"), Healthy);
            assert_eq!(kubelet.health("gpu-1"), Unhealthy);
        }
    }

    node.server.kill().await;
    kubelet.until("gpu-0", Unknown).await;
    assert_eq!(kubelet.health("gpu-1"), Unknown);
    assert_eq!(kubelet.message("gpu-1"), "Unknown: the Device API's server is out of reach");
    node.server.start().await;
    kubelet.until("gpu-0", Healthy).await;
    assert_eq!(kubelet.health("gpu-1"), Unhealthy);
}

#[tokio::test(start_paused = true)]
async fn an_older_kubelet_is_told_the_same() {
    let node = Node::start().await;
    let request = NodeWatchResourcesRequest {};
    let mut old = v1alpha1::dra_resource_health_client::DraResourceHealthClient::new(routes(&node));
    let mut old = old.node_watch_resources(request).await.unwrap().into_inner();
    let mut new = DraResourceHealthClient::new(routes(&node)).node_watch_resources(request).await.unwrap().into_inner();
    assert_eq!(old.message().await.unwrap().unwrap(), new.message().await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_well_when_the_reflector_stops() {
    let node = Node::start().await;
    let mut kubelet = Kubelet::connect(routes(&node)).await;
    kubelet.until("gpu-0", Healthy).await;
    node.reflector.stop().await;
    assert_eq!(kubelet.take().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_kubelet_is_told_the_name_that_the_slices_have() {
    let node = Node::start().await;
    node.server.registry().entry("gpu.odd").or_create(&PostParams::default(), Gpu::default).await.unwrap();
    node.set("gpu.odd", True).await;
    let mut slices = pin!(node.devices().follow(None, taints::tell));
    let devices = loop {
        let devices = slices.next().await.unwrap();
        if devices.len() == 4 {
            break devices;
        }
    };
    let mut kubelet = Kubelet::connect(routes(&node)).await;
    kubelet.until(&devices[3].name, Healthy).await;
    assert!(kubelet.known.keys().eq(devices.iter().map(|device| &device.name)), "{:?}", kubelet.known.keys());
}
