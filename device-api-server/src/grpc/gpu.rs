// SPDX-License-Identifier: Apache-2.0
//! `GpuService` on a registry.

use std::fmt;
use std::pin::Pin;
use std::str::FromStr as _;
use std::task::{Context, Poll};

use device_api_core::patch::{Patch, PatchType};
use device_api_core::proto::v1alpha1::gpu_service_server::{GpuService, GpuServiceServer};
use device_api_core::proto::{Cleared, keep_absent, required, v1alpha1 as wire};
use device_api_core::registry::{
    DeleteParams, GetParams, ListParams, Part, PatchParams, PostParams, Registry, Watch, WatchParams,
};
use device_api_core::resource::Gpu;
use device_api_core::{Error, error};
use futures_core::Stream;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::budget::Budget;
use crate::peer;

/// The largest reply to a list, in bytes: no client needs more at once, and no client may make the
/// server hold more.
const MAX_LIST_BYTES: usize = 32 << 20;

/// The GPU service on a registry.
///
/// ```
/// # async fn mount(gpus: device_api_core::registry::Registry<device_api_core::resource::Gpu>) {
/// use device_api_server::GpuApi;
///
/// // Any tonic server, and the client's `Client::from_service`, takes it.
/// let service = GpuApi::new(gpus).into_service();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GpuApi {
    gpus: Registry<Gpu>,
}

impl GpuApi {
    /// The service on this registry. Writes name the peer of the connection as their actor.
    #[must_use]
    pub fn new(gpus: Registry<Gpu>) -> Self {
        Self { gpus }
    }

    /// The service as tonic mounts it, with tonic's default limits.
    #[must_use]
    pub fn into_service(self) -> GpuServiceServer<Self> {
        GpuServiceServer::new(self)
    }

    fn reader(&self, namespace: &str) -> Registry<Gpu> {
        self.gpus.namespaced(namespace)
    }

    fn writer<T>(&self, request: &Request<T>, namespace: &str) -> Registry<Gpu> {
        self.gpus.namespaced(namespace).as_actor(&peer::actor(request.extensions()))
    }

    async fn replace<T>(
        &self,
        part: Part,
        request: Request<T>,
        parts: impl FnOnce(T) -> (Option<wire::Gpu>, Option<wire::UpdateOptions>),
    ) -> Result<Response<wire::Gpu>, Status> {
        let gpus = self.writer(&request, "");
        let (gpu, options) = parts(request.into_inner());
        let (gpu, options) = (required(gpu)?, options.unwrap_or_default());
        let cleared = Cleared::of(&options.clear_absent);
        let complete = move |stored: &Gpu, sent: &mut Gpu| keep_absent(cleared, stored, sent);
        let stored = gpus.replace_part_with(part, &options.into(), gpu, complete).await?;
        Ok(Response::new((&*stored).into()))
    }
}

#[tonic::async_trait]
impl GpuService for GpuApi {
    type WatchGpusStream = WatchStream;

    async fn get_gpu(&self, request: Request<wire::GetGpuRequest>) -> Result<Response<wire::GetGpuResponse>, Status> {
        let wire::GetGpuRequest { name, namespace, opts } = request.into_inner();
        let params: GetParams = opts.unwrap_or_default().into();
        let gpu = self.reader(&namespace).get_with(&name, &params).await?;
        Ok(Response::new(wire::GetGpuResponse { gpu: Some((&*gpu).into()) }))
    }

    async fn list_gpus(
        &self,
        request: Request<wire::ListGpusRequest>,
    ) -> Result<Response<wire::ListGpusResponse>, Status> {
        let budget = request.extensions().get::<Budget>().cloned();
        let wire::ListGpusRequest { namespace, opts } = request.into_inner();
        let params: ListParams = opts.unwrap_or_default().try_into()?;
        let list = self.reader(&namespace).list(&params).await?;
        let build = || wire::ListGpusResponse { gpu_list: Some((&list).into()) };
        let mut reply = build();
        let size = reply.encoded_len();
        if size > MAX_LIST_BYTES {
            return Err(Status::from(Error::TooLarge {
                what: format!("the list of {} gpus, {size} bytes,", list.items.len()),
                limit: format!("{MAX_LIST_BYTES} bytes"),
                hint: "list in pages, with limit and continue".to_owned(),
            }));
        }
        // A program that mounts the service on a server of its own has no budget.
        let Some(budget) = budget else { return Ok(Response::new(reply)) };
        let share = match budget.try_take(size) {
            Ok(share) => share,
            Err(_) => {
                // To wait with the reply in hand is what the budget is against; to build it again is cheap.
                drop(reply);
                let share = budget.take(size).await?;
                reply = build();
                share
            }
        };
        let mut response = Response::new(reply);
        response.extensions_mut().insert(share);
        Ok(response)
    }

    async fn watch_gpus(
        &self,
        request: Request<wire::WatchGpusRequest>,
    ) -> Result<Response<Self::WatchGpusStream>, Status> {
        let wire::WatchGpusRequest { namespace, opts } = request.into_inner();
        let params: WatchParams = opts.unwrap_or_default().try_into()?;
        let watch = self.reader(&namespace).watch(&params).await?;
        Ok(Response::new(WatchStream { watch }))
    }

    async fn create_gpu(&self, request: Request<wire::CreateGpuRequest>) -> Result<Response<wire::Gpu>, Status> {
        let gpus = self.writer(&request, "");
        let wire::CreateGpuRequest { gpu, opts } = request.into_inner();
        let gpu = required(gpu)?;
        let params: PostParams = opts.unwrap_or_default().into();
        let stored = gpus.create(&params, &gpu).await?;
        Ok(Response::new((&*stored).into()))
    }

    async fn update_gpu(&self, request: Request<wire::UpdateGpuRequest>) -> Result<Response<wire::Gpu>, Status> {
        self.replace(Part::Main, request, |wire::UpdateGpuRequest { gpu, opts }| (gpu, opts)).await
    }

    async fn update_gpu_status(
        &self,
        request: Request<wire::UpdateGpuStatusRequest>,
    ) -> Result<Response<wire::Gpu>, Status> {
        self.replace(Part::Status, request, |wire::UpdateGpuStatusRequest { gpu, opts }| (gpu, opts)).await
    }

    async fn delete_gpu(&self, request: Request<wire::DeleteGpuRequest>) -> Result<Response<()>, Status> {
        let gpus = self.writer(&request, &request.get_ref().namespace);
        let wire::DeleteGpuRequest { name, namespace: _, opts } = request.into_inner();
        let params: DeleteParams = opts.unwrap_or_default().into();
        gpus.delete(&name, &params).await?;
        Ok(Response::new(()))
    }

    async fn patch_gpu(&self, request: Request<wire::PatchGpuRequest>) -> Result<Response<wire::Gpu>, Status> {
        let gpus = self.writer(&request, &request.get_ref().namespace);
        let wire::PatchGpuRequest { name, namespace: _, patch_type, data, opts, subresources } = request.into_inner();
        let patch = Patch::new(PatchType::from_str(&patch_type)?, data);
        let params: PatchParams = opts.unwrap_or_default().into();
        let stored = match part(&subresources)? {
            Part::Status => gpus.patch_status(&name, &params, &patch).await?,
            _ => gpus.patch(&name, &params, &patch).await?,
        };
        Ok(Response::new((&*stored).into()))
    }
}

/// The part of an object that subresources name.
fn part(subresources: &[String]) -> Result<Part, Error> {
    match subresources {
        [] => Ok(Part::Main),
        [one] if one == "status" => Ok(Part::Status),
        _ => Err(Error::bad_request("subresources", "must be empty or exactly [\"status\"]")),
    }
}

/// A watch as messages.
pub struct WatchStream {
    watch: Watch<Gpu>,
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").field("watch", &self.watch).finish()
    }
}

impl Stream for WatchStream {
    type Item = Result<wire::WatchGpusResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event: Poll<Option<error::Result<_>>> = Pin::new(&mut self.watch).poll_next(context);
        event.map(|event| event.map(|event| event.map(|event| (&event).into()).map_err(Status::from)))
    }
}
