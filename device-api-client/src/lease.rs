// SPDX-License-Identifier: Apache-2.0
//! The handle to leases, over gRPC.

use device_api_core::Result;
use device_api_core::lease::{AcquireLease, Lease, LeaseVerbs};
use device_api_core::proto::status::reply;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::lease_service_client::LeaseServiceClient;

use crate::Client;
use crate::transport::Transport;

/// A handle to the leases of a server, by which a provider of conditions says that it lives.
///
/// ```no_run
/// use std::time::Duration;
/// use device_api_client::core::lease::{AcquireLease, LeaseState, LeaseVerbs as _, unique_identity};
/// use device_api_client::{Client, LeaseApi};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let leases = LeaseApi::new(Client::try_default().await?);
/// // Should an answer be lost, the same request has the same lease: the server knows it by the identity.
/// let request = AcquireLease::new("thermal")
///     .with_condition_types(["ThermalHealthy"])
///     .with_holder_identity(unique_identity())
///     .take_over();
/// let renewal = request.clone().with_id(leases.acquire(&request).await?.id);
/// loop {
///     tokio::time::sleep(Duration::from_secs(10)).await;
///     // A conflict means that another took over: it is the provider now.
///     if leases.acquire(&renewal).await?.state == LeaseState::Expired {
///         // Its conditions were set to Unknown meanwhile: write all of them anew.
///     }
/// }
/// # }
/// ```
///
/// Errors are those of [`LeaseVerbs`], rebuilt; beside them every call fails with
/// [`Error::Unavailable`](device_api_core::Error::Unavailable) when the server is out of reach.
#[derive(Clone, Debug)]
pub struct LeaseApi {
    client: Client,
}

impl LeaseApi {
    /// The leases of this client's server.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn stub(&self) -> LeaseServiceClient<Transport> {
        let limit = self.client.options().max_message_bytes;
        LeaseServiceClient::new(self.client.transport()).max_decoding_message_size(limit)
    }
}

impl LeaseVerbs for LeaseApi {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        let mut stub = self.stub();
        let request = wire::AcquireLeaseRequest::from(request);
        self.client.bounded(async { reply(stub.acquire_lease(request).await)?.try_into() }).await
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        let mut stub = self.stub();
        let request = wire::ReleaseLeaseRequest { name: name.to_owned(), id: id.map(str::to_owned) };
        self.client.bounded(async { reply(stub.release_lease(request).await) }).await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        let mut stub = self.stub();
        let leases = self.client.bounded(async { reply(stub.list_leases(wire::ListLeasesRequest {}).await) }).await?;
        leases.leases.into_iter().map(TryInto::try_into).collect()
    }
}
