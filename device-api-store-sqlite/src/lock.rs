// SPDX-License-Identifier: Apache-2.0
//! The lock file beside the database: one owner at a time, and who it is.
//!
//! It is a file of its own, because closing any descriptor of the database drops the locks that
//! SQLite holds on it in this process (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use device_api_core::registry::{Clock as _, SystemClock};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use crate::error::{Error, Result};

/// How long to wait for an owner that is just ending: one that was dropped, not closed, is still
/// finishing its last call on SQLite's thread.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// The lock, held while this lives. The file stays, since removing it would let two owners lock two
/// files of one name.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a database.
    pub(crate) async fn take(database: &Path) -> Result<Self> {
        let path = with_suffix(database, ".lock");
        let file = |source| Error::File { doing: "lock", path: path.clone(), source };
        let mut lock = open_private(&path).map_err(file)?;
        let tries = PATIENCE.as_millis() / PAUSE.as_millis();
        for _ in 0..tries {
            match lock.try_lock() {
                Ok(()) => {
                    sign(&mut lock);
                    return Ok(Self { file: lock });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(file(source)),
            }
        }
        Err(Error::Locked { path: database.to_owned(), owner: owner(&mut lock) })
    }
}

/// Says in the lock file whose it is. For people alone: where a full disk has no room for it, the lock holds all the same.
fn sign(lock: &mut File) {
    let owner = format!("{} {}\n", std::process::id(), SystemClock.now().truncated_to_seconds());
    // Over what is there, which needs no room where an earlier owner had some.
    let signed = lock.rewind().and_then(|()| lock.write_all(owner.as_bytes()));
    let signed = signed.and_then(|()| lock.set_len(owner.len() as u64)).or_else(|error| {
        lock.set_len(0)?;
        Err(error)
    });
    if let Err(error) = signed {
        tracing::warn!(%error, "cannot note in the lock file who has the database");
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // By name, not by closing: a child that another thread is just starting holds a copy of the file.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "cannot unlock the database");
        }
    }
}

/// Opens a file of ours, or makes it. It is about to be overwritten: so it must be no link to another file, by
/// either kind of link, and nobody else's.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let not_ours = || {
        let why = "it is not a file of this user alone and was left untouched: move it away";
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path);
    let file = match opened {
        // What open(2) says of a symbolic link.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Err(not_ours()),
        other => other?,
    };
    let found = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if found.is_file() && found.nlink() == 1 && found.uid() == user { Ok(file) } else { Err(not_ours()) }
}

/// The path with something appended to the file's name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Who wrote the lock file, in words. Its text is only shown, never decided on.
fn owner(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(128).read_to_string(&mut text));
    let mut words = text.split_whitespace();
    let (Ok(_), Some(Ok(pid)), since) = (read, words.next().map(str::parse::<u32>), words.next()) else {
        return "another process".to_owned();
    };
    let since = since.map(|since| format!(", since {since}")).unwrap_or_default();
    format!("{}{since}", process(pid))
}

/// Who has a database open without our lock, such as `sqlite3`, in words: the owner of a lock of SQLite's on it.
///
/// Only to be called with no connection open: closing the file drops SQLite's locks in this process.
pub(crate) fn holder(database: &Path) -> String {
    // PENDING_BYTE and what follows, <https://www.sqlite.org/fileformat.html>, section 1.2: whoever has anything of it is in the way.
    let (start, length) = (0x4000_0000, 512);
    let (pid, typ, offset_type) = (None, FlockType::WriteLock, FlockOffsetType::Set);
    let lock = Flock { start, length, pid, typ, offset_type };
    let found = File::open(database).and_then(|file| Ok(fcntl_getlk(&file, &lock)?));
    let pid = found.ok().flatten().and_then(|found| found.pid);
    pid.map_or_else(|| "another process".to_owned(), |pid| process(pid.as_raw_nonzero().get().unsigned_abs()))
}

fn process(pid: u32) -> String {
    let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let program = if program.is_empty() { String::new() } else { format!(" ({})", program.trim_end()) };
    format!("process {pid}{program}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_is_free_at_once_even_if_a_child_still_holds_a_copy_of_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        let first = Lock::take(&database).await.unwrap();
        // What fork leaves a child until it executes another program.
        let _copy = first.file.try_clone().unwrap();
        drop(first);
        Lock::take(&database).await.unwrap();
    }
}
