// SPDX-License-Identifier: Apache-2.0
//! The unix socket: bound with its final mode, replaced only when it is stale, removed only when it
//! is ours.
//!
//! Clients should mount the socket's folder, not the socket: a restart makes a new inode.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::net::UnixListener;

use crate::address::{Group, SocketPath};
use crate::claim::{Claim, lock};

/// How to make the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Where.
    pub path: SocketPath,
    /// The permission bits: who may write to the socket may connect. 0660 unless set.
    pub mode: u32,
    /// The owning group; the process's own unless set.
    pub group: Option<Group>,
}

impl SocketOptions {
    /// A socket at this path.
    #[must_use]
    pub fn new(path: SocketPath) -> Self {
        Self { path, mode: 0o660, group: None }
    }

    /// With these permission bits.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Owned by this group.
    #[must_use]
    pub fn with_group(mut self, group: Group) -> Self {
        self.group = Some(group);
        self
    }
}

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another server is live on it.
    #[error("another server is live on {}: {owner}; stop it, or choose another socket", path.display())]
    Live {
        /// The socket.
        path: PathBuf,
        /// Who serves it, as far as is known.
        owner: String,
    },
    /// Something else has the path.
    #[error("{} is not a socket and was left alone: choose another path, or remove it", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    pub(crate) listener: UnixListener,
    pub(crate) claim: Claim,
}

impl Listener {
    /// Binds the socket. It has its final mode and group from the first instant on; a missing folder
    /// is made, with mode 0755, since the socket's own mode says who may connect.
    ///
    /// Two servers agree on who owns a path by a lock on `<path>.lock`, which is left behind.
    ///
    /// # Errors
    /// When another server is live on the path, when something that is not a socket has the path, and
    /// when a file operation fails.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn bind(options: &SocketOptions) -> Result<Self, ListenError> {
        let path = options.path.as_path();
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make(folder).map_err(failed("make the folder", folder))?;
        let lock = lock(path)?;
        ensure_free(path)?;

        let nursery = Nursery::new(path)?;
        let listener = nursery.bind(options)?;
        let socket = nursery.socket();
        let metadata = fs::symlink_metadata(&socket).map_err(failed("look at", &socket))?;
        fs::rename(&socket, path).map_err(failed("move the socket to", path))?;
        let claim = Claim { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()), lock };
        let listener = UnixListener::from_std(listener).map_err(failed("listen on", path))?;
        Ok(Self { listener, claim })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.claim.path
    }
}

/// A folder beside the socket that only this user can enter, where a socket gets its mode and group
/// before anyone can connect to it. (A umask would do for the mode, but belongs to the whole process.)
#[derive(Debug)]
struct Nursery {
    folder: PathBuf,
}

impl Nursery {
    /// The caller holds the lock of the path, so a folder that is there was left by a crash.
    fn new(path: &Path) -> Result<Self, ListenError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        let nursery = Self { folder: path.with_file_name(name) };
        nursery.remove();
        DirBuilder::new().mode(0o700).create(&nursery.folder).map_err(failed("make the folder", &nursery.folder))?;
        Ok(nursery)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    fn bind(&self, options: &SocketOptions) -> Result<std::os::unix::net::UnixListener, ListenError> {
        let socket = self.socket();
        // Through the descriptor, since this path is longer than the socket's, and that may be as long
        // as a socket's path can be.
        let folder = open_folder(&self.folder).map_err(failed("open", &self.folder))?;
        let short = format!("/proc/self/fd/{}/s", folder.as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(short).map_err(failed("bind", &socket))?;
        listener.set_nonblocking(true).map_err(failed("bind", &socket))?;
        if let Some(group) = &options.group {
            let gid = group.gid().map_err(failed("find the group of", &socket))?;
            rustix::fs::chown(&socket, None, Some(gid))
                .map_err(|errno| failed("set the group of", &socket)(errno.into()))?;
        }
        fs::set_permissions(&socket, Permissions::from_mode(options.mode))
            .map_err(failed("set the mode of", &socket))?;
        Ok(listener)
    }

    fn remove(&self) {
        // What cannot be removed makes the next step fail, which says so.
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes a folder and those above it that are missing, each with mode 0755 whatever the umask.
fn make(folder: &Path) -> io::Result<()> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    for folder in folder.ancestors().take_while(missing).collect::<Vec<_>>().into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(folder) {
            Ok(()) => open_folder(folder)?.set_permissions(Permissions::from_mode(0o755))?,
            // Somebody else made it at the same time.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a folder, and nothing that a link in its place leads to.
fn open_folder(folder: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits() as i32).open(folder)
}

/// Checks that there is nothing at the path but a socket that nobody serves. A server that does not
/// know of our lock may be there.
fn ensure_free(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(ListenError::NotASocket { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    }
    let probe = |errno: Errno| failed("find out who serves", path)(errno.into());
    let address = SocketAddrUnix::new(path).map_err(probe)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(probe)?;
    match connect(&socket, &address) {
        Err(Errno::CONNREFUSED) => Ok(()),
        Ok(()) => {
            let owner = sockopt::socket_peercred(&socket).map_or_else(
                |_| "an unknown process".to_owned(),
                |peer| {
                    let pid = peer.pid.as_raw_nonzero();
                    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                    format!("pid {pid} ({})", program.trim())
                },
            );
            Err(ListenError::Live { path: path.to_owned(), owner })
        }
        // Its queue is full: live, but too busy to tell who it is.
        Err(Errno::AGAIN) => {
            Err(ListenError::Live { path: path.to_owned(), owner: "a process that is too busy to answer".to_owned() })
        }
        Err(errno) => Err(probe(errno)),
    }
}

pub(crate) fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> ListenError + 'a {
    move |source| ListenError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
