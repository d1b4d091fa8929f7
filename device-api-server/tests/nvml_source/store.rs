// SPDX-License-Identifier: Apache-2.0
//! A handle to an API that can be out of reach, and another one when it is back: as a client's to a server that was
//! restarted without its store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use device_api_core::lease::{AcquireLease, Lease, LeaseVerbs, Leases};
use device_api_core::patch::Patch;
use device_api_core::registry::{
    DeleteParams, GetParams, List, ListParams, PatchParams, PostParams, Registry, Verbs, Watch, WatchParams,
};
use device_api_core::resource::Gpu;
use device_api_core::{Error, Result};

use crate::bench::Api;

/// The handle. All clones reach the same API, or none.
#[derive(Clone)]
pub(crate) struct Reach {
    // Held to clone what is in it or to change it.
    to: Arc<Mutex<Option<Handles>>>,
    // Likewise.
    requests: Arc<Mutex<usize>>,
    /// Whether it reaches none any more once an object turned out to exist.
    breaks: Arc<AtomicBool>,
}

type Handles = (Registry<Gpu>, Leases);

impl Reach {
    pub(crate) fn none() -> Self {
        Self { to: Arc::default(), requests: Arc::default(), breaks: Arc::default() }
    }

    /// From now on it reaches this API, or none.
    pub(crate) fn set(&self, api: Option<&Api>) {
        let new = api.map(|api| (api.gpus.clone(), api.leases.clone()));
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// It reaches none any more as soon as an object turns out to exist.
    pub(crate) fn breaks_at_the_next_object_that_exists(&self) {
        self.breaks.store(true, Ordering::Relaxed);
    }

    /// Whether it reaches none.
    pub(crate) fn is_broken(&self) -> bool {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// How many requests were made.
    pub(crate) fn requests(&self) -> usize {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) -> Result<Handles> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests += 1;
        assert!(*requests < 1_000_000, "the source spins");
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = "nobody listens".to_owned();
        to.ok_or_else(|| Error::Unavailable { why, retry_after: None, cause: Default::default() })
    }

    async fn gpus(&self) -> Result<Registry<Gpu>> {
        // Or nobody else would ever run.
        tokio::task::yield_now().await;
        Ok(self.reached()?.0)
    }
}

impl Verbs<Gpu> for Reach {
    type Watch = Watch<Gpu>;

    fn namespace(&self) -> &str {
        ""
    }

    fn namespaced(&self, _: &str) -> Self {
        self.clone()
    }

    async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<Gpu>> {
        self.gpus().await?.get_with(name, params).await
    }

    async fn list(&self, params: &ListParams) -> Result<List<Gpu>> {
        self.gpus().await?.list(params).await
    }

    async fn watch(&self, params: &WatchParams) -> Result<Watch<Gpu>> {
        self.gpus().await?.watch(params).await
    }

    async fn create(&self, params: &PostParams, gpu: &Gpu) -> Result<Arc<Gpu>> {
        let created = self.gpus().await?.create(params, gpu).await;
        if created.as_ref().is_err_and(Error::is_already_exists) && self.breaks.swap(false, Ordering::Relaxed) {
            self.set(None);
        }
        created
    }

    async fn replace(&self, name: &str, params: &PostParams, gpu: &Gpu) -> Result<Arc<Gpu>> {
        self.gpus().await?.replace(name, params, gpu).await
    }

    async fn replace_status(&self, name: &str, params: &PostParams, gpu: &Gpu) -> Result<Arc<Gpu>> {
        self.gpus().await?.replace_status(name, params, gpu).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<Gpu>> {
        self.gpus().await?.patch(name, params, patch).await
    }

    async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<Gpu>> {
        self.gpus().await?.patch_status(name, params, patch).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.gpus().await?.delete(name, params).await
    }
}

impl LeaseVerbs for Reach {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        self.reached()?.1.acquire(request).await
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        self.reached()?.1.release(name, id).await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        self.reached()?.1.list().await
    }
}
