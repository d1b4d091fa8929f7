// SPDX-License-Identifier: Apache-2.0
//! What can be set, in a URL and in code.

use std::str::FromStr;

use device_api_core::storage::{Endpoint, EndpointError};
use sqlx::sqlite::SqliteSynchronous;

/// What can be set; each is also an option of the URL, named after its field.
///
/// ```
/// use device_api_store_sqlite::{SqliteOptions, Synchronous};
///
/// let options = SqliteOptions::default().with_synchronous(Synchronous::Normal).with_max_size_mib(512);
/// assert_eq!(options.max_size_mib, Some(512));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// When a commit reaches the disk.
    pub synchronous: Synchronous,
    /// The largest size of the database file, in MiB: a commit past it fails as on a full disk, and
    /// goes through again once compaction made room. `None`: as large as the disk.
    pub max_size_mib: Option<u32>,
}

/// When a commit reaches the disk, <https://www.sqlite.org/pragma.html#pragma_synchronous>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// Before it is acknowledged: nothing that was acknowledged is lost, not on power loss either.
    #[default]
    Full,
    /// Some time later: the last moments before a power loss may be lost. Nothing is lost when the
    /// process is killed.
    Normal,
}

/// A value that is neither `full` nor `normal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be full or normal")]
pub struct SynchronousError;

/// A size of at least one MiB.
struct Mebibytes(u32);

impl SqliteOptions {
    /// When a commit reaches the disk.
    #[must_use]
    pub fn with_synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// The largest size of the database file, in MiB.
    #[must_use]
    pub fn with_max_size_mib(mut self, mib: u32) -> Self {
        self.max_size_mib = Some(mib);
        self
    }

    /// Reads the options of a URL.
    ///
    /// # Errors
    /// An option that there is not, or a value that it does not take.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self, EndpointError> {
        let mut options = endpoint.options();
        let read = Self {
            synchronous: options.take("synchronous")?.unwrap_or_default(),
            max_size_mib: options.take("max_size_mib")?.map(|Mebibytes(mib)| mib),
        };
        options.finish()?;
        Ok(read)
    }
}

impl FromStr for Synchronous {
    type Err = SynchronousError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            _ => Err(SynchronousError),
        }
    }
}

impl From<Synchronous> for SqliteSynchronous {
    fn from(synchronous: Synchronous) -> Self {
        match synchronous {
            Synchronous::Full => Self::Full,
            Synchronous::Normal => Self::Normal,
        }
    }
}

impl FromStr for Mebibytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().filter(|mib| *mib > 0).map(Self).ok_or("must be a number of MiB, at least 1")
    }
}
