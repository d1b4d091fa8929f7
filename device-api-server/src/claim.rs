// SPDX-License-Identifier: Apache-2.0
//! The right to a socket's path, which servers pass on by a lock on `<path>.lock`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;

use crate::listen::{ListenError, SocketOptions, bind, failed, make_folder_of};

/// A file as such, whatever its path: its device, and its number there.
pub(crate) type Inode = (u64, u64);

/// The right to a socket's path: held from before the socket is bound until after it is removed.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) path: PathBuf,
    pub(crate) inode: Inode,
    pub(crate) lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if is_at(&self.path, self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
        // The next owner overwrites it anyway; until then it would name a process that is gone.
        let _ = self.lock.set_len(0);
        // By name, not by closing: a child that another thread is just starting holds a copy of the file.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(path = %self.path.display(), %error, "cannot unlock the socket's path");
        }
    }
}

impl Claim {
    /// Whether the socket is still at its path. A folder that hangs, as one of a network may, keeps nobody else waiting.
    pub(crate) async fn is_there(&self) -> bool {
        let (path, inode) = (self.path.clone(), self.inode);
        // It fails only when the runtime ends.
        spawn_blocking(move || is_at(&path, inode)).await.unwrap_or(true)
    }

    /// Makes the socket again, at a path that is free.
    ///
    /// # Errors
    /// As [`Listener::bind`](crate::Listener::bind): who has taken the path, or the lock with it, keeps both.
    pub(crate) fn again(&mut self, options: &SocketOptions) -> Result<UnixListener, ListenError> {
        let lock_path = lock_path(&self.path);
        // Whoever removed the socket may have removed the lock file with it; then ours holds nobody off any more.
        let inode = self.lock.metadata().map(|found| (found.dev(), found.ino()));
        if !is_at(&lock_path, inode.map_err(failed("look at", &lock_path))?) {
            make_folder_of(&self.path)?;
            self.lock = lock(&self.path)?;
        }
        let (listener, inode) = bind(options)?;
        self.inode = inode;
        UnixListener::from_std(listener).map_err(failed("listen on", &self.path))
    }
}

/// Whether this file is at this path.
fn is_at(path: &Path, inode: Inode) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == inode)
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}

/// Takes the lock that decides who owns the path, and writes down who we are.
pub(crate) fn lock(path: &Path) -> Result<File, ListenError> {
    let lock_path = lock_path(path);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&lock_path)
        .map_err(failed("open the lock file", &lock_path))?;
    ensure_ours(&file).map_err(failed("use the lock file", &lock_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let read = (&mut file).take(256).read_to_string(&mut owner);
            let known = read.is_ok() && !owner.trim().is_empty();
            let owner = if known { owner.trim().to_owned() } else { "a process that is just starting".to_owned() };
            return Err(ListenError::Live { path: path.to_owned(), owner });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
    }
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let signed = file
        .set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| writeln!(file, "pid {} ({program})", std::process::id()));
    if let Err(error) = signed {
        // It is for people alone. On a full disk the lock holds without it.
        tracing::warn!(path = %lock_path.display(), %error, "cannot note in the lock file who has the socket's path");
    }
    Ok(file)
}

/// Checks that the lock file, which is about to be overwritten, is no link to another file and nobody
/// else's.
fn ensure_ours(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if found.is_file() && found.nlink() == 1 && found.uid() == user {
        return Ok(());
    }
    let why = "it is not a file of this user alone and was left untouched: move it away";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
