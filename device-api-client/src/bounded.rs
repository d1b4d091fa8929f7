// SPDX-License-Identifier: Apache-2.0
//! A call's bound in time.

use std::future::Future;
use std::time::Duration;

use device_api_core::error::Cause;
use device_api_core::{Error, Result};

/// Waits for a call, but no longer than this.
///
/// # Errors
/// Those of the call, and [`Error::Unavailable`] when it takes longer.
pub(crate) async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|elapsed| {
        Err(Error::Unavailable {
            why: format!("no reply within {limit:?}; a write may still have happened"),
            retry_after: Some(Duration::from_secs(1)),
            cause: Cause::of(elapsed),
        })
    })
}
