// SPDX-License-Identifier: Apache-2.0
//! Why the SQLite backend failed, converted once into [`StorageError`].

use std::io;
use std::path::PathBuf;

use device_api_core::storage::{EndpointError, StorageError, StorageErrorKind as Kind};
use rustix::io::Errno;

use crate::SCHEME;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Primary result codes, <https://www.sqlite.org/rescode.html>.
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

/// Why the SQLite backend failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Url(EndpointError),
    #[error("{path:?} is not an absolute path: write three slashes, as in sqlite:///var/lib/device-api/state.db")]
    Path { path: String },
    #[error("cannot {doing} {}: {}", path.display(), what_to_do(source))]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is in use by {owner}: stop it, or give each server a database of its own", path.display())]
    Locked { path: PathBuf, owner: String },
    #[error("{} is not a database of the Device API ({why}); it was left untouched: name another file", path.display())]
    Foreign { path: PathBuf, why: &'static str },
    #[error("{} holds {object}, which is not of the Device API; it was left untouched: remove that", path.display())]
    Object { path: PathBuf, object: String },
    #[error("{} has format {found}, and this program knows {known}; it was left untouched: upgrade", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("SQLite {found} can corrupt a database (WAL reset): link 3.51.3 or newer")]
    Library { found: String },
    #[error("{} is damaged ({found}): restore it, or remove it to start afresh", path.display())]
    Damaged { path: PathBuf, found: String },
    #[error("{}: {row} is damaged ({why}): restore the file, or remove it to start afresh", path.display())]
    Row { path: PathBuf, row: String, why: String },
    #[error("{} {what}: name a file of its own, that no other name leads to; nothing was changed", path.display())]
    Link { path: PathBuf, what: String },
    #[error(
        "{} is empty, and had versions up to {acknowledged}: put it back, or remove it to start afresh",
        path.display()
    )]
    Emptied { path: PathBuf, acknowledged: u64 },
    #[error(
        "{} was replaced beside the log of the database before it ({}-wal): put both back, or move the log away",
        path.display(), path.display()
    )]
    OtherLog { path: PathBuf },
    #[error("{} {what} while it was open: put back what belongs there, and start again", path.display())]
    Taken { path: PathBuf, what: &'static str },
    #[error("cannot write down in {} how far versions go: look at its disk", path.display())]
    Mark { path: PathBuf, source: io::Error },
    #[error("revision {revision} is larger than a database can hold")]
    Range { revision: u64 },
    #[error("no room to {doing} {}: free space on the disk, or raise max_size_mib", path.display())]
    Full { doing: &'static str, path: PathBuf, source: sqlx::Error },
    #[error("cannot {doing} {}", path.display())]
    Sqlite { doing: &'static str, path: PathBuf, kind: Kind, source: sqlx::Error },
}

impl Error {
    /// What a failed read or a failed open means.
    pub(crate) fn reading(doing: &'static str, path: impl Into<PathBuf>, source: sqlx::Error) -> Self {
        let path = path.into();
        let kind = match primary_code(&source) {
            Some(code::FULL) => return Self::Full { doing, path, source },
            Some(code::BUSY | code::LOCKED) => Kind::Busy,
            Some(code::CORRUPT | code::NOTADB) => Kind::Corrupt,
            Some(code::PERM) => Kind::Config,
            Some(code::READONLY) => Kind::ReadOnly,
            // CANTOPEN, too: that is what is left of no room for a file and of too many open files.
            _ => Kind::Unclear,
        };
        Self::Sqlite { doing, path, kind, source }
    }

    /// What a failed write means: only these codes say for certain that nothing was written.
    pub(crate) fn writing(doing: &'static str, path: impl Into<PathBuf>, source: sqlx::Error) -> Self {
        let path = path.into();
        let kind = match primary_code(&source) {
            Some(code::FULL) => return Self::Full { doing, path, source },
            Some(code::BUSY | code::LOCKED) => Kind::Busy,
            Some(code::CONSTRAINT | code::TOOBIG) => Kind::Rejected,
            Some(code::READONLY) => Kind::ReadOnly,
            _ => Kind::Unclear,
        };
        Self::Sqlite { doing, path, kind, source }
    }

    /// What the failure means to the ledger.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Url(_) | Self::Path { .. } => Kind::Config,
            Self::File { source, .. } => kind_of(source),
            Self::Locked { .. } => Kind::Locked,
            Self::Foreign { .. }
            | Self::Object { .. }
            | Self::Link { .. }
            | Self::Newer { .. }
            | Self::Library { .. } => Kind::Unsupported,
            Self::Damaged { .. } | Self::Row { .. } | Self::Emptied { .. } | Self::OtherLog { .. } => Kind::Corrupt,
            Self::Taken { .. } => Kind::Lost,
            Self::Mark { source, .. } if source.kind() == io::ErrorKind::StorageFull => Kind::Full,
            Self::Mark { .. } => Kind::Rejected,
            Self::Range { .. } => Kind::Rejected,
            Self::Full { .. } => Kind::Full,
            Self::Sqlite { kind, .. } => *kind,
        }
    }
}

impl From<Error> for StorageError {
    fn from(error: Error) -> Self {
        let converted = Self::new(SCHEME, error.kind(), error.to_string());
        match error {
            Error::File { source, .. } | Error::Mark { source, .. } => converted.with_source(source),
            Error::Full { source, .. } | Error::Sqlite { source, .. } => converted.with_source(source),
            _ => converted,
        }
    }
}

/// What a failed call about a file means. What a restart may mend is no matter of the configuration.
fn kind_of(source: &io::Error) -> Kind {
    let errno = source.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NOSPC | Errno::DQUOT) => Kind::Full,
        Some(Errno::ROFS) => Kind::ReadOnly,
        Some(Errno::IO | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::STALE | Errno::TIMEDOUT) => Kind::Unclear,
        _ => Kind::Config,
    }
}

fn what_to_do(source: &io::Error) -> &'static str {
    match kind_of(source) {
        Kind::Full => "free space on the disk",
        Kind::ReadOnly => "the disk is read-only: mount it for writing, or name a file elsewhere",
        Kind::Unclear => "look at the disk and at the process's limits",
        _ => "check the folder and its permissions",
    }
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
