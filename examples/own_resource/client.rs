// SPDX-License-Identifier: Apache-2.0
//! The client's side: with these calls `Api<Nic>` is a handle like any other.

use device_api_client::{ApiWatch, Client, Transport, WireResource};
use device_api_core::patch::Patch;
use device_api_core::proto::status::reply;
use device_api_core::registry::{
    DeleteParams, GetParams, List, ListParams, Part, PatchParams, PostParams, WatchEvent, WatchParams,
};
use device_api_core::{Error, Result};

use crate::nic::Nic;
use crate::wire;
use crate::wire::nic_service_client::NicServiceClient;

fn stub(client: &Client) -> NicServiceClient<Transport> {
    NicServiceClient::new(client.transport()).max_decoding_message_size(client.options().max_message_bytes)
}

/// Whether the part is the status; the wire knows no more than two.
fn is_status(part: Part) -> Result<bool> {
    match part {
        Part::Main => Ok(false),
        Part::Status => Ok(true),
        other => Err(Error::internal(format!("adapters have no part {other:?}"))),
    }
}

impl WireResource for Nic {
    async fn get(client: &Client, namespace: &str, name: &str, params: &GetParams) -> Result<Self> {
        let request =
            wire::GetRequest { name: name.to_owned(), namespace: namespace.to_owned(), opts: Some(params.into()) };
        reply(stub(client).get(request).await)?.try_into()
    }

    async fn list(client: &Client, namespace: &str, params: &ListParams) -> Result<List<Self>> {
        let request = wire::ListRequest { namespace: namespace.to_owned(), opts: Some(params.into()) };
        reply(stub(client).list(request).await)?.try_into()
    }

    async fn watch(client: &Client, namespace: &str, params: &WatchParams) -> Result<ApiWatch<Self>> {
        let request = wire::ListRequest { namespace: namespace.to_owned(), opts: Some(params.into()) };
        let events = reply(stub(client).watch(request).await)?;
        Ok(ApiWatch::new(events, WatchEvent::try_from))
    }

    async fn create(client: &Client, params: &PostParams, object: &Self) -> Result<Self> {
        let request = wire::CreateRequest { nic: Some(object.into()), opts: Some(params.into()) };
        reply(stub(client).create(request).await)?.try_into()
    }

    async fn replace(client: &Client, part: Part, params: &PostParams, object: &Self) -> Result<Self> {
        let (nic, opts, status) = (Some(object.into()), Some(params.into()), is_status(part)?);
        reply(stub(client).replace(wire::ReplaceRequest { nic, opts, status }).await)?.try_into()
    }

    async fn patch(
        client: &Client,
        part: Part,
        namespace: &str,
        name: &str,
        params: &PatchParams,
        patch: &Patch,
    ) -> Result<Self> {
        let request = wire::PatchRequest {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            patch_type: patch.patch_type().as_str().to_owned(),
            data: patch.data().to_vec(),
            opts: Some(params.into()),
            status: is_status(part)?,
        };
        reply(stub(client).patch(request).await)?.try_into()
    }

    async fn delete(client: &Client, namespace: &str, name: &str, params: &DeleteParams) -> Result<()> {
        let request =
            wire::DeleteRequest { name: name.to_owned(), namespace: namespace.to_owned(), opts: Some(params.into()) };
        reply(stub(client).delete(request).await)
    }
}
