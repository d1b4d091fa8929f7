// SPDX-License-Identifier: Apache-2.0
//! The unix socket: bound where it stays, open to nobody too many at any instant, replaced only when it is stale,
//! removed only when it is ours.
//!
//! It is bound at its own path, not moved there, since the kernel remembers where a socket was bound: `ss` shows that
//! path, and systemd-tmpfiles takes a socket for dead, and removes it, whose path is not among those. Nobody can connect
//! before it listens, and that it does last: when its group and mode are those that were asked for.
//!
//! Clients should mount the socket's folder, not the socket: a restart makes a new inode.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use tokio::net::UnixListener;

use crate::address::{Group, MAX_PATH, SocketPath};
use crate::claim::{Claim, Inode, lock};

/// How many connections may wait to be accepted: as many as the kernel allows (`net.core.somaxconn`).
const QUEUE: i32 = -1;

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
    pub(crate) options: SocketOptions,
}

impl Listener {
    /// Binds the socket. Nobody can connect before it has its mode and group; a missing folder is made, with mode
    /// 0755, since the socket's own mode says who may connect.
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
        make_folder_of(path)?;
        let lock = lock(path)?;
        remove_nursery(path);
        let (listener, inode) = bind(options)?;
        let claim = Claim { path: path.to_owned(), inode, lock };
        let listener = UnixListener::from_std(listener).map_err(failed("listen on", path))?;
        Ok(Self { listener, claim, options: options.clone() })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.claim.path
    }
}

/// Binds the socket at its path, gives it its group and mode, and then listens. The caller holds the path's lock.
pub(crate) fn bind(options: &SocketOptions) -> Result<(std::os::unix::net::UnixListener, Inode), ListenError> {
    let path = options.path.as_path();
    let group = options.group.as_ref().map(Group::gid).transpose().map_err(failed("find the group of", path))?;
    let errno = |action| move |errno: Errno| failed(action, path)(errno.into());
    let address = SocketAddrUnix::new(bound_path(path)).map_err(errno("bind"))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(errno("bind"))?;
    // Linux makes the file with the mode that the socket has, less the umask: never with more than is asked for.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(options.mode)).map_err(errno("bind"))?;
    ensure_free(path)?;
    rustix::net::bind(&socket, &address).map_err(errno("bind"))?;
    let made = finish(&socket, path, group, options.mode);
    if made.is_err() {
        // It is of no use, and nobody could connect to it yet. A failure here adds nothing to the one that is told.
        let _ = fs::remove_file(path);
    }
    made.map(|inode| (socket.into(), inode))
}

/// Gives a socket that was just bound its group and mode, and listens.
fn finish(socket: &OwnedFd, path: &Path, group: Option<Gid>, mode: u32) -> Result<Inode, ListenError> {
    let errno = |action| move |errno: Errno| failed(action, path)(errno.into());
    // By a descriptor, so that whatever takes the path's place is left alone.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(errno("look at"))?;
    let found = rustix::fs::fstat(&file).map_err(errno("look at"))?;
    if !FileType::from_raw_mode(found.st_mode).is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    if group.is_some() {
        rustix::fs::chownat(&file, "", None, group, AtFlags::EMPTY_PATH).map_err(errno("set the group of"))?;
    }
    if found.st_mode & 0o7777 != mode {
        let through = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(through, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))?;
    }
    rustix::net::listen(socket, QUEUE).map_err(errno("listen on"))?;
    Ok((found.st_dev, found.st_ino))
}

/// The path under which the kernel is to know the socket: in the folder's real place, as tools that walk through
/// folders see it. `/var/run` leads to `/run`, where systemd-tmpfiles looks. Where that is too long, the path as it is.
fn bound_path(path: &Path) -> PathBuf {
    let folder = folder_of(path).canonicalize();
    let real = folder.ok().zip(path.file_name()).map(|(folder, name)| folder.join(name));
    real.filter(|real| real.as_os_str().len() <= MAX_PATH).unwrap_or_else(|| path.to_owned())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what a crash of an earlier version may have left: it bound the socket in a folder beside its place.
fn remove_nursery(path: &Path) {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let nursery = path.with_file_name(name);
    // Most often there is none; and one that stays does no harm.
    let _ = fs::remove_file(nursery.join("s"));
    let _ = fs::remove_dir(nursery);
}

/// Makes the folder of this path, where it is missing.
pub(crate) fn make_folder_of(path: &Path) -> Result<(), ListenError> {
    let folder = folder_of(path);
    make(folder).map_err(failed("make the folder", folder))
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

/// Frees the path of a socket that nobody serves, and checks that nothing else is there. A server that does not
/// know of our lock may be.
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
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("remove the stale socket", path)),
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
