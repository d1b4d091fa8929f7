// SPDX-License-Identifier: Apache-2.0
//! From a datastore's URL to an open store: the one place that knows which stores there are.

use std::io;
use std::pin::Pin;

use device_api_core::registry::{Ledger, LedgerOptions};
use device_api_core::storage::{Endpoint, EndpointError, Storage, StorageError};
use device_api_store_memory::Memory;
use device_api_store_sqlite::SqliteStorage;

use crate::error::ServerError;

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Storage>, StorageError>> + Send + 'a>>;

/// A kind of store.
struct Scheme {
    name: &'static str,
    example: &'static str,
    open: for<'a> fn(&'a Endpoint) -> Opening<'a>,
}

/// Every kind of store.
const SCHEMES: &[Scheme] = &[
    Scheme {
        name: device_api_store_sqlite::SCHEME,
        example: "sqlite:///PATH",
        open: |endpoint| {
            Box::pin(async move { Ok(Box::new(SqliteStorage::open(endpoint).await?) as Box<dyn Storage>) })
        },
    },
    Scheme {
        name: device_api_store_memory::SCHEME,
        example: "memory://",
        open: |endpoint| {
            Box::pin(async move { Ok(Box::new(Memory::from_endpoint(endpoint)?.open()?) as Box<dyn Storage>) })
        },
    },
];

/// Why a text names no datastore.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatastoreError {
    /// It is not a URL of the form that datastores have.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No store has this scheme.
    #[error("there is no datastore of scheme {scheme:?}: write {supported}")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// How to write the schemes that there are.
        supported: String,
    },
}

/// Reads a datastore's URL, and checks that there is a store for it.
///
/// # Errors
/// When the text is no such URL, or no store has its scheme; the message lists the schemes.
pub fn parse(text: &str) -> Result<Endpoint, DatastoreError> {
    let endpoint = Endpoint::parse(text)?;
    find(&endpoint)?;
    Ok(endpoint)
}

/// Opens the store that a URL names.
///
/// # Errors
/// As [`parse`], wrapped in [`StorageError`]'s `Config` kind, and what the store says.
pub async fn open(endpoint: &Endpoint) -> Result<Box<dyn Storage>, StorageError> {
    use device_api_core::storage::StorageErrorKind::Config;
    let scheme = find(endpoint)
        .map_err(|error| StorageError::new("data", Config, "the endpoint cannot be used").with_source(error))?;
    (scheme.open)(endpoint).await
}

/// Opens the store that a URL names, and a ledger on it; `None` when `stop` is done before.
///
/// On a thread that may block: a file system that hangs does not keep the process from ending.
///
/// # Errors
/// As [`open`], and what the ledger says of the store.
pub async fn ledger(
    endpoint: &Endpoint,
    options: LedgerOptions,
    stop: impl Future,
) -> Result<Option<Ledger>, ServerError> {
    let (endpoint, runtime) = (endpoint.clone(), tokio::runtime::Handle::current());
    let opening = tokio::task::spawn_blocking(move || {
        runtime.block_on(async { Ledger::open(open(&endpoint).await?, options).await })
    });
    tokio::select! {
        opened = opening => {
            let source = |error| ServerError::Start { what: "the datastore's opening", source: io::Error::other(error) };
            opened.map_err(source)?.map(Some).map_err(ServerError::of_datastore)
        }
        _ = stop => {
            tracing::info!("told to stop before the datastore was open");
            Ok(None)
        }
    }
}

fn find(endpoint: &Endpoint) -> Result<&'static Scheme, DatastoreError> {
    SCHEMES.iter().find(|scheme| scheme.name == endpoint.scheme()).ok_or_else(|| {
        let supported: Vec<_> = SCHEMES.iter().map(|scheme| scheme.example).collect();
        DatastoreError::Scheme { scheme: endpoint.scheme().to_owned(), supported: supported.join(" or ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_refused_with_those_that_there_are() {
        let error = parse("postgres://localhost/x").unwrap_err().to_string();
        assert_eq!(error, "there is no datastore of scheme \"postgres\": write sqlite:///PATH or memory://");
    }

    #[tokio::test]
    async fn memory_opens() {
        let endpoint = parse("memory://").unwrap();
        assert!(open(&endpoint).await.unwrap().load().await.unwrap().records.is_empty());
    }

    #[tokio::test]
    async fn a_datastore_that_does_not_open_keeps_nobody_from_stopping() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = parse(&format!("sqlite://{}/state.db", folder.path().display())).unwrap();
        let first = open(&endpoint).await.unwrap();
        // It waits for the first owner to end.
        let opened = ledger(&endpoint, LedgerOptions::default(), std::future::ready(())).await;
        assert!(opened.unwrap().is_none());
        let refused = ledger(&endpoint, LedgerOptions::default(), std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(refused.exit_code(), 3, "{refused}");
        first.close().await.unwrap();
    }
}
