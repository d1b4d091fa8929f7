// SPDX-License-Identifier: Apache-2.0
//! The Device API for clients of Kubernetes: what [`kube::Client`](https://docs.rs/kube) takes for an API server.
//!
//! An [`Apiserver`] is a tower service that answers Kubernetes' REST requests for one resource from any
//! [`Verbs`], in process or remote. On it run `Api`, `watcher`, `reflector`, `Controller` and
//! `await_condition` of kube, with no Kubernetes and no TCP port.
//!
//! ```
//! use device_api_client::kube::Apiserver;
//! # use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
//! use device_api_core::resource::{Gpu, GpuSpec, GpuStatus, Resource as _};
//! # use device_api_core::resource::{GpuStrategy, ObjectMeta};
//! use kube::api::{Api, ListParams};
//! use kube::core::{ApiResource, GroupVersionKind, Object};
//!
//! /// A GPU in kube's own types.
//! type KubeGpu = Object<GpuSpec, GpuStatus>;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let ledger = Ledger::open(Box::new(device_api_store_memory::Memory::new().open()?), LedgerOptions::default()).await?;
//! # let gpus: Registry<Gpu> = ledger.registry(GpuStrategy).await?;
//! # gpus.create(&PostParams::default(), &Gpu { metadata: ObjectMeta::named("gpu-0"), ..Gpu::default() }).await?;
//! // `gpus` is the client's `Api<Gpu>`, a `Registry<Gpu>` or the handle of a test's server.
//! let client = kube::Client::new(Apiserver::new(gpus), "default");
//!
//! let kind = GroupVersionKind::gvk(Gpu::GROUP, Gpu::VERSION, Gpu::KIND);
//! let gpus: Api<KubeGpu> = Api::all_with(client, &ApiResource::from_gvk_with_plural(&kind, Gpu::PLURAL));
//! for gpu in gpus.list(&ListParams::default()).await? {
//!     println!("{:?}: {} conditions", gpu.metadata.name, gpu.status.unwrap_or_default().conditions.len());
//! }
//! assert!(gpus.get_opt("gpu-7").await?.is_none());
//! # Ok(()) }
//! ```
//!
//! This crate does not depend on kube: the service is all that the two share, so that any version of
//! kube whose client takes a tower service will do. kube 5 is tested.
//!
//! What is as in Kubernetes: get, list (pages, versions, selectors), watch (bookmarks, `timeoutSeconds`,
//! `sendInitialEvents`), create, replace, the three kinds of patch, delete with preconditions, the
//! `status` subresource, `dryRun`, `fieldManager`, discovery, and failures as `Status` objects. What the
//! Device API has not is refused and named: server-side apply, finalizers, owner references, generated
//! names, deleting collections, and any parameter or field that is not known (`fieldValidation` is always strict). Beyond Kubernetes, a path without a
//! namespace reads and writes single objects too, in the namespace `default`, so that `Api::all` does.

mod answer;
mod discovery;
mod query;
mod read;
mod route;
mod status;
mod write;

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use device_api_core::patch::Patch;
use device_api_core::registry::Verbs;
use device_api_core::resource::Resource;
use device_api_core::{Error, Result};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower::{BoxError, Service};

pub use self::answer::Answer;
use self::query::Query;
use self::route::Route;
use self::status::Refusal;

/// The longest request body, as in Kubernetes: 3 MiB.
const MAX_BODY: usize = 3 << 20;

/// Answers Kubernetes' REST requests for the objects of one resource. Cheap to clone.
///
/// Give it to `kube::Client::new`, as the [module](self) shows. It never fails: whatever is wrong is an
/// answer with a `Status` object. It does not know who asks: whoever has it may do what its handle may.
#[derive(Clone, Debug)]
pub struct Apiserver<R, V> {
    verbs: V,
    resource: PhantomData<fn() -> R>,
}

impl<R: Resource, V: Verbs<R>> Apiserver<R, V> {
    /// Answers from this handle. Its namespace does not matter: each request names its own.
    #[must_use]
    pub fn new(verbs: V) -> Self {
        Self { verbs, resource: PhantomData }
    }
}

impl<R, V, B> Service<Request<B>> for Apiserver<R, V>
where
    R: Resource,
    V: Verbs<R>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verbs = self.verbs.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let answer = serve::<R, V, B>(&verbs, &head, body).await;
            Ok(answer.unwrap_or_else(|refusal| answer::status(&refusal.to_status::<R>())))
        })
    }
}

/// One request: finds what it is about, reads what was sent, and calls the verb.
async fn serve<R, V, B>(verbs: &V, head: &Parts, body: B) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
    B: Body + Send,
    B::Error: Into<BoxError>,
{
    let route = Route::of::<R>(head.uri.path()).ok_or(Refusal::NoSuchPath)?;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let method = head.method.as_str();
    match (route, method) {
        (Route::Discovery(document), "GET") => Ok(answer::json(&document)?),
        (Route::Collection { namespace }, "GET") => read::collection(&verbs.namespaced(&namespace), query).await,
        (Route::Collection { namespace }, "POST") => {
            write::create(&verbs.namespaced(&namespace), query, &read_json(head, body).await?).await
        }
        // The status subresource reads as the whole object, as in Kubernetes.
        (Route::Object { namespace, name } | Route::Status { namespace, name }, "GET") => {
            read::object(&verbs.namespaced(&namespace), &name, query).await
        }
        (Route::Object { namespace, name }, "PUT") => {
            write::replace(&verbs.namespaced(&namespace), &name, query, &read_json(head, body).await?).await
        }
        (Route::Status { namespace, name }, "PUT") => {
            write::replace_status(&verbs.namespaced(&namespace), &name, query, &read_json(head, body).await?).await
        }
        (Route::Object { namespace, name }, "PATCH") => {
            write::patch(&verbs.namespaced(&namespace), &name, query, &read_patch(head, body).await?).await
        }
        (Route::Status { namespace, name }, "PATCH") => {
            write::patch_status(&verbs.namespaced(&namespace), &name, query, &read_patch(head, body).await?).await
        }
        (Route::Object { namespace, name }, "DELETE") => {
            write::delete(&verbs.namespaced(&namespace), &name, query, &read_json(head, body).await?).await
        }
        _ => Err(Refusal::MethodNotAllowed),
    }
}

/// The media type of a body, without its parameters; empty where the request names none.
fn media_type(head: &Parts) -> &str {
    let value = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

/// A body that is JSON, or says nothing of what it is.
async fn read_json<B>(head: &Parts, body: B) -> Result<Bytes, Refusal>
where
    B: Body + Send,
    B::Error: Into<BoxError>,
{
    match media_type(head) {
        "" | "application/json" => Ok(read(body).await?),
        _ => Err(Refusal::UnknownFormat),
    }
}

async fn read_patch<B>(head: &Parts, body: B) -> Result<Patch>
where
    B: Body + Send,
    B::Error: Into<BoxError>,
{
    let patch_type = media_type(head).parse()?;
    Ok(Patch::new(patch_type, read(body).await?))
}

async fn read<B>(body: B) -> Result<Bytes>
where
    B: Body + Send,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge {
            what: "the request".to_owned(),
            limit: format!("{MAX_BODY} bytes"),
            hint: "send less".to_owned(),
        }),
        Err(error) => Err(Error::bad_request("body", format!("it broke off: {error}"))),
    }
}
