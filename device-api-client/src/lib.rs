// SPDX-License-Identifier: Apache-2.0
//! The client of the node-local Device API: typed handles with the verbs of kube-rs.
//!
//! ```no_run
//! use device_api_client::core::registry::{ListParams, Part, PostParams};
//! use device_api_client::core::resource::{Gpu, RecommendedAction};
//! use device_api_client::{Api, Client};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let gpus: Api<Gpu> = Api::all(Client::try_default().await?);
//! for gpu in gpus.list(&ListParams::default().labels("zone=left")).await?.items {
//!     println!("{} {}", gpu.metadata.name, gpu.spec.uuid);
//! }
//!
//! // Others may write the same status: it is read and changed again until nobody was faster.
//! gpus.modify(Part::Status, "gpu-0a1b", &PostParams::default(), |gpu| {
//!     gpu.status.recommended_action = Some(RecommendedAction::RestartBm);
//!     Ok(())
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`]: the connection, made by [`Target`] and [`ConnectOptions`]. It is found by
//!   [`Client::try_default`] as existing clients find it, and made anew when it is lost.
//! - [`Api`]: the verbs, for any [`WireResource`]. Code that is to run in the server's process too takes
//!   [`Verbs`](device_api_core::registry::Verbs) instead, which `Api` implements.
//! - [`VerbsExt`]: what writers do again and again, on any handle; [`Provider`]: one that holds a lease.
//! - [`controller`]: a function that is called for each object until that is as it should be.
//! - [`LeaseApi`]: leases, by which a provider says that it lives; [`LeaseHolder`] keeps one.
//! - [`Client::from_service`]: the same `Api` on a server with no socket in between, for tests and embedders.
//! - [`Reflector`]: keeps a [`Store`] of objects true, for any number of readers and subscribers. Under it is a
//!   [`watcher`], a watch that heals by itself.
//! - [`wait::wait_for`]: waits until an object is as one wants it.
//! - `kube` (feature `kube`): what kube's client takes for an API server, so that kube's controllers run on a node's devices.
//! - Errors are [`device_api_core::Error`], equal to those that the registry returned;
//!   [`ConnectError`] is only for making a client.

mod api;
mod bounded;
mod connect;
pub mod controller;
mod error;
mod gpu;
mod holder;
#[cfg(feature = "kube")]
pub mod kube;
mod lease;
mod provider;
mod reflector;
mod store;
mod target;
mod transport;
mod unopened;
pub mod wait;
pub mod watcher;
mod wire;
mod writers;

pub use device_api_core as core;

pub use self::api::Api;
pub use self::connect::{Client, ConnectOptions};
pub use self::error::ConnectError;
pub use self::holder::{LeaseHolder, Tenure};
pub use self::lease::LeaseApi;
pub use self::provider::{Declaration, Provider};
pub use self::reflector::{Reflector, ReflectorOptions};
pub use self::store::{Index, Store, Subscription, Update};
pub use self::target::{DEFAULT_TARGET, TARGET_VARIABLES, Target};
pub use self::transport::Transport;
pub use self::wire::{ApiWatch, WireResource};
pub use self::writers::{Entry, Outcome, VerbsExt, retry_on_conflict};
