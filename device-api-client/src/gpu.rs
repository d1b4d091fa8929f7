// SPDX-License-Identifier: Apache-2.0
//! The calls of the GPU.

use device_api_core::patch::Patch;
use device_api_core::proto::status::reply;
use device_api_core::proto::v1alpha1 as wire;
use device_api_core::proto::v1alpha1::gpu_service_client::GpuServiceClient;
use device_api_core::registry::{
    DeleteParams, GetParams, List, ListParams, Part, PatchParams, PostParams, WatchParams,
};
use device_api_core::resource::Gpu;
use device_api_core::{Error, Result};

use crate::Client;
use crate::transport::Transport;
use crate::wire::{ApiWatch, WireResource, understood};

fn stub(client: &Client) -> GpuServiceClient<Transport> {
    GpuServiceClient::new(client.transport()).max_decoding_message_size(client.options().max_message_bytes)
}

fn absent(what: &str) -> Error {
    Error::internal(format!("the server's reply has no {what}"))
}

fn unknown(part: Part) -> Error {
    Error::internal(format!("the GPU service has no call for the part {part:?}"))
}

impl WireResource for Gpu {
    async fn get(client: &Client, namespace: &str, name: &str, params: &GetParams) -> Result<Self> {
        let request =
            wire::GetGpuRequest { name: name.to_owned(), namespace: namespace.to_owned(), opts: Some(params.into()) };
        let gpu = reply(stub(client).get_gpu(request).await)?.gpu;
        understood(gpu.ok_or_else(|| absent("gpu"))?.try_into())
    }

    async fn list(client: &Client, namespace: &str, params: &ListParams) -> Result<List<Self>> {
        let request = wire::ListGpusRequest { namespace: namespace.to_owned(), opts: Some(params.into()) };
        let list = reply(stub(client).list_gpus(request).await)?.gpu_list;
        understood(list.ok_or_else(|| absent("gpu_list"))?.try_into())
    }

    async fn watch(client: &Client, namespace: &str, params: &WatchParams) -> Result<ApiWatch<Self>> {
        let request = wire::WatchGpusRequest { namespace: namespace.to_owned(), opts: Some(params.into()) };
        let messages = reply(stub(client).watch_gpus(request).await)?;
        Ok(ApiWatch::new(messages, |message: wire::WatchGpusResponse| understood(message.try_into())))
    }

    async fn create(client: &Client, params: &PostParams, object: &Self) -> Result<Self> {
        let request = wire::CreateGpuRequest { gpu: Some(object.into()), opts: Some(params.into()) };
        understood(reply(stub(client).create_gpu(request).await)?.try_into())
    }

    async fn replace(client: &Client, part: Part, params: &PostParams, object: &Self) -> Result<Self> {
        let (gpu, opts) = (Some(object.into()), Some(params.into()));
        let mut stub = stub(client);
        let stored = match part {
            Part::Status => stub.update_gpu_status(wire::UpdateGpuStatusRequest { gpu, opts }).await,
            Part::Main => stub.update_gpu(wire::UpdateGpuRequest { gpu, opts }).await,
            other => return Err(unknown(other)),
        };
        understood(reply(stored)?.try_into())
    }

    async fn patch(
        client: &Client,
        part: Part,
        namespace: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch,
    ) -> Result<Self> {
        let subresources = match part {
            Part::Status => vec!["status".to_owned()],
            Part::Main => Vec::new(),
            other => return Err(unknown(other)),
        };
        let request = wire::PatchGpuRequest {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            patch_type: patch.patch_type().as_str().to_owned(),
            data: patch.data().to_vec(),
            opts: Some(params.into()),
            subresources,
        };
        understood(reply(stub(client).patch_gpu(request).await)?.try_into())
    }

    async fn delete(client: &Client, namespace: &str, name: &str, params: &DeleteParams) -> Result<()> {
        let request = wire::DeleteGpuRequest {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            opts: Some(params.into()),
        };
        reply(stub(client).delete_gpu(request).await)
    }
}
