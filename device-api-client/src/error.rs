// SPDX-License-Identifier: Apache-2.0
//! Why there is no client. What goes wrong later is the API's own [`Error`](device_api_core::Error).

use std::error::Error;
use std::io::{self, ErrorKind};

use crate::Target;
use crate::unopened::{CannotOpen, causes};

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
    #[error("cannot connect to {target}: {why}")]
    Connect {
        /// The target.
        target: Target,
        /// What the system said, whom the socket lets in where that is the reason, and what to do.
        why: String,
        /// What the system said, for programs: [`NotFound`](ErrorKind::NotFound) where there is no socket,
        /// [`PermissionDenied`](ErrorKind::PermissionDenied) where this process may not open it.
        kind: ErrorKind,
    },
}

impl ConnectError {
    /// Why there is no connection, in one sentence: of the causes only the last says anything.
    pub(crate) fn of(target: Target, error: &(dyn Error + 'static)) -> Self {
        if let Some(unopened) = CannotOpen::find(error) {
            return Self::Connect { target, why: unopened.to_string(), kind: unopened.source.kind() };
        }
        let texts: Vec<_> = causes(error).map(ToString::to_string).collect();
        let kind = causes(error).filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind).last();
        Self::Connect { target, why: texts.join(": "), kind: kind.unwrap_or(ErrorKind::Other) }
    }
}
