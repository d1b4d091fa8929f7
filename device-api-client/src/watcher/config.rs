// SPDX-License-Identifier: Apache-2.0
//! What a watcher follows, and how patient it is.

use std::time::Duration;

use device_api_core::registry::{ListParams, WatchParams};

use super::Backoff;

/// How many objects are listed at a time where the server sends no initial events.
const PAGE: u64 = 500;

/// What a watcher follows, and how patient it is. The defaults follow everything, and suit a node.
///
/// ```
/// use device_api_client::watcher::Config;
///
/// let config = Config::default().labels("zone=left").fields("status.conditions[Ready]!=True");
/// assert_eq!(config.label_selector, "zone=left");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// A Kubernetes label selector; empty selects all.
    pub label_selector: String,
    /// A field selector; empty selects all.
    pub field_selector: String,
    /// How the present state is read.
    pub initial_list: InitialList,
    /// How long a server may say nothing, not even by a bookmark: 150 s, which is two bookmarks and a half of
    /// a server with default options. Then the request is given up and made anew.
    pub silence: Duration,
    /// How long to pause after a failure.
    pub backoff: Backoff,
}

/// How the present state is read: at first, and when the history was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitialList {
    /// In the watch itself, one object at a time in the order of their versions. Neither side ever holds a
    /// list, and changes keep their order over a relist.
    ///
    /// A server that does not know this is noticed when it refuses the request, or sends a bookmark where this one would end the
    /// initial events: then the state is read in pages. One that does not know bookmarks either is taken for a slow one.
    #[default]
    Streaming,
    /// In pages of so many objects, 0 for all in one, in the order of their names: for servers that send
    /// neither initial events nor bookmarks.
    Paged(u64),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            label_selector: String::new(),
            field_selector: String::new(),
            initial_list: InitialList::default(),
            silence: Duration::from_secs(150),
            backoff: Backoff::default(),
        }
    }
}

impl Config {
    /// Follows the objects with these labels.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = selector.into();
        self
    }

    /// Follows the objects with these fields.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.field_selector = selector.into();
        self
    }

    /// Reads the present state in pages of so many objects; see [`InitialList::Paged`].
    #[must_use]
    pub fn paged_lists(mut self, page_size: u64) -> Self {
        self.initial_list = InitialList::Paged(page_size);
        self
    }

    /// Takes a server that says nothing for so long as lost.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Pauses so long after a failure.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    pub(super) fn list(&self, continue_token: &str) -> ListParams {
        let limit = match self.initial_list {
            InitialList::Streaming => PAGE,
            InitialList::Paged(limit) => limit,
        };
        ListParams::default()
            .labels(&self.label_selector)
            .fields(&self.field_selector)
            .limit(limit)
            .continue_token(continue_token)
    }

    pub(super) fn watch(&self) -> WatchParams {
        WatchParams::default().labels(&self.label_selector).fields(&self.field_selector).bookmarks()
    }
}
