// SPDX-License-Identifier: Apache-2.0
//! A daemon with a registry of its own, which it writes to in process and serves on a socket.
//!
//! ```console
//! cargo run --example embedded_registry -- /tmp/device-api-embedded
//! NVIDIA_DEVICE_API_PATH=/tmp/device-api-embedded/device-api.sock cargo run --example list
//! ```
#![allow(clippy::print_stdout)] // a program for a terminal

use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
use device_api_core::resource::{Gpu, GpuStrategy, ObjectMeta};
use device_api_core::storage::Endpoint;
use device_api_examples::InWords;
use device_api_server::{Listener, Server, Signals, SocketOptions};
use device_api_store_sqlite::SqliteStorage;

#[tokio::main]
async fn main() -> Result<(), InWords> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the socket and the database")?;
    // First of all, so that a signal at any later time ends the daemon in order.
    let mut signals = Signals::new()?;

    // The ledger owns the store. Registries, for any number of resource types, write through it.
    let storage = SqliteStorage::open(&Endpoint::parse(&format!("sqlite://{folder}/state.db"))?).await?;
    let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await?;
    let gpus = ledger.registry(GpuStrategy).await?;

    // In process the verbs are those of the client, with no socket and no gRPC in between.
    discover(&gpus.as_actor("embedded-example")).await?;

    // The same registry for everybody else. Services of your own go beside it, with `add_service`.
    let listener = Listener::bind(&SocketOptions::new(format!("{folder}/device-api.sock").parse()?))?;
    println!("serving on {}", listener.path().display());
    let stop = async move {
        signals.next().await;
    };
    // It ends watches, waits for requests, and closes the ledger.
    Server::new(ledger).with_gpu_registry(gpus).run(listener, stop).await?;
    println!("closed");
    Ok(())
}

/// Stands for what a real daemon does to find its devices.
async fn discover(gpus: &Registry<Gpu>) -> device_api_core::Result<()> {
    let gpu = Gpu { metadata: ObjectMeta::named("gpu-embedded"), ..Gpu::default() };
    match gpus.create(&PostParams::default(), &gpu).await {
        Ok(_) => println!("registered gpu-embedded"),
        Err(error) if error.is_already_exists() => println!("gpu-embedded was registered by an earlier run"),
        Err(error) => return Err(error),
    }
    Ok(())
}
