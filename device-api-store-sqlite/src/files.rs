// SPDX-License-Identifier: Apache-2.0
//! Whether the database and its log are still the files that we opened, as we left them.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::error::{Error, Result};
use crate::lock::with_suffix;

/// The database and its log as they are. Nobody but us writes to them, so they are alike at the end of one call and at the
/// beginning of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    database: Face,
    log: Option<Face>,
}

/// What tells a file from another, and from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Face {
    device: u64,
    inode: u64,
    links: u64,
    size: u64,
    /// When it was written, of the database: a log on a network file system may be written some time after a call.
    written: (i64, i64),
    born: Option<u64>,
}

/// Which database and which log: inode and time of birth of each, which a number that is used again does not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair([u64; 4]);

impl Pair {
    pub(crate) fn numbers(self) -> [u64; 4] {
        self.0
    }

    pub(crate) fn from_numbers(numbers: &[u64]) -> Option<Self> {
        numbers.try_into().ok().filter(|numbers| *numbers != [0; 4]).map(Self)
    }

    /// Whether this is another database beside the same log.
    pub(crate) fn is_another_database_beside_the_log_of(self, before: Self) -> bool {
        self.0[..2] != before.0[..2] && self.0[2..] == before.0[2..]
    }
}

impl Face {
    fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            links: metadata.nlink(),
            size: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            born: born.and_then(|born| u64::try_from(born.as_nanos()).ok()),
        }
    }

    fn is_the_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Files {
    /// Looks at them by their names, which is what the next start will do.
    ///
    /// # Errors
    /// [`Error::Taken`] when there is no database, or no way to look at it.
    pub(crate) fn look(path: &Path) -> Result<Self> {
        let taken = |what| Error::Taken { path: path.to_owned(), what };
        let database = std::fs::symlink_metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => taken("was deleted or renamed"),
            _ => taken("is out of reach"),
        })?;
        let log = std::fs::symlink_metadata(with_suffix(path, "-wal")).ok();
        Ok(Self { database: Face::of(&database), log: log.as_ref().map(Face::of) })
    }

    /// Which they are, where the file system says when files were made.
    pub(crate) fn pair(&self) -> Option<Pair> {
        let log = self.log?;
        Some(Pair([self.database.inode, self.database.born?, log.inode, log.born?]))
    }

    /// How many bytes the log has.
    pub(crate) fn log_size(&self) -> u64 {
        self.log.map_or(0, |log| log.size)
    }

    /// Whether the log's name leads to another file by now.
    pub(crate) fn log_was_replaced(&self, path: &Path) -> bool {
        let now = std::fs::symlink_metadata(with_suffix(path, "-wal"));
        now.is_ok_and(|now| self.log.is_none_or(|before| !Face::of(&now).is_the_file(before)))
    }

    /// Checks that this is the database that it was.
    ///
    /// # Errors
    /// [`Error::Taken`] when it is not.
    pub(crate) fn check_database(&self, before: &Self, path: &Path) -> Result<()> {
        if self.database.is_the_file(before.database) {
            return Ok(());
        }
        Err(Error::Taken { path: path.to_owned(), what: "was replaced" })
    }

    /// Checks that they are the same files, after a call of ours, which may have written to them.
    ///
    /// # Errors
    /// [`Error::Taken`] when they are not.
    pub(crate) fn check_identity(&self, before: &Self, path: &Path) -> Result<()> {
        let taken = |what| Err(Error::Taken { path: path.to_owned(), what });
        self.check_database(before, path)?;
        match (before.log, self.log) {
            (Some(_), None) => taken("lost its log, which was deleted or renamed,"),
            (Some(before), Some(now)) if !now.is_the_file(before) => taken("lost its log, which was replaced,"),
            _ => Ok(()),
        }
    }

    /// Checks that nobody has touched them since our last call.
    ///
    /// # Errors
    /// [`Error::Taken`] when somebody has.
    pub(crate) fn check_untouched(&self, before: &Self, path: &Path) -> Result<()> {
        let taken = |what| Err(Error::Taken { path: path.to_owned(), what });
        self.check_identity(before, path)?;
        if (self.database.size, self.database.written) != (before.database.size, before.database.written) {
            return taken("was cut or written to by somebody else");
        }
        if self.log_size() != before.log_size() {
            return taken("has a log that was cut or written to by somebody else");
        }
        Ok(())
    }

    /// How many names the database has.
    pub(crate) fn links(&self) -> u64 {
        self.database.links
    }
}
