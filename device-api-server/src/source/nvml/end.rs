// SPDX-License-Identifier: Apache-2.0
//! How a session with the driver ends.

use tokio::time::Instant;

use super::driver::DriverError;

/// No wait for events succeeds.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// Why.
    pub(super) why: DriverError,
    /// From when on nobody believes any more that there was no event.
    pub(super) deaf_from: Instant,
}

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody shows any more what is stored.
    Unwatched,
    /// A lost GPU spoils the wait for the events of all.
    Spoilt(Broken),
    /// The driver failed.
    Failed(DriverError),
}

impl From<DriverError> for End {
    fn from(why: DriverError) -> Self {
        Self::Failed(why)
    }
}
