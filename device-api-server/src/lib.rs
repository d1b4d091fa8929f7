// SPDX-License-Identifier: Apache-2.0
//! The reference server of the node-local Device API, to run as `device-apiserver` or to mount in a
//! daemon of one's own.
//!
//! A [`Server`] puts a ledger's GPUs, and services of your own, on a unix socket:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use device_api_core::registry::{Ledger, LedgerOptions};
//! use device_api_server::{Listener, Server, SocketOptions};
//! use device_api_store_memory::Memory;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("device-api.sock");
//!
//! let ledger = Ledger::open(Box::new(Memory::new().open()?), LedgerOptions::default()).await?;
//! let server = Server::new(ledger).with_gpus().await?;
//! let listener = Listener::bind(&SocketOptions::new(path.display().to_string().parse()?))?;
//! // A daemon would wait for a signal here.
//! let shutdown = async {};
//! server.run(listener, shutdown).await?;
//! # Ok(()) }
//! ```
//!
//! Main modules: [`Config`] (the flags), [`datastore`] (from URL to store), [`Listener`] (the socket),
//! [`Server`] (what is served, and how it ends), [`GpuApi`] (the GPU service on a registry), [`LeaseApi`]
//! (that of leases). With the feature `testing`, `testing` has a server for the tests of those who use the API.

mod accept;
mod address;
mod authority;
mod claim;
mod cli;
mod config;
mod connections;
pub mod datastore;
mod details;
mod drain;
mod error;
mod explain;
mod grpc;
mod health;
mod listen;
mod log;
mod parts;
mod peer;
mod provider;
mod quarantine;
mod reach;
mod server;
mod shutdown;
mod simulate;
pub mod source;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;
pub mod units;

pub use self::address::{AddressError, Group, SocketPath};
pub use self::cli::{Action, Cli, LogFlags, LogFormat, ProviderConfig};
pub use self::config::Config;
pub use self::error::{ServerError, one_line};
pub use self::explain::{ExplainConfig, explain_xid};
pub use self::grpc::{GpuApi, LeaseApi};
pub use self::listen::{ListenError, Listener, SocketOptions};
pub use self::log::Log;
pub use self::peer::Peer;
pub use self::provider::provide;
pub use self::quarantine::{QuarantineAction, QuarantineConfig, quarantine};
pub use self::server::{ServeOptions, Server};
pub use self::shutdown::Signals;
pub use self::simulate::{SimulateConfig, SimulateError, simulate};
