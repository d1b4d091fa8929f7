// SPDX-License-Identifier: Apache-2.0
//! How a session with the driver ends.

use super::driver::DriverError;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody shows any more what is stored.
    Unwatched,
    /// A lost GPU spoils the wait for the events of all: this is how it fails.
    Spoilt(DriverError),
    /// The driver failed.
    Failed(DriverError),
}

impl From<DriverError> for End {
    fn from(why: DriverError) -> Self {
        Self::Failed(why)
    }
}
