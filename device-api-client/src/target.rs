// SPDX-License-Identifier: Apache-2.0
//! Where the server listens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::ConnectError;

/// Where the server listens unless somebody says otherwise.
pub const DEFAULT_TARGET: &str = "unix:///var/run/nvidia-device-api/device-api.sock";

/// The environment variables that name a target, the first that is set and not empty wins. Both are
/// in use by clients in the field.
pub const TARGET_VARIABLES: [&str; 2] = ["NVIDIA_DEVICE_API_PATH", "NVIDIA_DEVICE_API_SOCK"];

/// The longest path of a Unix socket, in bytes: Linux' `sun_path` less its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// The Unix socket of a server.
///
/// ```
/// use device_api_client::Target;
///
/// let target: Target = "unix:///run/device-api.sock".parse()?;
/// assert_eq!(target, "/run/device-api.sock".parse()?);
/// assert_eq!(target.to_string(), "unix:///run/device-api.sock");
/// # Ok::<(), device_api_client::ConnectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    path: PathBuf,
}

impl Target {
    /// The target that is given, or else the one in [`TARGET_VARIABLES`], or else [`DEFAULT_TARGET`].
    /// Empty is as good as not given.
    ///
    /// ```
    /// use device_api_client::Target;
    ///
    /// let env = |name: &str| (name == "NVIDIA_DEVICE_API_SOCK").then(|| "unix:///run/a.sock".to_owned());
    /// assert_eq!(Target::resolve(None, env)?.to_string(), "unix:///run/a.sock");
    /// assert_eq!(Target::resolve(Some("/run/b.sock"), env)?.to_string(), "unix:///run/b.sock");
    /// # Ok::<(), device_api_client::ConnectError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConnectError::Target`] when the one that is taken names no Unix socket.
    pub fn resolve(explicit: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConnectError> {
        let given = |text: &String| !text.is_empty();
        explicit
            .map(str::to_owned)
            .filter(given)
            .or_else(|| TARGET_VARIABLES.into_iter().find_map(|name| env(name).filter(given)))
            .unwrap_or_else(|| DEFAULT_TARGET.to_owned())
            .parse()
    }

    /// The target that this process' environment names, or else [`DEFAULT_TARGET`].
    ///
    /// # Errors
    /// [`ConnectError::Target`] when the environment names no Unix socket.
    pub fn from_env() -> Result<Self, ConnectError> {
        Self::resolve(None, |name| std::env::var(name).ok())
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for Target {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let unusable = |why: &str| ConnectError::Target { target: text.to_owned(), why: why.to_owned() };
        let path = if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(unusable("after unix:// the path must be absolute"));
            }
            path
        } else if let Some(path) = text.strip_prefix("unix:") {
            path
        } else if let Some((scheme, _)) = text.split_once(':').filter(|(scheme, _)| !scheme.contains('/')) {
            return Err(unusable(&format!("only Unix sockets are served, not {scheme:?}")));
        } else {
            text
        };
        if path.is_empty() {
            return Err(unusable("it has no path"));
        }
        if path.starts_with('@') || path.contains('\0') {
            return Err(unusable("abstract sockets are not served, for they have no permissions"));
        }
        if path.ends_with('/') {
            return Err(unusable("it names a folder, not a socket"));
        }
        if path.len() > MAX_SOCKET_PATH {
            return Err(unusable(&format!("a socket's path has at most {MAX_SOCKET_PATH} bytes")));
        }
        Ok(Self { path: path.into() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes = if self.path.is_absolute() { "//" } else { "" };
        write!(f, "unix:{slashes}{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(explicit: Option<&str>, variables: &[(&str, &str)]) -> String {
        let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Target::resolve(explicit, env).unwrap().to_string()
    }

    #[test]
    fn the_explicit_target_wins_then_the_path_then_the_sock_then_the_default() {
        let both = [("NVIDIA_DEVICE_API_SOCK", "/s"), ("NVIDIA_DEVICE_API_PATH", "/p")];
        assert_eq!(resolve(Some("/e"), &both), "unix:///e");
        assert_eq!(resolve(None, &both), "unix:///p");
        assert_eq!(resolve(None, &both[..1]), "unix:///s");
        assert_eq!(resolve(None, &[]), DEFAULT_TARGET);
    }

    #[test]
    fn empty_is_as_good_as_not_given() {
        let variables = [("NVIDIA_DEVICE_API_PATH", ""), ("NVIDIA_DEVICE_API_SOCK", "/s")];
        assert_eq!(resolve(Some(""), &variables), "unix:///s");
    }

    #[test]
    fn all_three_spellings_of_a_path_work() {
        for text in ["unix:///a:b/c", "unix:/a:b/c", "/a:b/c"] {
            assert_eq!(text.parse::<Target>().unwrap().path(), Path::new("/a:b/c"), "{text}");
        }
        for text in ["unix:c.sock", "c.sock"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), "unix:c.sock", "{text}");
        }
    }

    #[test]
    fn what_is_no_socket_is_refused_with_what_works() {
        let long = format!("/{}", "x".repeat(MAX_SOCKET_PATH));
        for (text, why) in [
            ("http://localhost:1", "only Unix sockets are served, not \"http\""),
            ("dns:///x", "not \"dns\""),
            ("localhost:50051", "not \"localhost\""),
            ("unix://x", "the path must be absolute"),
            ("unix:", "no path"),
            ("unix://", "the path must be absolute"),
            ("@a", "abstract"),
            ("unix:@a", "abstract"),
            ("/run/a\0b", "abstract"),
            ("/run/", "a folder"),
            (long.as_str(), "107 bytes"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("unix:///absolute/path"), "{text:?}: {error}");
        }
    }
}
