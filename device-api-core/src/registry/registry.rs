// SPDX-License-Identifier: Apache-2.0
//! The registry: a handle to one resource type in process, and the verbs that write.

use std::fmt;
use std::sync::Arc;

use super::cache::Cache;
use super::ledger::Ledger;
use super::options::Room;
use super::params::check_field_manager;
use super::write::{self, Write};
use super::{
    DeleteParams, GetParams, List, ListParams, Part, PatchParams, PostParams, Preconditions, Strategy, Verbs, Watch,
    WatchParams, WriteContext, named, placed, validate,
};
use crate::patch::MAX_PATCH;
use crate::patch::Patch;
use crate::resource::condition::overruled_bytes;
use crate::resource::{Conditions as _, Key, Resource};
use crate::{Error, Result};

/// The objects of one resource type. Cheap to clone.
///
/// A registry is scoped by a namespace, at first the empty one, as [`Verbs`] says. Its methods are
/// those of [`Verbs`], and [`Self::modify_in_place`], which only a registry in process can offer.
pub struct Registry<R> {
    pub(super) ledger: Ledger,
    pub(super) cache: Arc<Cache<R>>,
    strategy: Arc<dyn Strategy<R>>,
    pub(super) namespace: Arc<str>,
    actor: Arc<str>,
}

impl<R> Clone for Registry<R> {
    fn clone(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
            cache: Arc::clone(&self.cache),
            strategy: Arc::clone(&self.strategy),
            namespace: Arc::clone(&self.namespace),
            actor: Arc::clone(&self.actor),
        }
    }
}

impl<R: Resource> fmt::Debug for Registry<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("resource", &R::PLURAL)
            .field("namespace", &self.namespace)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

impl<R: Resource> Registry<R> {
    pub(super) fn new(ledger: Ledger, cache: Arc<Cache<R>>, strategy: Arc<dyn Strategy<R>>) -> Self {
        Self { ledger, cache, strategy, namespace: "".into(), actor: "".into() }
    }

    /// The same registry in another namespace; empty for all of them.
    #[must_use]
    pub fn namespaced(&self, namespace: &str) -> Self {
        if *self.namespace == *namespace {
            return self.clone();
        }
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// The same registry for another writer, whom each record in the store will name.
    #[must_use]
    pub fn as_actor(&self, actor: &str) -> Self {
        Self { actor: actor.into(), ..self.clone() }
    }

    /// The same registry as one that does not keep its ledger open.
    pub(crate) fn into_weak(self) -> Self {
        Self { ledger: self.ledger.into_weak(), ..self }
    }

    /// The ledger that this registry writes through.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Creates an object, with its status, and returns what was stored.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Invalid`], [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn create(&self, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let object = placed(&self.namespace, object.clone())?;
        let write = self.writer(Part::Main, self.key(Part::Main, &object)?, params)?;
        self.ledger.write(move |stage| write.create(stage, object)).await
    }

    /// Replaces labels, annotations and spec. The object's resource version, where set, must be the
    /// current one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`], [`Error::Invalid`], [`Error::TooLarge`],
    /// [`Error::Unavailable`].
    pub async fn replace(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace_part(Part::Main, params, named(name, object)?).await
    }

    /// Replaces the status. The object's resource version, where set, must be the current one.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn replace_status(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace_part(Part::Status, params, named(name, object)?).await
    }

    /// Replaces one part of the object whose name the given one bears: [`Self::replace`] and
    /// [`Self::replace_status`] for who has the object to give away.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn replace_part(&self, part: Part, params: &PostParams, object: R) -> Result<Arc<R>> {
        self.replace_part_with(part, params, object, |_, _| {}).await
    }

    /// The same with an object that `complete` completes first, in sight of the one that is stored: of one that was sent by somebody who
    /// does not know all its fields. In one step: no other write comes between.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn replace_part_with<F>(&self, part: Part, params: &PostParams, object: R, complete: F) -> Result<Arc<R>>
    where
        F: FnOnce(&R, &mut R) + Send + 'static,
    {
        let mut object = placed(&self.namespace, object)?;
        let write = self.writer(part, self.key(part, &object)?, params)?;
        let when = write::unless_empty(&object.metadata().resource_version);
        let completed = move |stored: &R| {
            complete(stored, &mut object);
            Ok(object)
        };
        self.ledger.write(move |stage| write.modify(stage, &when, completed)).await
    }

    /// Patches labels, annotations and spec.
    ///
    /// # Errors
    /// As [`Self::replace`], and [`Error::UnprocessablePatch`] when the patch does not apply. There is
    /// a conflict only when the patch names another resource version than the current one.
    pub async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        self.patch_part(Part::Main, name, params, patch).await
    }

    /// Patches the status.
    ///
    /// # Errors
    /// As [`Self::patch`].
    pub async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        self.patch_part(Part::Status, name, params, patch).await
    }

    async fn patch_part(&self, part: Part, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        let patch = patch.parse()?;
        // Whether the outcome is too large is for the write to say, which knows what that makes doubtful: a patch that copies nothing
        // adds no more than it has.
        let limit = self.ledger.options().limits.max_object_bytes.saturating_add(MAX_PATCH);
        let change = move |current: &R| {
            let overruled = overruled_bytes(current.status().conditions());
            patch.apply(current, limit.saturating_add(overruled))
        };
        let write = self.writer(part, Key::of::<R>(&self.namespace, name)?, params)?;
        let when = Preconditions::default();
        self.ledger.write(move |stage| write.modify(stage, &when, change)).await
    }

    /// Reads, changes and writes one part of an object in one step: no other write comes between, so
    /// there is nothing to retry. What `change` does outside of the part is ignored.
    ///
    /// `change` runs in the ledger's task, where every other write waits for it.
    ///
    /// # Errors
    /// Those of `change`, and as [`Self::replace`].
    pub async fn modify_in_place<F>(
        &self,
        part: Part,
        name: &str,
        params: &PostParams,
        when: Preconditions,
        change: F,
    ) -> Result<Arc<R>>
    where
        F: FnOnce(&mut R) -> Result<()> + Send + 'static,
    {
        let write = self.writer(part, Key::of::<R>(&self.namespace, name)?, params)?;
        let change = move |current: &R| {
            let mut current = current.clone();
            change(&mut current)?;
            Ok(current)
        };
        self.ledger.write(move |stage| write.modify(stage, &when, change)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] when a precondition does not hold,
    /// [`Error::Unavailable`].
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        let key = Key::of::<R>(&self.namespace, name)?;
        let write = self.writer(Part::Main, key, &PostParams { dry_run: params.dry_run, ..PostParams::default() })?;
        let when = params.preconditions.clone();
        self.ledger.write(move |stage| write.delete(stage, &when)).await.map(drop)
    }

    pub(super) fn writer(&self, part: Part, key: Key, params: &PostParams) -> Result<Write<R>> {
        check_field_manager(&params.field_manager)?;
        let actor = match (&*self.actor, params.field_manager.as_str()) {
            (actor, "") => actor.to_owned(),
            ("", manager) => manager.to_owned(),
            (actor, manager) => format!("{actor} {manager}"),
        };
        Ok(Write {
            cache: Arc::clone(&self.cache),
            strategy: Arc::clone(&self.strategy),
            part,
            key,
            actor,
            room: Room::Clients,
            dry_run: params.dry_run,
        })
    }

    /// The key of an object that was sent as a whole. A key that is not valid is not all that may be
    /// wrong with it.
    fn key(&self, part: Part, object: &R) -> Result<Key> {
        let metadata = object.metadata();
        Key::of::<R>(&metadata.namespace, &metadata.name).map_err(|error| match error {
            Error::Invalid { kind, name, mut violations } => {
                let now = self.ledger.options().clock.now();
                violations.extend(validate::metadata(metadata));
                violations.extend(self.strategy.validate(&WriteContext { actor: &self.actor, now, part }, object));
                Error::Invalid { kind, name, violations }
            }
            other => other,
        })
    }
}

impl<R: Resource> Verbs<R> for Registry<R> {
    type Watch = Watch<R>;

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn namespaced(&self, namespace: &str) -> Self {
        Self::namespaced(self, namespace)
    }

    async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<R>> {
        Self::get_with(self, name, params).await
    }

    async fn list(&self, params: &ListParams) -> Result<List<R>> {
        Self::list(self, params).await
    }

    async fn watch(&self, params: &WatchParams) -> Result<Watch<R>> {
        Self::watch(self, params).await
    }

    async fn create(&self, params: &PostParams, object: &R) -> Result<Arc<R>> {
        Self::create(self, params, object).await
    }

    async fn replace(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        Self::replace(self, name, params, object).await
    }

    async fn replace_status(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        Self::replace_status(self, name, params, object).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        Self::patch(self, name, params, patch).await
    }

    async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<R>> {
        Self::patch_status(self, name, params, patch).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        Self::delete(self, name, params).await
    }
}
