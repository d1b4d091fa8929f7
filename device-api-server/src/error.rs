// SPDX-License-Identifier: Apache-2.0
//! Why the server did not start, or did not end well.

use std::any::Any;
use std::io;
use std::time::Duration;

use device_api_core::storage::{StorageError, StorageErrorKind};

use crate::listen::ListenError;

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// What it was asked to do makes no sense.
    #[error("the configuration is not valid")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The datastore cannot be opened.
    #[error("cannot open the datastore")]
    Datastore(#[source] StorageError),
    /// The registry refuses what the datastore holds.
    #[error("cannot load the objects of the datastore")]
    Registry(#[source] device_api_core::Error),
    /// The socket cannot be bound.
    #[error("cannot listen")]
    Listen(#[source] ListenError),
    /// The process lacks something else that it needs to start.
    #[error("cannot start: {what}")]
    Start {
        /// What it needs.
        what: &'static str,
        /// Why it is not to be had.
        #[source]
        source: io::Error,
    },
    /// The services do not fit together.
    #[error("cannot describe the services")]
    Reflection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledger closed while the server served it: somebody else closed it, or its task died.
    #[error("the ledger closed while it was served: start again")]
    LedgerClosed {
        /// Why, if it failed.
        #[source]
        source: Option<StorageError>,
    },
    /// A part of it ended again and again, or one that cannot be begun anew.
    #[error("the {part} ended, and nothing goes on without it: start again, and report what the log says of it")]
    PartLost {
        /// Which.
        part: String,
    },
    /// The server is down, but not everybody was answered.
    #[error("requests still ran when the grace period of {grace:?} was over, and were cut")]
    Cut {
        /// The grace period.
        grace: Duration,
    },
    /// The server is down, but its datastore could not be closed.
    #[error("cannot close the datastore")]
    Close(#[source] StorageError),
    /// The server is down, but its datastore did not close in time.
    #[error("the datastore was still not closed {patience:?} after the last request")]
    CloseTimeout {
        /// How long it had.
        patience: Duration,
    },
}

impl ServerError {
    /// What it was asked to do makes no sense, for this reason.
    pub fn config(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Config(Box::new(error))
    }

    /// The datastore cannot be opened; or its endpoint asks for what the datastore does not have.
    #[must_use]
    pub fn of_datastore(error: StorageError) -> Self {
        match error.kind() {
            StorageErrorKind::Config => Self::Config(Box::new(error)),
            _ => Self::Datastore(error),
        }
    }

    /// The exit code of `device-apiserver`, as its `--help` documents them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Datastore(_) | Self::Registry(_) => 3,
            Self::Listen(_) => 4,
            Self::Start { .. } | Self::Reflection(_) => 5,
            Self::LedgerClosed { .. } | Self::PartLost { .. } => 5,
            Self::Cut { .. } | Self::Close(_) | Self::CloseTimeout { .. } => 5,
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// An error and all its causes, in one line.
#[must_use]
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use device_api_core::storage::StorageErrorKind;

    use super::*;

    #[test]
    fn the_line_names_every_cause_once() {
        let disk = io::Error::other("no space\nleft");
        let store = StorageError::new("sqlite", StorageErrorKind::Full, "cannot write state.db").with_source(disk);
        let line = one_line(&ServerError::Datastore(store));
        assert_eq!(line, "cannot open the datastore: sqlite store: cannot write state.db: no space left");
    }
}
