// SPDX-License-Identifier: Apache-2.0
//! Why a socket cannot be opened, and who may.

use std::error::Error;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A socket that could not be opened. What the system said is in its words, since many print no causes.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {source}{hint}", path.display())]
pub(crate) struct CannotOpen {
    path: PathBuf,
    hint: String,
    pub(crate) source: io::Error,
}

impl CannotOpen {
    /// Looks at the socket for what else there is to say. These are look-ups of a failure, not of a call.
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        let hint = match source.kind() {
            ErrorKind::NotFound => ": start the server, or name the socket that it has".to_owned(),
            ErrorKind::PermissionDenied => who_may(path),
            ErrorKind::ConnectionRefused if fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket()) => {
                ": it is no socket".to_owned()
            }
            ErrorKind::ConnectionRefused => ": its server is gone; start one".to_owned(),
            _ => String::new(),
        };
        Self { path: path.to_owned(), hint, source }
    }

    /// The one among an error and its causes.
    pub(crate) fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        // An I/O error passes over what it holds when it is asked for its cause.
        let held = |error: &'a (dyn Error + 'static)| {
            error.downcast_ref::<io::Error>().and_then(|error| error.get_ref()?.downcast_ref::<Self>())
        };
        causes(error).find_map(|error| error.downcast_ref::<Self>().or_else(|| held(error)))
    }
}

/// An error and its causes.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Whose the socket is, or else the folder that keeps us from seeing that.
fn who_may(path: &Path) -> String {
    match path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?))) {
        Some((found, metadata)) if found == path => {
            let owner = owner(&metadata);
            format!(": it is of {owner}, and who may write to it may connect: run in that group, or see --socket-group")
        }
        Some((folder, metadata)) => format!(": the folder {} is of {}", folder.display(), owner(&metadata)),
        None => String::new(),
    }
}

/// User, group and mode, as in `user 0, group 44 (video), mode 0660`.
fn owner(metadata: &Metadata) -> String {
    let (user, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    let name = fs::read_to_string("/etc/group").ok().and_then(|file| name_in(&file, group));
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("user {user}, group {group}{name}, mode {mode:04o}")
}

/// The name of a group in a file of group(5)'s form: `name:password:number:members`.
fn name_in(file: &str, group: u32) -> Option<String> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(group)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> io::Error {
        // EACCES of errno(3).
        io::Error::from_raw_os_error(13)
    }

    #[test]
    fn who_may_not_is_told_who_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let said = CannotOpen::new(&path, denied()).to_string();
        assert!(said.starts_with(&format!("cannot open {}: Permission denied", path.display())), "{said}");
        for part in [format!("group {}", metadata.gid()), format!("mode {:04o}", metadata.mode() & 0o777)] {
            assert!(said.contains(&part), "{part} is not in {said}");
        }
        // Of a path that cannot be seen, the last folder that can be.
        let said = CannotOpen::new(&folder.path().join("none/a.sock"), denied()).to_string();
        assert!(said.contains(&format!("the folder {} is of user ", folder.path().display())), "{said}");
    }

    #[test]
    fn a_group_has_its_name() {
        let file = "root:x:0:\nbroken\nvideo:x:44:alice\n";
        assert_eq!(name_in(file, 44).as_deref(), Some("video"));
        assert_eq!(name_in(file, 45), None);
    }

    #[test]
    fn a_file_that_is_no_socket_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "").unwrap();
        let refused = std::os::unix::net::UnixStream::connect(&path).unwrap_err();
        assert!(CannotOpen::new(&path, refused).to_string().ends_with(": it is no socket"));
    }
}
