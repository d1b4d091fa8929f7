// SPDX-License-Identifier: Apache-2.0
//! The parameters of the verbs, in process and over gRPC, with kube-rs' names.

use std::time::Duration;

use crate::storage::Revision;
use crate::{Error, Result};

/// How [`ListParams::resource_version`] is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionMatch {
    /// The state as of that version.
    Exact,
    /// A state that is not older than that version.
    NotOlderThan,
}

/// Parameters of a get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetParams {
    /// Empty: the latest. `0`: any. N: not older than N.
    pub resource_version: String,
}

impl GetParams {
    /// Asks for a state that is not older than this version.
    #[must_use]
    pub fn at(mut self, resource_version: impl Into<String>) -> Self {
        self.resource_version = resource_version.into();
        self
    }
}

/// Parameters of a list.
///
/// ```
/// use device_api_core::registry::ListParams;
///
/// let params = ListParams::default().labels("zone in (left, right)").limit(100);
/// assert_eq!(params.limit, 100);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListParams {
    /// A Kubernetes label selector; empty selects all.
    pub label_selector: String,
    /// A field selector; empty selects all.
    pub field_selector: String,
    /// Empty: the latest. `0`: any. N: as [`Self::version_match`] says.
    pub resource_version: String,
    /// How the version is matched; `None` is [`VersionMatch::NotOlderThan`].
    pub version_match: Option<VersionMatch>,
    /// At most so many items in a page, which ends earlier where they are large; 0 means all, in one.
    pub limit: u64,
    /// The token of the page before.
    pub continue_token: String,
}

impl ListParams {
    /// Selects by labels.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = selector.into();
        self
    }

    /// Selects by fields.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.field_selector = selector.into();
        self
    }

    /// Asks for this version, or a later one unless [`Self::matching`] says otherwise.
    #[must_use]
    pub fn at(mut self, resource_version: impl Into<String>) -> Self {
        self.resource_version = resource_version.into();
        self
    }

    /// How the version is matched.
    #[must_use]
    pub fn matching(mut self, version_match: VersionMatch) -> Self {
        self.version_match = Some(version_match);
        self
    }

    /// Asks for pages of so many items.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Asks for the page that this token stands for.
    #[must_use]
    pub fn continue_token(mut self, token: impl Into<String>) -> Self {
        self.continue_token = token.into();
        self
    }
}

/// Parameters of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchParams {
    /// A Kubernetes label selector; empty selects all.
    pub label_selector: String,
    /// A field selector; empty selects all.
    pub field_selector: String,
    /// Empty or `0`: the present state as ADDED events, then what follows. N: what came after N.
    pub resource_version: String,
    /// `None` or [`VersionMatch::NotOlderThan`], which mean the same: a watch starts at its version or a newer one.
    pub version_match: Option<VersionMatch>,
    /// The watch ends after this time; the server may end it earlier.
    pub timeout: Option<Duration>,
    /// Send bookmarks.
    pub allow_bookmarks: bool,
    /// Send the present state as ADDED events, then a bookmark that says that this was all of it, whether or not others are
    /// [allowed](Self::allow_bookmarks). False: begin with what follows, without the state.
    pub send_initial_events: Option<bool>,
}

impl WatchParams {
    /// Selects by labels.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = selector.into();
        self
    }

    /// Selects by fields.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.field_selector = selector.into();
        self
    }

    /// Starts after this version.
    #[must_use]
    pub fn at(mut self, resource_version: impl Into<String>) -> Self {
        self.resource_version = resource_version.into();
        self
    }

    /// Ends after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends bookmarks.
    #[must_use]
    pub fn bookmarks(mut self) -> Self {
        self.allow_bookmarks = true;
        self
    }

    /// Sends the present state first, and a bookmark after it.
    #[must_use]
    pub fn initial_events(mut self) -> Self {
        self.allow_bookmarks = true;
        self.version_match = Some(VersionMatch::NotOlderThan);
        self.send_initial_events = Some(true);
        self
    }
}

/// Parameters of a create and of a replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostParams {
    /// Do everything but store.
    pub dry_run: bool,
    /// Who writes, for the audit trail: at most 128 printable characters.
    pub field_manager: String,
}

impl PostParams {
    /// Do everything but store.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Says who writes.
    #[must_use]
    pub fn manager(mut self, name: impl Into<String>) -> Self {
        self.field_manager = name.into();
        self
    }
}

/// Parameters of a patch: those of a replace.
pub type PatchParams = PostParams;

/// Parameters of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteParams {
    /// Check everything, but delete nothing.
    pub dry_run: bool,
    /// What must hold.
    pub preconditions: Preconditions,
}

impl DeleteParams {
    /// Check everything, but delete nothing.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Deletes only the object of this uid.
    #[must_use]
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.preconditions.uid = Some(uid.into());
        self
    }

    /// Deletes only at this resource version.
    #[must_use]
    pub fn resource_version(mut self, resource_version: impl Into<String>) -> Self {
        self.preconditions.resource_version = Some(resource_version.into());
        self
    }
}

/// What must hold for a write to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preconditions {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's resource version.
    pub resource_version: Option<String>,
}

/// The longest field manager, in characters, as in Kubernetes.
const MAX_FIELD_MANAGER: usize = 128;

/// Checks a field manager.
pub(super) fn check_field_manager(name: &str) -> Result<()> {
    if name.chars().count() > MAX_FIELD_MANAGER || name.chars().any(char::is_control) {
        let why = format!("must be at most {MAX_FIELD_MANAGER} printable characters");
        return Err(Error::bad_request("fieldManager", why));
    }
    Ok(())
}

/// Parses a resource version: `None` when empty, else decimal digits.
pub(super) fn parse_version(field: &str, text: &str) -> Result<Option<Revision>> {
    if text.is_empty() {
        return Ok(None);
    }
    // `u64::from_str` takes a plus sign, which is no digit.
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Ok(Some(Revision(number)));
    }
    let shown: String = text.chars().take(32).collect();
    Err(Error::bad_request(field, format!("Invalid value: {shown:?}: must be a number that the server returned")))
}
