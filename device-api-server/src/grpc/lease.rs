// SPDX-License-Identifier: Apache-2.0
//! `LeaseService` on the leases of a ledger.

use device_api_core::lease::{LeaseVerbs as _, Leases};
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::lease_service_server::{LeaseService, LeaseServiceServer};
use tonic::{Request, Response, Status};

use crate::peer;

/// The lease service on the leases of a ledger.
///
/// ```
/// # async fn mount(leases: device_api_core::lease::Leases) {
/// use device_api_server::LeaseApi;
///
/// // Any tonic server, and the client's `Client::from_service`, takes it.
/// let service = LeaseApi::new(leases).into_service();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LeaseApi {
    leases: Leases,
}

impl LeaseApi {
    /// The service on these leases. Writes name the peer of the connection as their actor.
    #[must_use]
    pub fn new(leases: Leases) -> Self {
        Self { leases }
    }

    /// The service as tonic mounts it, with tonic's default limits.
    #[must_use]
    pub fn into_service(self) -> LeaseServiceServer<Self> {
        LeaseServiceServer::new(self)
    }

    fn writer<T>(&self, request: &Request<T>) -> Leases {
        self.leases.as_actor(&peer::actor(request.extensions()))
    }
}

#[tonic::async_trait]
impl LeaseService for LeaseApi {
    async fn acquire_lease(
        &self,
        request: Request<wire::AcquireLeaseRequest>,
    ) -> Result<Response<wire::Lease>, Status> {
        let leases = self.writer(&request);
        let lease = leases.acquire(&request.into_inner().into()).await?;
        Ok(Response::new((&lease).into()))
    }

    async fn release_lease(&self, request: Request<wire::ReleaseLeaseRequest>) -> Result<Response<()>, Status> {
        let leases = self.writer(&request);
        let wire::ReleaseLeaseRequest { name, id } = request.into_inner();
        leases.release(&name, id.as_deref()).await?;
        Ok(Response::new(()))
    }

    async fn list_leases(
        &self,
        _request: Request<wire::ListLeasesRequest>,
    ) -> Result<Response<wire::ListLeasesResponse>, Status> {
        let leases = self.leases.list().await?;
        Ok(Response::new(wire::ListLeasesResponse { leases: leases.iter().map(Into::into).collect() }))
    }
}
