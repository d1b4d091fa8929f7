// SPDX-License-Identifier: Apache-2.0
//! The registry: the verbs on one resource type, in process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Cache, CacheSnapshot};
use super::ledger::Ledger;
use super::params::{check_field_manager, parse_version};
use super::token::Token;
use super::watch::{Cursor, Timing};
use super::write::{self, Identity, Write};
use super::{
    Bookmark, DeleteParams, GetParams, List, ListParams, Part, PatchParams, PostParams, Preconditions, Strategy, Verbs,
    VersionMatch, Watch, WatchEvent, WatchParams, WriteContext, named, placed, validate,
};
use crate::patch::Patch;
use crate::resource::{Key, ListMeta, Resource};
use crate::selector::Selection;
use crate::storage::Revision;
use crate::{Error, Result};

/// The objects of one resource type. Cheap to clone.
///
/// A registry is scoped by a namespace, at first the empty one, as [`Verbs`] says. Its methods are
/// those of [`Verbs`], and [`Self::modify`], which only a registry in process can offer.
pub struct Registry<R> {
    ledger: Ledger,
    cache: Arc<Cache<R>>,
    strategy: Arc<dyn Strategy<R>>,
    namespace: Arc<str>,
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
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// The same registry for another writer, whom each record in the store will name.
    #[must_use]
    pub fn as_actor(&self, actor: &str) -> Self {
        Self { actor: actor.into(), ..self.clone() }
    }

    /// The ledger that this registry writes through.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads one object in its latest state.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Invalid`] for a name that none can have.
    pub async fn get(&self, name: &str) -> Result<Arc<R>> {
        let key = Key::of::<R>(&self.namespace, name)?;
        self.cache.get(&key).ok_or_else(|| Error::not_found::<R>(key.name()))
    }

    /// Reads one object in its latest state; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that none can have.
    pub async fn get_opt(&self, name: &str) -> Result<Option<Arc<R>>> {
        Verbs::get_opt(self, name).await
    }

    /// Reads one object in a state that is not older than a version.
    ///
    /// # Errors
    /// As [`Self::get`], and [`Error::ResourceVersionTooLarge`] when that version does not come.
    pub async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<R>> {
        if let Some(version) = parse_version("resourceVersion", &params.resource_version)? {
            self.wait_for(version).await?;
        }
        self.get(name).await
    }

    /// Lists one consistent snapshot, or a page of it.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for parameters that are not valid or do not go together,
    /// [`Error::Expired`] for a version or token that history does not reach back to,
    /// [`Error::ResourceVersionTooLarge`] for a version that does not come.
    pub async fn list(&self, params: &ListParams) -> Result<List<R>> {
        let selection = self.selection(&params.label_selector, &params.field_selector)?;
        let fingerprint = selection.fingerprint();
        let (snapshot, after) = if params.continue_token.is_empty() {
            (self.snapshot(params).await?, None)
        } else {
            if !params.resource_version.is_empty() || params.version_match.is_some() {
                let why = "specifying resource version is not allowed when using continue";
                return Err(Error::bad_request("resourceVersion", why));
            }
            let token = Token::decode::<R>(&params.continue_token)?;
            if token.fingerprint != fingerprint {
                let why = "the token belongs to a list with another namespace or other selectors";
                return Err(Error::bad_request("continue", why));
            }
            self.wait_for(token.revision).await?;
            (self.cache.snapshot_at(token.revision)?, Some(token.after))
        };
        Ok(page(snapshot, after, &selection, params.limit))
    }

    /// Streams changes.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn watch(&self, params: &WatchParams) -> Result<Watch<R>> {
        let selection = self.selection(&params.label_selector, &params.field_selector)?;
        check_initial_events(params)?;
        let version = parse_version("resourceVersion", &params.resource_version)?.filter(|at| *at != Revision::ZERO);
        if let Some(version) = version {
            self.wait_for(version).await?;
        }
        let (start, initial) = match (version, params.send_initial_events) {
            // The initial events are not older than the version, and the watch goes on from them.
            (_, Some(true)) | (None, None) => {
                let mut snapshot = self.cache.snapshot();
                snapshot.objects.retain(|(_, stored)| selection.matches(&*stored.object));
                // Like all events: who is cut off among them can resume from the last version seen.
                snapshot.objects.sort_by_key(|(_, stored)| stored.revision);
                let mut initial: VecDeque<_> =
                    snapshot.objects.into_iter().map(|(_, stored)| WatchEvent::Added(stored.object)).collect();
                if params.send_initial_events == Some(true) {
                    let resource_version = snapshot.revision.to_string();
                    initial.push_back(WatchEvent::Bookmark(Bookmark { resource_version, initial_events_end: true }));
                }
                (snapshot.revision, initial)
            }
            (None, Some(false)) => (self.cache.subscribe().borrow().revision, Default::default()),
            (Some(version), _) => {
                self.cache.events_after(version, 0)?;
                (version, Default::default())
            }
        };
        let timing = self.timing(params);
        Ok(Watch::new(Cursor::new(Arc::clone(&self.cache), selection, start, initial, timing)))
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
        self.replace_part(Part::Main, name, params, object).await
    }

    /// Replaces the status. The object's resource version, where set, must be the current one.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn replace_status(&self, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        self.replace_part(Part::Status, name, params, object).await
    }

    async fn replace_part(&self, part: Part, name: &str, params: &PostParams, object: &R) -> Result<Arc<R>> {
        let object = placed(&self.namespace, named(name, object)?)?;
        let write = self.writer(part, self.key(part, &object)?, params)?;
        let when = write::unless_empty(&object.metadata().resource_version);
        self.ledger
            .write(move |stage| {
                write.modify(stage, &when, Identity::UnlessEmpty, |current| {
                    *current = object;
                    Ok(())
                })
            })
            .await
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
        let limit = self.ledger.options().limits.max_object_bytes;
        let change = move |current: &mut R| {
            *current = patch.apply(current, limit)?;
            Ok(())
        };
        let write = self.writer(part, Key::of::<R>(&self.namespace, name)?, params)?;
        let when = Preconditions::default();
        self.ledger.write(move |stage| write.modify(stage, &when, Identity::Strict, change)).await
    }

    /// Reads, changes and writes one part of an object in one step: no other write comes between, so
    /// there is nothing to retry. What `change` does outside of the part is ignored.
    ///
    /// `change` runs in the ledger's task, where every other write waits for it.
    ///
    /// # Errors
    /// Those of `change`, and as [`Self::replace`].
    pub async fn modify<F>(
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
        self.ledger.write(move |stage| write.modify(stage, &when, Identity::Strict, change)).await
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

    fn writer(&self, part: Part, key: Key, params: &PostParams) -> Result<Write<R>> {
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

    fn selection(&self, labels: &str, fields: &str) -> Result<Selection> {
        Selection::parse::<R>(&self.namespace, labels, fields)
    }

    async fn snapshot(&self, params: &ListParams) -> Result<CacheSnapshot<R>> {
        let version = parse_version("resourceVersion", &params.resource_version)?;
        if let Some(version) = version {
            self.wait_for(version).await?;
        }
        match (version, params.version_match) {
            (None, Some(_)) => {
                let why = "forbidden unless resourceVersion is provided";
                Err(Error::bad_request("resourceVersionMatch", why))
            }
            (Some(Revision::ZERO), Some(VersionMatch::Exact)) => {
                let why = "Exact is forbidden for resourceVersion \"0\"";
                Err(Error::bad_request("resourceVersionMatch", why))
            }
            (Some(version), Some(VersionMatch::Exact)) => self.cache.snapshot_at(version),
            (_, None | Some(VersionMatch::NotOlderThan)) => Ok(self.cache.snapshot()),
        }
    }

    /// Waits until a version of the future is the present one.
    async fn wait_for(&self, version: Revision) -> Result<()> {
        let mut doorbell = self.cache.subscribe();
        if doorbell.borrow().revision >= version {
            return Ok(());
        }
        let limit = self.ledger.options().version_wait;
        let reached = doorbell.wait_for(|announced| announced.revision >= version || announced.closed);
        let _ = tokio::time::timeout(limit, reached).await;
        let current = self.cache.subscribe().borrow().revision;
        if current >= version {
            return Ok(());
        }
        Err(Error::ResourceVersionTooLarge { requested: version.0, current: current.0 })
    }

    fn timing(&self, params: &WatchParams) -> Timing {
        let options = self.ledger.options();
        let longest = options.max_watch.mul_f64(1.0 - 0.1 * fastrand::f64());
        let lasts = params.timeout.map_or(longest, |timeout| timeout.min(longest));
        // A year is as good as for ever, and an instant has an end.
        let lasts = lasts.min(Duration::from_secs(365 * 24 * 60 * 60));
        Timing {
            deadline: Instant::now() + lasts,
            bookmark_interval: params.allow_bookmarks.then_some(options.bookmark_interval),
        }
    }
}

/// Cuts a page out of a snapshot.
fn page<R: Resource>(snapshot: CacheSnapshot<R>, after: Option<Key>, selection: &Selection, limit: u64) -> List<R> {
    let start = after.map_or(0, |after| snapshot.objects.partition_point(|(key, _)| *key <= after));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut selected = snapshot.objects[start..].iter().filter(|(_, stored)| selection.matches(&*stored.object));
    let mut items = Vec::new();
    let mut last = None;
    for (key, stored) in selected.by_ref() {
        items.push(Arc::clone(&stored.object));
        last = Some(key);
        if items.len() == limit {
            break;
        }
    }
    let mut metadata = ListMeta { resource_version: snapshot.revision.to_string(), ..ListMeta::default() };
    let remaining = selected.count();
    if let Some(after) = last.filter(|_| remaining > 0) {
        let token = Token { revision: snapshot.revision, fingerprint: selection.fingerprint(), after: after.clone() };
        metadata.continue_token = token.encode();
        // As in Kubernetes, whose clients take its absence with a selector for granted.
        metadata.remaining_item_count =
            (!selection.has_selectors()).then(|| i64::try_from(remaining).unwrap_or(i64::MAX));
    }
    List { metadata, items }
}

/// Kubernetes' rules for `sendInitialEvents` (KEP-3157).
fn check_initial_events(params: &WatchParams) -> Result<()> {
    match (params.send_initial_events, params.version_match) {
        (None, Some(_)) => {
            let why = "forbidden for a watch unless sendInitialEvents is provided";
            Err(Error::bad_request("resourceVersionMatch", why))
        }
        (Some(_), Some(VersionMatch::NotOlderThan))
            if params.allow_bookmarks || params.send_initial_events == Some(false) =>
        {
            Ok(())
        }
        (Some(_), Some(VersionMatch::NotOlderThan)) => {
            Err(Error::bad_request("sendInitialEvents", "forbidden unless allowWatchBookmarks is true"))
        }
        (Some(_), _) => {
            let why = "sendInitialEvents requires resourceVersionMatch to be NotOlderThan";
            Err(Error::bad_request("resourceVersionMatch", why))
        }
        (None, None) => Ok(()),
    }
}

impl<R: Resource> Verbs<R> for Registry<R> {
    type Watch = Watch<R>;

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
