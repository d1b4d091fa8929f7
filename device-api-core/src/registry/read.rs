// SPDX-License-Identifier: Apache-2.0
//! The verbs that read: get, list and watch, all from memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::consume_budget;
use tokio::time::Instant;

use super::cache::CacheSnapshot;
use super::params::parse_version;
use super::token::Token;
use super::watch::{Cursor, Initial, Timing};
use super::{GetParams, List, ListParams, Registry, Verbs, VersionMatch, Watch, WatchParams};
use crate::resource::{Key, ListMeta, Resource};
use crate::selector::Selection;
use crate::storage::Revision;
use crate::{Error, Result};

impl<R: Resource> Registry<R> {
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
        let snapshot = if params.continue_token.is_empty() {
            self.snapshot(params).await?
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
            self.cache.snapshot_at(token.revision, Some(&token.after))?
        };
        Ok(page(snapshot, &selection, params.limit).await)
    }

    /// Lists all objects that the parameters select, as [`Verbs::list_all`] says.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn list_all(&self, params: &ListParams) -> Result<List<R>> {
        Verbs::list_all(self, params).await
    }

    /// Streams changes.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn watch(&self, params: &WatchParams) -> Result<Watch<R>> {
        check_match(params)?;
        let selection = self.selection(&params.label_selector, &params.field_selector)?;
        let version = parse_version("resourceVersion", &params.resource_version)?.filter(|at| *at != Revision::ZERO);
        if let Some(version) = version {
            self.wait_for(version).await?;
        }
        let (start, initial) = match (version, params.send_initial_events) {
            // The initial events are not older than the version, and the watch goes on from them.
            (_, Some(true)) | (None, None) => {
                let snapshot = self.cache.snapshot(None);
                let mut objects = Vec::new();
                for (key, stored) in snapshot.objects {
                    if selection.matches(&*stored.object) {
                        objects.push((stored.revision, key));
                    }
                    consume_budget().await;
                }
                // Like all events: who is cut off among them can resume from the last version seen.
                objects.sort_unstable_by_key(|(revision, _)| *revision);
                let end_bookmark = params.send_initial_events == Some(true);
                (snapshot.revision, Some(Initial { objects: objects.into(), end_bookmark }))
            }
            (None, Some(false)) => (self.cache.subscribe().borrow().revision, None),
            (Some(version), _) => {
                self.cache.events_after(version, 0, 0)?;
                (version, None)
            }
        };
        let timing = self.timing(params);
        Ok(Watch::new(Cursor::new(Arc::clone(&self.cache), selection, start, initial, timing)))
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
            (Some(version), Some(VersionMatch::Exact)) => self.cache.snapshot_at(version, None),
            (_, None | Some(VersionMatch::NotOlderThan)) => Ok(self.cache.snapshot(None)),
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

/// How many bytes of JSON a page has at most, unless one object alone has more. As protobuf it is less, and most gRPC clients take no
/// message over 4 MiB.
const PAGE_BYTES: usize = 3 << 20;

/// Cuts a page out of a snapshot: it ends at its limit, or before the object that would make it too large. Without a limit it is all of it.
async fn page<R: Resource>(snapshot: CacheSnapshot<R>, selection: &Selection, limit: u64) -> List<R> {
    let (limit, mut room) = match usize::try_from(limit) {
        Ok(0) => (usize::MAX, usize::MAX),
        limit => (limit.unwrap_or(usize::MAX), PAGE_BYTES),
    };
    let mut items = Vec::new();
    let mut last = None;
    let mut remaining = 0_usize;
    for (key, stored) in snapshot.objects {
        // A long list with a long selector must not keep others from this thread.
        consume_budget().await;
        if !selection.matches(&*stored.object) {
            continue;
        }
        let fits = items.is_empty() || (items.len() < limit && stored.bytes <= room);
        if fits && remaining == 0 {
            room = room.saturating_sub(stored.bytes);
            items.push(stored.object);
            last = Some(key);
        } else {
            remaining += 1;
        }
    }
    let mut metadata = ListMeta { resource_version: snapshot.revision.to_string(), ..ListMeta::default() };
    if let Some(after) = last.filter(|_| remaining > 0) {
        let token = Token { revision: snapshot.revision, fingerprint: selection.fingerprint(), after };
        metadata.continue_token = token.encode();
        // As in Kubernetes, whose clients take its absence with a selector for granted.
        metadata.remaining_item_count =
            (!selection.has_selectors()).then(|| i64::try_from(remaining).unwrap_or(i64::MAX));
    }
    List { metadata, items }
}

/// A watch starts at its version or a newer one, so no other match makes sense. Kubernetes' other rules for `sendInitialEvents` (KEP-3157) refuse
/// what has one meaning only; clients that were refused so tried again without end.
fn check_match(params: &WatchParams) -> Result<()> {
    match params.version_match {
        None | Some(VersionMatch::NotOlderThan) => Ok(()),
        Some(VersionMatch::Exact) => {
            let why = "Forbidden: a watch goes on from its version: only \"NotOlderThan\" is supported";
            Err(Error::bad_request("resourceVersionMatch", why))
        }
    }
}
