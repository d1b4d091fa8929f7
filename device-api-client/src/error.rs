// SPDX-License-Identifier: Apache-2.0
//! Why there is no client. What goes wrong later is the API's own [`Error`](device_api_core::Error).

use crate::Target;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The target names no Unix socket.
    #[error("cannot use {target:?} as a target: {why}; unix:///absolute/path, unix:path and a bare path work")]
    Target {
        /// The target as it was given.
        target: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers at the target.
    #[error("cannot connect to {target}: check that the server runs and that this process may open its socket")]
    Connect {
        /// The target.
        target: Target,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
