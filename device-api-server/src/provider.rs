// SPDX-License-Identifier: Apache-2.0
//! `device-apiserver nvml-provider`: the NVML source in a process of its own, a client like any other.
//!
//! A call that hangs in the driver cannot be cancelled, and a driver's library can crash: here neither
//! touches the server.

use std::sync::Arc;
use std::time::Duration;

use device_api_client::{Api, Client, ConnectOptions, LeaseApi, Target};
use device_api_core::proto::v1alpha1::gpu_service_server::GpuServiceServer;
use device_api_core::resource::Gpu;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService as _;

use crate::cli::ProviderConfig;
use crate::error::ServerError;
use crate::grpc::GpuApi;
use crate::parts::Part;
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
    let begin = move |stop| nvml::run(Arc::clone(&driver), options.clone(), gpus.clone(), leases.clone(), stop);
    // Nobody asks this process how it is: the server's lease says whether it lives.
    let part = Part::source(nvml::NAME, GpuServiceServer::<GpuApi>::NAME, begin);
    let mut source = Box::pin(part.run(0, stop.clone(), watch::Sender::default()));
    let signal = tokio::select! {
        ended = &mut source => return ended,
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
