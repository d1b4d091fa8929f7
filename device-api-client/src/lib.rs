// SPDX-License-Identifier: Apache-2.0
//! The client of the node-local Device API: typed handles with the verbs of kube-rs.
//!
//! ```no_run
//! use device_api_client::core::registry::{ListParams, PostParams};
//! use device_api_client::core::resource::{Condition, ConditionStatus, Gpu};
//! use device_api_client::{Api, Client};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let gpus: Api<Gpu> = Api::all(Client::try_default().await?);
//! for gpu in gpus.list(&ListParams::default().labels("zone=left")).await?.items {
//!     println!("{} {}", gpu.metadata.name, gpu.spec.uuid);
//! }
//!
//! // A condition that two providers write at once: the version makes one of them try again.
//! let mut gpu = Gpu::clone(&*gpus.get("gpu-0a1b").await?);
//! gpu.status.conditions.push(Condition::new("Reachable", ConditionStatus::True));
//! match gpus.replace_status("gpu-0a1b", &PostParams::default(), &gpu).await {
//!     Ok(stored) => println!("at version {}", stored.metadata.resource_version),
//!     Err(error) if error.is_conflict() => println!("read it again: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`]: the connection, made by [`Target`] and [`ConnectOptions`]. It is found by
//!   [`Client::try_default`] as existing clients find it, and made anew when it is lost.
//! - [`Api`]: the verbs, for any [`WireResource`]. Code that is to run in the server's process too takes
//!   [`Verbs`](device_api_core::registry::Verbs) instead, which `Api` implements.
//! - [`Client::from_service`]: the same `Api` on a server with no socket in between, for tests and embedders.
//! - Errors are [`device_api_core::Error`], equal to those that the registry returned;
//!   [`ConnectError`] is only for making a client.

mod api;
mod connect;
mod error;
mod gpu;
mod target;
mod transport;
mod wire;

pub use device_api_core as core;

pub use self::api::Api;
pub use self::connect::{Client, ConnectOptions};
pub use self::error::ConnectError;
pub use self::target::{DEFAULT_TARGET, TARGET_VARIABLES, Target};
pub use self::transport::Transport;
pub use self::wire::{ApiWatch, WireResource};
