// SPDX-License-Identifier: Apache-2.0
//! The task that holds a lease and writes what is declared.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::sync::Arc;

use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs};
use device_api_core::registry::{ListParams, PatchParams, Verbs};
use device_api_core::resource::{Key, Resource};
use device_api_core::{Error, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::declaration::{Declaration, Difference};
use crate::watcher::Backoff;
use crate::writers::conditions;

/// How many objects are listed at a time.
const PAGE: u64 = 500;
/// How long the name of a writer may be in the audit trail, in characters.
const MAX_MANAGER: usize = 128;

/// What was declared last.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) number: u64,
    /// The lease is to be given back. Who is dropped has not said so.
    pub(super) is_over: bool,
    pub(super) declaration: Option<Arc<Declaration>>,
}

/// How far the task has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The number of the declaration that was written last.
    pub(super) number: u64,
    /// What the server refused of it.
    pub(super) refused: Option<Error>,
    /// Why the lease is lost.
    pub(super) lost: Option<Error>,
}

pub(super) struct Holder<R, V, L> {
    objects: V,
    leases: L,
    /// By id; without one from when the server has forgotten the lease until it has told of another. Should that answer be lost,
    /// the identity says who asks again.
    request: AcquireLease,
    params: PatchParams,
    resource: PhantomData<fn() -> R>,
}

impl<R: Resource, V: Verbs<R>, L: LeaseVerbs> Holder<R, V, L> {
    /// The request is the one that was answered with this id.
    pub(super) fn new(objects: V, leases: L, request: AcquireLease, id: String) -> Self {
        let manager: String = request.name.chars().take(MAX_MANAGER).collect();
        let params = PatchParams::default().manager(manager);
        let mut request = request.with_id(id);
        // From now on whoever is faster is not replaced.
        request.take_over = false;
        Self { objects, leases, request, params, resource: PhantomData }
    }

    /// Holds the lease until it is to be given back. When the other end of `declared` is dropped instead, it is left to expire.
    pub(super) async fn hold(
        mut self,
        mut declared: watch::Receiver<Declared>,
        progress: watch::Sender<Progress>,
    ) -> Result<()> {
        let interval = self.request.duration / 3;
        let mut pauses = Backoff::default().with_longest(interval).pauses();
        let mut next = Instant::now() + interval;
        loop {
            tokio::select! {
                changed = declared.changed() => if changed.is_err() {
                    return Ok(());
                },
                () = sleep_until(next) => {}
            }
            let (number, declaration) = {
                let declared = declared.borrow_and_update();
                if declared.is_over {
                    break;
                }
                (declared.number, declared.declaration.clone())
            };
            // Renewed before each write: whoever was replaced learns it before it writes.
            let renewed = self.renew().await;
            let written = match (renewed, declaration) {
                (Ok(()), Some(declaration)) => self.write(&declaration).await,
                (Ok(()), None) => Ok(None),
                (Err(error), _) if error.is_conflict() || error.is_invalid() || error.is_forbidden() => {
                    tracing::warn!(lease = self.request.name, error = &error as &dyn StdError, "the lease is lost");
                    progress.send_modify(|progress| progress.lost = Some(error.clone()));
                    // Who declares is told; who stops has nothing to give back.
                    let _ = declared.wait_for(|declared| declared.is_over).await;
                    return Err(error);
                }
                (Err(error), _) => Err(error),
            };
            match written {
                Ok(refused) => {
                    progress.send_modify(|progress| {
                        progress.number = number;
                        progress.refused = refused;
                    });
                    next = Instant::now() + interval;
                    pauses.reset();
                }
                Err(error) => {
                    let (lease, error) = (&self.request.name, &error as &dyn StdError);
                    tracing::debug!(lease, error, "cannot renew or write now; trying again");
                    next = Instant::now() + pauses.next_pause();
                }
            }
        }
        self.release().await
    }

    async fn renew(&mut self) -> Result<()> {
        let renewed = match self.leases.acquire(&self.request).await {
            // The server has a new store, or somebody cleaned up.
            Err(error) if error.is_not_found() => {
                self.request.id = None;
                self.leases.acquire(&self.request).await?
            }
            other => other?,
        };
        if renewed.state == LeaseState::Expired {
            tracing::info!(lease = self.request.name, "the lease had expired and is held again");
        }
        self.request.id = Some(renewed.id);
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        if self.request.id.is_none() {
            // It may have one that it was not told of.
            self.renew().await?;
        }
        self.leases.release(&self.request.name, self.request.id.as_deref()).await
    }

    /// Writes what differs, and returns the first error that no other try heals.
    async fn write(&self, declaration: &Declaration) -> Result<Option<Error>> {
        let types = &self.request.condition_types;
        let mut refused = None;
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = self.objects.list(&page).await?;
            for object in &list.items {
                let metadata = object.metadata();
                let key = Key::of::<R>(&metadata.namespace, &metadata.name)?;
                let Some(difference) = declaration.difference(&key, &**object, types) else { continue };
                match self.patch(&key, &difference).await {
                    // An object that is gone has no conditions.
                    Err(error) if error.is_not_found() => {}
                    Err(error) if may_pass(&error) => return Err(error),
                    Err(error) => {
                        let told = &error as &dyn StdError;
                        tracing::warn!(lease = self.request.name, object = %key, error = told, "what is declared is refused");
                        refused.get_or_insert(error);
                    }
                    Ok(()) => {}
                }
            }
            if list.metadata.continue_token.is_empty() {
                return Ok(refused);
            }
            page = page.continue_token(list.metadata.continue_token);
        }
    }

    async fn patch(&self, key: &Key, difference: &Difference) -> Result<()> {
        let patch = conditions::patch::<R>(&difference.set, &difference.gone)?;
        self.objects.namespaced(key.namespace()).patch_status(key.name(), &self.params, &patch).await.map(drop)
    }
}

/// Whether the same may succeed later: the server is away or overloaded, or a page was too old.
fn may_pass(error: &Error) -> bool {
    error.is_unavailable() || error.is_expired()
}
