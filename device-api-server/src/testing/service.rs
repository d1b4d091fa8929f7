// SPDX-License-Identifier: Apache-2.0
//! `GpuService` and `LeaseService` whose calls fail on purpose.

use device_api_core::lease::Leases;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_server::{GpuService, GpuServiceServer};
use device_api_core::proto::v1alpha1::lease_service_server::{LeaseService, LeaseServiceServer};
use device_api_core::registry::Registry;
use device_api_core::resource::Gpu;
use device_api_core::testing::{CallFaults, FaultyWatch, Verb};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{GpuApi, LeaseApi};

/// [`GpuApi`] on the server that is up at each call, but for its [`CallFaults`].
#[derive(Clone, Debug)]
pub(super) struct FaultyGpuApi {
    /// `None` while the server is down.
    gpus: watch::Receiver<Option<Registry<Gpu>>>,
    faults: CallFaults,
}

type Reply<T> = Result<Response<T>, Status>;

impl FaultyGpuApi {
    pub(super) fn new(gpus: watch::Receiver<Option<Registry<Gpu>>>, faults: &CallFaults) -> Self {
        Self { gpus, faults: faults.clone() }
    }

    pub(super) fn into_service(self) -> GpuServiceServer<Self> {
        GpuServiceServer::new(self)
    }

    /// The service of the server that is up now: a call that hangs stays with it.
    fn inner(&self) -> Result<GpuApi, Status> {
        let gpus = self.gpus.borrow().clone().ok_or_else(CallFaults::lost)?;
        Ok(GpuApi::new(gpus))
    }
}

#[tonic::async_trait]
impl GpuService for FaultyGpuApi {
    type WatchGpusStream = FaultyWatch<Result<wire::WatchGpusResponse, Status>>;

    async fn get_gpu(&self, request: Request<wire::GetGpuRequest>) -> Reply<wire::GetGpuResponse> {
        self.faults.call(Verb::Get, self.inner()?.get_gpu(request)).await
    }

    async fn list_gpus(&self, request: Request<wire::ListGpusRequest>) -> Reply<wire::ListGpusResponse> {
        self.faults.call(Verb::List, self.inner()?.list_gpus(request)).await
    }

    async fn watch_gpus(&self, request: Request<wire::WatchGpusRequest>) -> Reply<Self::WatchGpusStream> {
        let inner = self.inner()?;
        let start = async { inner.watch_gpus(request).await.map(Response::into_inner) };
        self.faults.watch(start).await.map(Response::new)
    }

    async fn create_gpu(&self, request: Request<wire::CreateGpuRequest>) -> Reply<wire::Gpu> {
        self.faults.call(Verb::Create, self.inner()?.create_gpu(request)).await
    }

    async fn update_gpu(&self, request: Request<wire::UpdateGpuRequest>) -> Reply<wire::Gpu> {
        self.faults.call(Verb::Replace, self.inner()?.update_gpu(request)).await
    }

    async fn update_gpu_status(&self, request: Request<wire::UpdateGpuStatusRequest>) -> Reply<wire::Gpu> {
        self.faults.call(Verb::ReplaceStatus, self.inner()?.update_gpu_status(request)).await
    }

    async fn delete_gpu(&self, request: Request<wire::DeleteGpuRequest>) -> Reply<()> {
        self.faults.call(Verb::Delete, self.inner()?.delete_gpu(request)).await
    }

    async fn patch_gpu(&self, request: Request<wire::PatchGpuRequest>) -> Reply<wire::Gpu> {
        let verb = if request.get_ref().subresources.is_empty() { Verb::Patch } else { Verb::PatchStatus };
        self.faults.call(verb, self.inner()?.patch_gpu(request)).await
    }
}

/// [`LeaseApi`] on the server that is up at each call, but for its [`CallFaults`].
#[derive(Clone, Debug)]
pub(super) struct FaultyLeaseApi {
    /// `None` while the server is down.
    leases: watch::Receiver<Option<Leases>>,
    faults: CallFaults,
}

impl FaultyLeaseApi {
    pub(super) fn new(leases: watch::Receiver<Option<Leases>>, faults: &CallFaults) -> Self {
        Self { leases, faults: faults.clone() }
    }

    pub(super) fn into_service(self) -> LeaseServiceServer<Self> {
        LeaseServiceServer::new(self)
    }

    fn inner(&self) -> Result<LeaseApi, Status> {
        let leases = self.leases.borrow().clone().ok_or_else(CallFaults::lost)?;
        Ok(LeaseApi::new(leases))
    }
}

#[tonic::async_trait]
impl LeaseService for FaultyLeaseApi {
    async fn acquire_lease(&self, request: Request<wire::AcquireLeaseRequest>) -> Reply<wire::Lease> {
        self.faults.call(Verb::AcquireLease, self.inner()?.acquire_lease(request)).await
    }

    async fn release_lease(&self, request: Request<wire::ReleaseLeaseRequest>) -> Reply<()> {
        self.faults.call(Verb::ReleaseLease, self.inner()?.release_lease(request)).await
    }

    async fn list_leases(&self, request: Request<wire::ListLeasesRequest>) -> Reply<wire::ListLeasesResponse> {
        self.faults.call(Verb::ListLeases, self.inner()?.list_leases(request)).await
    }
}
