// SPDX-License-Identifier: Apache-2.0
//! Datastore URLs: which backend, where, and its options.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The longest datastore URL, in bytes: room for the longest path that Linux takes, encoded.
const MAX_URL: usize = 16 * 1024;
/// How much of a bad value an error shows, in characters.
const SHOWN: usize = 64;

/// A parsed datastore URL, `scheme:[//authority]path[?key=value&…]`: what a backend is opened with.
///
/// Path, option names and option values are percent-decoded. `Display` and `Debug` leave user
/// information and options out, since either may hold a secret.
///
/// ```
/// use device_api_core::storage::Endpoint;
///
/// let endpoint = Endpoint::parse("sqlite:///var/lib/device-api/state.db?busy_timeout_ms=250")?;
/// assert_eq!((endpoint.scheme(), endpoint.path()), ("sqlite", "/var/lib/device-api/state.db"));
///
/// let mut options = endpoint.options();
/// let busy_timeout_ms = options.take::<u32>("busy_timeout_ms")?.unwrap_or(5_000);
/// options.finish()?; // An option that nobody took is an error.
/// assert_eq!(busy_timeout_ms, 250);
/// # Ok::<(), device_api_core::storage::EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: String,
    authority: String,
    path: String,
    options: BTreeMap<String, String>,
}

/// The options of an [`Endpoint`], for a backend to take one by one.
#[derive(Clone, Debug)]
#[must_use = "call `finish`, or unknown options go unnoticed"]
pub struct EndpointOptions {
    scheme: String,
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

/// Why a datastore URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Longer than any real one.
    #[error("the datastore URL has {length} bytes, more than {MAX_URL}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// No scheme, or one that is not in RFC 3986's format.
    #[error("the datastore URL must begin with a scheme, as in memory:// or sqlite:///var/lib/device-api/state.db")]
    Scheme,
    /// A `#`, which would begin a fragment.
    #[error("the datastore URL has a '#': write %23 for one that is part of a name")]
    Fragment,
    /// A percent sign that begins no escape, text that is not UTF-8, or a control character.
    #[error(
        "the {part} of the datastore URL must be UTF-8 without control characters, with %XX for special characters"
    )]
    Encoding {
        /// Which part: `path`, `authority`, `option name` or `option value`.
        part: &'static str,
    },
    /// An option without a name or without a value.
    #[error("the option {text:?} of the datastore URL must have the form key=value")]
    Form {
        /// The option as it stands, cut off.
        text: String,
    },
    /// The same option twice.
    #[error("the option {key} stands twice in the datastore URL")]
    Duplicate {
        /// The option.
        key: String,
    },
    /// An option that the backend does not have.
    #[error("the {scheme} datastore has no option {key:?}; {}", Known(.known))]
    Unknown {
        /// The backend.
        scheme: String,
        /// The option.
        key: String,
        /// The options that it has.
        known: Vec<&'static str>,
    },
    /// A value that the option does not take.
    #[error("{key}={value} in the datastore URL: {why}")]
    Value {
        /// The option.
        key: &'static str,
        /// Its value, cut off.
        value: String,
        /// What is accepted.
        why: String,
    },
}

/// The known options, in a sentence.
struct Known<'a>(&'a [&'static str]);

impl Endpoint {
    /// Parses a datastore URL.
    ///
    /// # Errors
    /// [`EndpointError`] says what is wrong with it. It does not repeat the URL, which may hold a
    /// password.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        if url.len() > MAX_URL {
            return Err(EndpointError::TooLong { length: url.len() });
        }
        if url.contains('#') {
            return Err(EndpointError::Fragment);
        }
        let (scheme, rest) =
            url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).ok_or(EndpointError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            authority: decode(authority, "authority").map(|_| authority.to_owned())?,
            path: decode(path, "path")?,
            options: parse_options(query)?,
        })
    }

    /// The scheme, in lower case: which backend.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between `//` and the path, `user:password@host:port` as it was written; empty
    /// for a local store. Not for logs.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path; empty where there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options, to take one by one and then [`finish`](EndpointOptions::finish).
    pub fn options(&self) -> EndpointOptions {
        EndpointOptions { scheme: self.scheme.clone(), left: self.options.clone(), known: Vec::new() }
    }
}

impl EndpointOptions {
    /// Takes an option: `None` where the URL does not have it.
    ///
    /// # Errors
    /// [`EndpointError::Value`] when `T` does not parse; the text of `T`'s error should say what is
    /// accepted, as in `must be full or normal`.
    pub fn take<T>(&mut self, key: &'static str) -> Result<Option<T>, EndpointError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.known.push(key);
        let Some(value) = self.left.remove(key) else { return Ok(None) };
        let parsed = value.parse().map(Some);
        parsed.map_err(|why: T::Err| EndpointError::Value { key, value: shown(&value), why: why.to_string() })
    }

    /// Checks that every option was taken.
    ///
    /// # Errors
    /// [`EndpointError::Unknown`] names the first that was not, and those that were asked for.
    pub fn finish(self) -> Result<(), EndpointError> {
        match self.left.into_keys().next() {
            Some(key) => Err(EndpointError::Unknown { scheme: self.scheme, key: shown(&key), known: self.known }),
            None => Ok(()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Self::parse(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last `@` ends the user information: a password may hold one.
        let host = self.authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{}://{host}{}", self.scheme, self.path)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("it has none"),
            known => write!(f, "it has: {}", known.join(", ")),
        }
    }
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn parse_options(query: &str) -> Result<BTreeMap<String, String>, EndpointError> {
    let mut options = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let form = || EndpointError::Form { text: shown(pair.split('=').next().unwrap_or_default()) };
        let (key, value) =
            pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty()).ok_or_else(form)?;
        let key = decode(key, "option name")?;
        if options.contains_key(&key) {
            return Err(EndpointError::Duplicate { key: shown(&key) });
        }
        options.insert(key, decode(value, "option value")?);
    }
    Ok(options)
}

/// Decodes `%XX`. A control character is refused: none belongs in a path, and NUL would cut it off.
fn decode(text: &str, part: &'static str) -> Result<String, EndpointError> {
    let error = || EndpointError::Encoding { part };
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or_else(error)?;
        // `from_str_radix` takes a sign, which is no digit.
        let byte = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.flatten().ok_or_else(error)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control)).ok_or_else(error)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
