// SPDX-License-Identifier: Apache-2.0
//! The health of devices for pods' statuses: what the kubelet asks a DRA driver (KEP-4680).
//!
//! To lift it, add both services of [`routes`] to those on your driver's socket, and their names to the supported versions that
//! your driver registers with: `v1.DRAResourceHealth`, `v1alpha1.DRAResourceHealth`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use device_api_client::core::health::Verdict;
use device_api_client::core::registry::Clock;
use futures_util::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::devices::{Device, Devices};
use super::kubelet::v1::dra_resource_health_server::{DraResourceHealth, DraResourceHealthServer};
use super::kubelet::v1::{
    DeviceHealth, DeviceIdentifier, HealthStatus, NodeWatchResourcesRequest, NodeWatchResourcesResponse,
};
use super::kubelet::v1alpha1;

/// How long the kubelet is to believe a report: its own default.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it gets one, changed or not, so that two may be late.
const REPEAT: Duration = Duration::from_secs(10);
/// The kubelet cuts longer messages, in characters.
const MAX_MESSAGE: usize = 1024;

/// Answers the kubelet.
#[derive(Clone, Debug)]
pub(crate) struct DraHealth {
    devices: Devices,
    /// The pool of the driver's ResourceSlices, by custom the node's name.
    pool: String,
    clock: Arc<dyn Clock>,
}

type Reports = Pin<Box<dyn Stream<Item = Result<NodeWatchResourcesResponse, Status>> + Send>>;

/// The service in both of its versions: a kubelet takes the newest that it knows.
pub(crate) fn routes(devices: Devices, pool: &str, clock: Arc<dyn Clock>) -> Routes {
    let service = DraHealth { devices, pool: pool.to_owned(), clock };
    let v1alpha1 = v1alpha1::dra_resource_health_server::DraResourceHealthServer::new(service.clone());
    Routes::new(DraResourceHealthServer::new(service)).add_service(v1alpha1)
}

impl DraHealth {
    fn reports(&self) -> Reports {
        let (pool, clock) = (self.pool.clone(), Arc::clone(&self.clock));
        let healths = move |devices: &[Device]| devices.iter().map(|device| health(device, &pool)).collect::<Vec<_>>();
        let reports = self.devices.follow(Some(REPEAT), healths).map(move |mut devices| {
            let now = clock.now().unix_seconds();
            devices.iter_mut().for_each(|device| device.last_updated_time = now);
            Ok(NodeWatchResourcesResponse { devices })
        });
        Box::pin(reports)
    }
}

fn health(device: &Device, pool: &str) -> DeviceHealth {
    // As in the slices. A driver that names its devices otherwise finds its own name here, by `spec.uuid`.
    let device_name = device.label();
    let health = match device.verdict {
        Verdict::Healthy => HealthStatus::Healthy,
        Verdict::Unhealthy => HealthStatus::Unhealthy,
        Verdict::Unknown => HealthStatus::Unknown,
    };
    DeviceHealth {
        device: Some(DeviceIdentifier { pool_name: pool.to_owned(), device_name }),
        health: health.into(),
        last_updated_time: 0, // when it is sent
        health_check_timeout_seconds: TIMEOUT.as_secs().cast_signed(),
        message: device.why.chars().take(MAX_MESSAGE).collect(),
    }
}

#[tonic::async_trait]
impl DraResourceHealth for DraHealth {
    type NodeWatchResourcesStream = Reports;

    async fn node_watch_resources(&self, _: Request<NodeWatchResourcesRequest>) -> Result<Response<Reports>, Status> {
        Ok(Response::new(self.reports()))
    }
}

#[tonic::async_trait]
impl v1alpha1::dra_resource_health_server::DraResourceHealth for DraHealth {
    type NodeWatchResourcesStream = Reports;

    async fn node_watch_resources(&self, _: Request<NodeWatchResourcesRequest>) -> Result<Response<Reports>, Status> {
        Ok(Response::new(self.reports()))
    }
}
