// SPDX-License-Identifier: Apache-2.0
//! The door of a simulation that runs: a unix socket for its owner alone, through which something can be made to happen.
//!
//! One connection is one event: its keys as in a step of a scenario's file, without a time, then the end of what is
//! written. The answer is a line that begins with `ok` or `refused`.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// The longest event, in bytes.
pub(crate) const LONGEST: u64 = 4096;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);
/// How many wait while one is served.
const BACKLOG: i32 = 8;

/// What an answer begins with.
pub(crate) const OK: &str = "ok";
pub(crate) const REFUSED: &str = "refused";

/// The socket. Dropped, it removes its file.
#[derive(Debug)]
pub struct Door {
    listener: StdListener,
    path: PathBuf,
    /// The file's device and inode: another's is left alone.
    file: (u64, u64),
}

/// Why a simulation has no door.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// Something else is there.
    #[error("{} is no socket: it is left as it is; write another path", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error("another process listens on {}: write another path", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make the socket {}", path.display())]
    Make {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Door {
    /// A door at this path, where none is, or one that nobody listens on any more.
    ///
    /// # Errors
    /// When something else is there, or the socket cannot be made.
    pub fn open(path: &Path) -> Result<Self, DoorError> {
        let make = |source: io::Error| DoorError::Make { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(DoorError::NoSocket { path: path.to_owned() }),
            Ok(_) => match StdStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(make)?;
                }
                Err(error) => return Err(make(error)),
                Ok(_) => return Err(DoorError::Taken { path: path.to_owned() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(make(error)),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let bound = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).and_then(|socket| {
            // Linux gives the file the socket's mode: it is nobody else's at any moment.
            fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            bind(&socket, &SocketAddrUnix::new(path)?)?;
            listen(&socket, BACKLOG)?;
            Ok(StdListener::from(socket))
        });
        let listener = bound.map_err(|error| make(error.into()))?;
        let found = std::fs::symlink_metadata(path).map_err(make)?;
        Ok(Self { listener, path: path.to_owned(), file: (found.dev(), found.ino()) })
    }

    /// Answers one connection after the other with what comes of its event.
    pub(super) async fn attend(&self, happen: impl Fn(&str) -> Result<(), String>) {
        let listener = match self.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(socket = %self.path.display(), %error, "nothing can be made to happen in this simulation");
                return;
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match timeout(PATIENCE, answer(stream, &happen)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a connection to the simulation failed"),
                    Err(_) => tracing::debug!("a connection to the simulation took too long"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the simulation: trying again");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer(mut stream: UnixStream, happen: impl Fn(&str) -> Result<(), String>) -> io::Result<()> {
    let mut event = String::new();
    let outcome = match (&mut stream).take(LONGEST + 1).read_to_string(&mut event).await {
        Ok(_) if event.len() as u64 > LONGEST => Err(format!("an event is {LONGEST} bytes at most")),
        Ok(_) => happen(&event),
        Err(error) => Err(error.to_string()),
    };
    let answer = match outcome {
        Ok(()) => format!("{OK}\n"),
        Err(why) => format!("{REFUSED}: {why}\n"),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

impl Drop for Door {
    fn drop(&mut self) {
        let is_ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == self.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(socket = %self.path.display(), %error, "the simulation's socket is not removed");
        }
    }
}
