// SPDX-License-Identifier: Apache-2.0
//! A handle whose calls fail on purpose.

use std::sync::Arc;

use tokio::sync::watch;

use super::faults::{CallFaults, Verb};
use super::watch::FaultyWatch;
use crate::Result;
use crate::patch::Patch;
use crate::registry::{
    DeleteParams, GetParams, List, ListParams, PatchParams, PostParams, Verbs, WatchEvent, WatchParams,
};
use crate::resource::Resource;

/// A handle that does what another does, but for its [`CallFaults`].
///
/// It wraps any handle, of any resource type: a registry in process, or the client's `Api`. It begins in no
/// namespace, whichever that one is in.
#[derive(Clone, Debug)]
pub struct FaultyVerbs<V> {
    /// `None` while the server is down.
    inner: watch::Receiver<Option<V>>,
    namespace: String,
    faults: CallFaults,
}

impl<V> FaultyVerbs<V> {
    /// Wraps a handle.
    #[must_use]
    pub fn new(inner: V, faults: &CallFaults) -> Self {
        let (_, inner) = watch::channel(Some(inner));
        Self::following(inner, faults)
    }

    /// Wraps the handle that is current at each call. While there is none the server is out of reach:
    /// every call fails with [`CallFaults::lost`], and counts as none.
    #[must_use]
    pub fn following(inner: watch::Receiver<Option<V>>, faults: &CallFaults) -> Self {
        Self { inner, namespace: String::new(), faults: faults.clone() }
    }

    /// The plan of faults.
    #[must_use]
    pub fn faults(&self) -> &CallFaults {
        &self.faults
    }

    /// The handle of the server that is up now: a call that hangs stays with it.
    fn inner<R: Resource>(&self) -> Result<V>
    where
        V: Verbs<R>,
    {
        let inner = self.inner.borrow().clone().ok_or_else(CallFaults::lost)?;
        Ok(inner.namespaced(&self.namespace))
    }
}

impl<R: Resource, V: Verbs<R>> Verbs<R> for FaultyVerbs<V> {
    type Watch = FaultyWatch<Result<WatchEvent<R>>>;

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn namespaced(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::Get, inner.get_with(name, params)).await
    }

    async fn list(&self, params: &ListParams) -> Result<List<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::List, inner.list(params)).await
    }

    async fn watch(&self, params: &WatchParams) -> Result<Self::Watch> {
        let inner = self.inner()?;
        self.faults.watch(inner.watch(params)).await
    }

    async fn create(&self, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::Create, inner.create(params, object)).await
    }

    async fn replace(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::Replace, inner.replace(name, params, object)).await
    }

    async fn replace_status(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::ReplaceStatus, inner.replace_status(name, params, object)).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::Patch, inner.patch(name, params, patch)).await
    }

    async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        let inner = self.inner()?;
        self.faults.call(Verb::PatchStatus, inner.patch_status(name, params, patch)).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        let inner = self.inner()?;
        self.faults.call(Verb::Delete, inner.delete(name, params)).await
    }
}
