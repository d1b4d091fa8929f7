// SPDX-License-Identifier: Apache-2.0
//! Where the socket is and whose it is, as people write it in flags.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::Gid;

/// The path of a unix socket, written as `unix:///run/x.sock`, `unix:x.sock` or plainly as a path.
///
/// ```
/// use device_api_server::SocketPath;
///
/// let path: SocketPath = "unix:///run/device-api.sock".parse()?;
/// assert_eq!(path, "/run/device-api.sock".parse()?);
/// assert_eq!(path.to_string(), "unix:///run/device-api.sock");
/// # Ok::<(), device_api_server::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(PathBuf);

/// A text that names no unix socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The scheme is not `unix`.
    #[error("{scheme:?} is not supported: write unix:///PATH, unix:PATH or a plain path")]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// There is no path, or what should be one names a host or an abstract socket.
    #[error("{text:?} is not the path of a socket: write unix:///PATH, unix:PATH or a plain path")]
    NotAPath {
        /// What stands there.
        text: String,
    },
    /// The path does not fit into a socket's address (unix(7): 108 bytes with the final NUL).
    #[error("the socket's path has {length} bytes and may have at most 107: choose a shorter one than {text:?}")]
    TooLong {
        /// How many.
        length: usize,
        /// The path.
        text: String,
    },
}

/// The longest path of a unix socket, in bytes.
pub(crate) const MAX_PATH: usize = 107;

impl SocketPath {
    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for SocketPath {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = match text.split_once(':') {
            Some(("unix", rest)) => match rest.strip_prefix("//") {
                Some(absolute) if absolute.starts_with('/') => absolute,
                Some(_) => "",
                None => rest,
            },
            Some((scheme, _)) if !scheme.contains('/') => {
                return Err(AddressError::Scheme { scheme: scheme.to_owned() });
            }
            _ => text,
        };
        // A file name is needed; `@` and NUL begin names of abstract sockets, which have no permissions.
        if path.is_empty() || path.ends_with('/') || path.starts_with('@') || path.contains('\0') {
            return Err(AddressError::NotAPath { text: text.to_owned() });
        }
        if path.len() > MAX_PATH {
            return Err(AddressError::TooLong { length: path.len(), text: path.to_owned() });
        }
        Ok(Self(PathBuf::from(path)))
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes = if self.0.is_absolute() { "//" } else { "" };
        write!(f, "unix:{slashes}{}", self.0.display())
    }
}

/// A group, by its number or by its name in `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(String);

impl Group {
    /// A group by its number, or by its name in `/etc/group`.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self(group.into())
    }

    /// The group's number.
    pub(crate) fn gid(&self) -> io::Result<Gid> {
        // All ones means "no change" to chown(2).
        let number = match self.0.parse::<u32>() {
            Ok(number) => Some(number),
            Err(_) => number_in(&std::fs::read_to_string("/etc/group")?, &self.0),
        };
        let missing = || io::Error::new(ErrorKind::NotFound, format!("there is no group {:?} in /etc/group", self.0));
        number.filter(|number| *number != u32::MAX).map(Gid::from_raw).ok_or_else(missing)
    }
}

/// The number of a group in a file of group(5)'s form: `name:password:number:members`.
fn number_in(file: &str, group: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ways_to_write_a_path_mean_the_same() {
        for text in ["unix:///run/a.sock", "unix:/run/a.sock", "/run/a.sock"] {
            assert_eq!(text.parse::<SocketPath>().unwrap().as_path(), Path::new("/run/a.sock"), "{text}");
        }
        for text in ["unix:a.sock", "a.sock"] {
            assert_eq!(text.parse::<SocketPath>().unwrap().as_path(), Path::new("a.sock"), "{text}");
        }
        assert_eq!("./a:b.sock".parse::<SocketPath>().unwrap().as_path(), Path::new("./a:b.sock"));
    }

    #[test]
    fn another_scheme_is_refused_with_what_works() {
        for text in ["tcp://127.0.0.1:50051", "http://x", "127.0.0.1:50051", "unix-abstract:x", "localhost:1"] {
            let error = text.parse::<SocketPath>().unwrap_err();
            assert!(matches!(error, AddressError::Scheme { .. }), "{text}: {error}");
            assert!(error.to_string().contains("unix:///PATH"), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_name_is_refused() {
        for text in ["", "unix:", "unix://", "unix://run/a.sock", "@a", "unix:@a", "/run/"] {
            let error = text.parse::<SocketPath>().unwrap_err();
            assert!(matches!(error, AddressError::NotAPath { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_of_107_bytes_fits_and_one_of_108_does_not() {
        let longest = format!("/{}", "a".repeat(106));
        assert!(longest.parse::<SocketPath>().is_ok());
        let error = format!("{longest}a").parse::<SocketPath>().unwrap_err();
        assert!(matches!(error, AddressError::TooLong { length: 108, .. }), "{error}");
    }

    #[test]
    fn a_group_is_found_by_number_or_by_name() {
        let file = "root:x:0:\nvideo:x:44:alice,bob\nbroken\nvide:x:nan:\n";
        assert_eq!(number_in(file, "video"), Some(44));
        assert_eq!(number_in(file, "vide"), None);
        assert_eq!(number_in(file, "alice"), None);
        assert_eq!(Group::new("7").gid().unwrap(), Gid::from_raw(7));
        assert!(Group::new("4294967295").gid().is_err());
        assert!(Group::new("no such group").gid().is_err());
    }
}
