// SPDX-License-Identifier: Apache-2.0
//! `device-apiserver nvml-provider`: the NVML source in a process of its own, a client like any other.
//!
//! A call that hangs in the driver cannot be cancelled, and a driver's library can crash: here neither
//! touches the server.

use std::time::Duration;

use device_api_client::{Api, Client, ConnectOptions, LeaseApi, Target};
use device_api_core::resource::Gpu;
use tokio_util::sync::CancellationToken;

use crate::cli::ProviderConfig;
use crate::error::ServerError;
use crate::shutdown::{Signals, notify};
use crate::source::nvml;

/// How long the source may take to end. What hangs then is left behind.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the source until a signal comes.
///
/// The server need not be there: whatever is missed is declared when it is.
///
/// # Errors
/// When the flags cannot be used.
pub async fn provide(config: ProviderConfig, mut signals: Signals) -> Result<(), ServerError> {
    let env = |name: &str| std::env::var(name).ok();
    let target = Target::resolve(config.target.as_deref(), env).map_err(ServerError::config)?;
    let Some((driver, options)) = config.source.source().map_err(ServerError::config)? else {
        return Err(ServerError::config(NothingToProvide));
    };
    let client = Client::lazy(&target, ConnectOptions::default());
    let (gpus, leases) = (Api::<Gpu>::all(client.clone()), LeaseApi::new(client));
    let stop = CancellationToken::new();
    tracing::info!(%target, version = env!("CARGO_PKG_VERSION"), "providing");
    notify("READY=1");
    let mut source = Box::pin(nvml::run(driver, options, gpus, leases, stop.clone()));
    let signal = tokio::select! {
        () = &mut source => return Ok(()),
        signal = signals.next() => signal,
    };
    tracing::info!(signal, "ending");
    notify("STOPPING=1");
    stop.cancel();
    if tokio::time::timeout(PATIENCE, source).await.is_err() {
        tracing::warn!("the source did not end in time");
    }
    Ok(())
}

/// The mode asks for no source.
#[derive(Debug, thiserror::Error)]
#[error("--nvml=off provides nothing: write auto, on or simulated:SPEC")]
struct NothingToProvide;
