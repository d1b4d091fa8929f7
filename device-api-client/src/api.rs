// SPDX-License-Identifier: Apache-2.0
//! The handle to the objects of one type, over gRPC.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use device_api_core::Result;
use device_api_core::patch::Patch;
use device_api_core::registry::{
    DeleteParams, GetParams, List, ListParams, Part, PatchParams, PostParams, Verbs, WatchParams, named, placed,
};

use crate::Client;
use crate::wire::{ApiWatch, WireResource};

/// A handle to the objects of one resource type, with kube-rs' verbs.
///
/// Each verb is there twice, inherent and as the trait [`Verbs`], which code takes that is to run in the
/// server's process as well.
///
/// Errors are those of the registry, rebuilt; beside them every verb fails with
/// [`Error::Unavailable`](device_api_core::Error::Unavailable) when the server is out of reach.
pub struct Api<R> {
    client: Client,
    namespace: String,
    resource: PhantomData<fn() -> R>,
}

impl<R: WireResource> Api<R> {
    /// The objects of all namespaces. Requests for one object mean the namespace `default`.
    #[must_use]
    pub fn all(client: Client) -> Self {
        Self { client, namespace: String::new(), resource: PhantomData }
    }

    /// The objects of one namespace.
    #[must_use]
    pub fn namespaced(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), resource: PhantomData }
    }

    /// The client under it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads one object in its latest state.
    ///
    /// # Errors
    /// [`Error::NotFound`](device_api_core::Error::NotFound), among others.
    pub async fn get(&self, name: &str) -> Result<Arc<R>> {
        self.get_with(name, &GetParams::default()).await
    }

    /// Reads one object.
    ///
    /// # Errors
    /// [`Error::NotFound`](device_api_core::Error::NotFound), among others.
    pub async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<R>> {
        self.one(R::get(&self.client, &self.namespace, name, params)).await
    }

    /// Reads one object in its latest state; `None` when there is none.
    ///
    /// # Errors
    /// Any but [`Error::NotFound`](device_api_core::Error::NotFound).
    pub async fn get_opt(&self, name: &str) -> Result<Option<Arc<R>>> {
        Verbs::get_opt(self, name).await
    }

    /// Lists objects.
    ///
    /// # Errors
    /// [`Error::Expired`](device_api_core::Error::Expired) for a version or a page that is no longer in
    /// history, among others.
    pub async fn list(&self, params: &ListParams) -> Result<List<R>> {
        self.client.bounded(R::list(&self.client, &self.namespace, params)).await
    }

    /// Lists all objects that the parameters select, however many and large they are, as [`Verbs::list_all`] says.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_all(&self, params: &ListParams) -> Result<List<R>> {
        Verbs::list_all(self, params).await
    }

    /// Streams changes. The request timeout does not hold: the server decides when there is something to
    /// say, and keepalive tells when it is gone.
    ///
    /// # Errors
    /// Here or as the stream's last item: [`Error::Expired`](device_api_core::Error::Expired) when the
    /// version is no longer in history (list again), among others.
    pub async fn watch(&self, params: &WatchParams) -> Result<ApiWatch<R>> {
        R::watch(&self.client, &self.namespace, params).await
    }

    /// Creates an object and returns what was stored.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](device_api_core::Error::AlreadyExists),
    /// [`Error::Invalid`](device_api_core::Error::Invalid), among others.
    pub async fn create(&self, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let object = placed(&self.namespace, object.clone())?;
        self.one(R::create(&self.client, params, &object)).await
    }

    /// Replaces labels, annotations and spec. `name` must be the object's own, unless that is empty.
    ///
    /// # Errors
    /// [`Error::Conflict`](device_api_core::Error::Conflict) when the object's resource version is set and
    /// no longer current, [`Error::NotFound`](device_api_core::Error::NotFound),
    /// [`Error::Invalid`](device_api_core::Error::Invalid), among others.
    pub async fn replace(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace_part(Part::Main, name, params, object).await
    }

    /// Replaces the status.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn replace_status(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace_part(Part::Status, name, params, object).await
    }

    /// Reads an object, changes one part of it and replaces that at the version that was read; after a
    /// conflict it does so again, as [`Verbs::modify`] says.
    ///
    /// # Errors
    /// Those of `change`, and as [`Self::replace`].
    pub async fn modify<F>(&self, part: Part, name: &str, params: &PostParams, change: F) -> Result<Arc<R>>
    where
        F: FnMut(&mut R) -> Result<()> + Send,
    {
        Verbs::modify(self, part, name, params, change).await
    }

    /// Patches labels, annotations and spec.
    ///
    /// # Errors
    /// [`Error::UnprocessablePatch`](device_api_core::Error::UnprocessablePatch) when the patch does not
    /// apply, [`Error::Conflict`](device_api_core::Error::Conflict) when it names a resource version that is
    /// not current, [`Error::NotFound`](device_api_core::Error::NotFound), among others.
    pub async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        self.one(R::patch(&self.client, Part::Main, &self.namespace, name, params, patch)).await
    }

    /// Patches the status.
    ///
    /// # Errors
    /// As [`Self::patch`].
    pub async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        self.one(R::patch(&self.client, Part::Status, &self.namespace, name, params, patch)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`Error::NotFound`](device_api_core::Error::NotFound),
    /// [`Error::Conflict`](device_api_core::Error::Conflict) when a precondition does not hold, among others.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.client.bounded(R::delete(&self.client, &self.namespace, name, params)).await
    }

    async fn replace_part(&self, part: Part, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let object = placed(&self.namespace, named(name, object)?)?;
        self.one(R::replace(&self.client, part, params, &object)).await
    }

    async fn one(&self, call: impl Future<Output = Result<R>>) -> Result<Arc<R>> {
        self.client.bounded(call).await.map(Arc::new)
    }
}

impl<R: WireResource> Verbs<R> for Api<R> {
    type Watch = ApiWatch<R>;

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn namespaced(&self, namespace: &str) -> Self {
        Self::namespaced(self.client.clone(), namespace)
    }

    async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<R>> {
        self.get_with(name, params).await
    }

    async fn list(&self, params: &ListParams) -> Result<List<R>> {
        self.list(params).await
    }

    async fn watch(&self, params: &WatchParams) -> Result<ApiWatch<R>> {
        self.watch(params).await
    }

    async fn create(&self, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.create(params, object).await
    }

    async fn replace(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace(name, params, object).await
    }

    async fn replace_status(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace_status(name, params, object).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        self.patch(name, params, patch).await
    }

    async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        self.patch_status(name, params, patch).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.delete(name, params).await
    }
}

impl<R> Clone for Api<R> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), namespace: self.namespace.clone(), resource: PhantomData }
    }
}

impl<R> fmt::Debug for Api<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("client", &self.client).field("namespace", &self.namespace).finish()
    }
}
