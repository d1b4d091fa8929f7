// SPDX-License-Identifier: Apache-2.0
//! Why a backend failed.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Why a backend failed: the one error that every backend's own converts into, once.
#[derive(Clone, Debug)]
pub struct StorageError {
    backend: &'static str,
    kind: StorageErrorKind,
    what: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What a failure means to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// There is no room. Nothing was written.
    Full,
    /// The disk takes no writes, whatever their size. Nothing was written.
    ReadOnly,
    /// Something else holds the store for a moment. Nothing was written.
    Busy,
    /// The backend refused the records. Nothing was written.
    Rejected,
    /// An I/O error or the like: the records may have been written or not.
    Unclear,
    /// What is stored is not what was written.
    Corrupt,
    /// The store is not its owner's any more, or no longer holds what it acknowledged: deleted, replaced or put back while it
    /// was open. The ledger ends; opened anew, the store goes on with what it holds.
    Lost,
    /// The store has another owner.
    Locked,
    /// The store is of another program, or of a newer version of this one.
    Unsupported,
    /// The endpoint names something that cannot be a store: a missing folder, no permission.
    Config,
}

impl StorageErrorKind {
    /// Whether nothing was written for certain.
    #[must_use]
    pub fn is_definite(self) -> bool {
        !matches!(self, Self::Unclear | Self::Corrupt | Self::Lost)
    }
}

impl StorageError {
    /// A failure of `backend` (its URL scheme): `what` says which file or call, and what to do.
    #[must_use]
    pub fn new(backend: &'static str, kind: StorageErrorKind, what: impl Into<String>) -> Self {
        Self { backend, kind, what: what.into(), source: None }
    }

    /// The same failure with what it came from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What the failure means.
    #[must_use]
    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} store: {}", self.backend, self.what)
    }
}

impl StdError for StorageError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
