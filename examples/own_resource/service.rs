// SPDX-License-Identifier: Apache-2.0
//! The server's side: `NicService` on a registry. It translates and decides nothing.

use std::pin::Pin;

use device_api_core::patch::Patch;
use device_api_core::registry::{ListParams, Registry, WatchParams};
use device_api_server::Peer;
use futures_util::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::nic::Nic;
use crate::wire::nic_service_server::NicService;
use crate::wire::{self, required};

#[derive(Debug)]
pub(crate) struct NicApi {
    pub(crate) nics: Registry<Nic>,
}

impl NicApi {
    /// The registry for a write: the store notes who it was.
    fn writer<T>(&self, request: &Request<T>, namespace: &str) -> Registry<Nic> {
        let peer = Peer::of_request(request.extensions()).map_or_else(String::new, |peer| peer.to_string());
        self.nics.namespaced(namespace).as_actor(&peer)
    }
}

type Reply<T> = Result<Response<T>, Status>;

fn reply(nic: &Nic) -> Reply<wire::Nic> {
    Ok(Response::new(nic.into()))
}

#[tonic::async_trait]
impl NicService for NicApi {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Event, Status>> + Send>>;

    async fn get(&self, request: Request<wire::GetRequest>) -> Reply<wire::Nic> {
        let wire::GetRequest { name, namespace, opts } = request.into_inner();
        reply(&*self.nics.namespaced(&namespace).get_with(&name, &opts.unwrap_or_default().into()).await?)
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Reply<wire::NicList> {
        let wire::ListRequest { namespace, opts } = request.into_inner();
        let params: ListParams = opts.unwrap_or_default().try_into()?;
        Ok(Response::new((&self.nics.namespaced(&namespace).list(&params).await?).into()))
    }

    async fn watch(&self, request: Request<wire::ListRequest>) -> Reply<Self::WatchStream> {
        let wire::ListRequest { namespace, opts } = request.into_inner();
        let params: WatchParams = opts.unwrap_or_default().try_into()?;
        let watch = self.nics.namespaced(&namespace).watch(&params).await?;
        Ok(Response::new(Box::pin(watch.map(|event| Ok((&event?).into())))))
    }

    async fn create(&self, request: Request<wire::CreateRequest>) -> Reply<wire::Nic> {
        let nics = self.writer(&request, "");
        let wire::CreateRequest { nic, opts } = request.into_inner();
        reply(&*nics.create(&opts.unwrap_or_default().into(), &required(nic)?).await?)
    }

    async fn replace(&self, request: Request<wire::ReplaceRequest>) -> Reply<wire::Nic> {
        let nics = self.writer(&request, "");
        let wire::ReplaceRequest { nic, opts, status } = request.into_inner();
        let (nic, params) = (required(nic)?, opts.unwrap_or_default().into());
        let name = &nic.metadata.name;
        let stored = match status {
            true => nics.replace_status(name, &params, &nic).await?,
            false => nics.replace(name, &params, &nic).await?,
        };
        reply(&stored)
    }

    async fn patch(&self, request: Request<wire::PatchRequest>) -> Reply<wire::Nic> {
        let nics = self.writer(&request, &request.get_ref().namespace);
        let wire::PatchRequest { name, namespace: _, patch_type, data, opts, status } = request.into_inner();
        let (patch, params) = (Patch::new(patch_type.parse()?, data), opts.unwrap_or_default().into());
        let stored = match status {
            true => nics.patch_status(&name, &params, &patch).await?,
            false => nics.patch(&name, &params, &patch).await?,
        };
        reply(&stored)
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Reply<()> {
        let nics = self.writer(&request, &request.get_ref().namespace);
        let wire::DeleteRequest { name, namespace: _, opts } = request.into_inner();
        nics.delete(&name, &opts.unwrap_or_default().into()).await?;
        Ok(Response::new(()))
    }
}
