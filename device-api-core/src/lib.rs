// SPDX-License-Identifier: Apache-2.0
//! The core of the node-local Device API: a resource model, a storage trait and a registry with
//! Kubernetes' semantics, to embed in a daemon of one's own.
//!
//! - [`resource`]: what an object is; the [`Gpu`](resource::Gpu), and the [`Resource`](resource::Resource)
//!   trait for types of your own.
//! - [`registry`]: the verbs (get, list, watch, create, replace, patch, delete) with resource versions,
//!   optimistic concurrency and history.
//! - [`lease`]: how providers say that they live.
//! - [`storage`]: the [`Storage`](storage::Storage) trait that a backend implements, a journal of four calls.
//! - [`patch`] and [`selector`]: JSON, merge and strategic merge patches; label and field selectors.
//! - [`health`]: whether a device is healthy, from the conditions of all its providers.
//! - [`error`]: the one error, the same in process and over gRPC.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use device_api_core::registry::{Ledger, LedgerOptions, PostParams, WatchEvent, WatchParams};
//! use device_api_core::resource::{Gpu, GpuSpec, GpuStrategy, ObjectMeta};
//! use device_api_store_memory::Memory;
//!
//! let ledger = Ledger::open(Box::new(Memory::new().open()?), LedgerOptions::default()).await?;
//! let gpus = ledger.registry(GpuStrategy).await?;
//!
//! let gpu = Gpu {
//!     metadata: ObjectMeta::named("gpu-0a1b"),
//!     spec: GpuSpec { uuid: "GPU-0a1b".into() },
//!     ..Gpu::default()
//! };
//! let created = gpus.create(&PostParams::default(), &gpu).await?;
//! assert_eq!(created.metadata.generation, 1);
//!
//! let mut watch = gpus.watch(&WatchParams::default()).await?;
//! assert_eq!(watch.next().await.transpose()?, Some(WatchEvent::Added(created)));
//! ledger.close().await?;
//! # Ok(()) }
//! ```
//!
//! # Features
//! None is on by default, and then there is neither protobuf nor gRPC in the dependency tree.
//! - `proto`: the protobuf messages, conversions, and the table of errors and gRPC statuses.
//! - `grpc-client`, `grpc-server`: `proto` and the generated client or server.
//! - `testing`: the conformance suite that every storage backend must pass, storage and calls that fail
//!   on purpose, and a clock that a test moves.
//!
//! # Where to go from here
//! `device-api-server` serves a registry over a unix socket, `device-api-client` talks to it, and
//! `examples/` has programs for each kind of use.

pub mod error;
pub mod health;
pub mod lease;
pub mod patch;
#[cfg(feature = "proto")]
pub mod proto;
pub mod registry;
pub mod resource;
pub mod selector;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::{Error, Result};
