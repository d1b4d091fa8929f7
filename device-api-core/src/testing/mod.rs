// SPDX-License-Identifier: Apache-2.0
//! The suite that every storage backend must pass, and storage that fails on purpose.
//!
//! A backend implements [`Backend`] for its tests, and its whole test file, with `harness = false`
//! in `Cargo.toml`, is
//!
//! ```no_run
//! use device_api_core::storage::{Storage, StorageError};
//! use device_api_core::testing::{Backend, Site, Tear, run};
//! # #[derive(Debug)] struct MyStore;
//! # impl MyStore { async fn at(_: &str) -> Result<Box<dyn Storage>, StorageError> { unimplemented!() } }
//!
//! #[derive(Debug)]
//! struct Mine;
//! #[derive(Debug)]
//! struct Folder(String);
//!
//! #[async_trait::async_trait]
//! impl Backend for Mine {
//!     fn name(&self) -> &str { "mine" }
//!     async fn create(&self) -> Result<Box<dyn Site>, StorageError> { Ok(Box::new(Folder("…".to_owned()))) }
//! }
//!
//! #[async_trait::async_trait]
//! impl Site for Folder {
//!     async fn open(&self) -> Result<Box<dyn Storage>, StorageError> { MyStore::at(&self.0).await }
//!     // One that outlives its process copies its files, and tears its last write: see `Site::tear`.
//!     async fn tear(&self, _: &Tear) -> Result<Option<Box<dyn Site>>, StorageError> { Ok(None) }
//! }
//!
//! fn main() {
//!     run(Mine)
//! }
//! ```
//!
//! The cases stand in lists here, so a backend cannot leave one out. Those with random numbers print
//! their seed, and take it from `DEVICE_API_SEED`.
//!
//! A backend is tested alone, and then with a registry on it: [`contract`] has what every server of
//! the API promises, in process and over the wire alike, [`leases`] the same of leases, [`local`] what needs the inside.
//!
//! What green does not prove:
//! - that what was acknowledged is on the disk: a backend that never syncs passes, for only the last write is torn, where the backend's own
//!   [`Site::tear`] says that it began;
//! - that damage in the middle of a file is noticed: it is each backend's own format that tells, and its own tests;
//! - that a disk that is really full, read-only or failing is told apart, that files which are deleted or replaced under it are noticed, or that
//!   it keeps other processes out;
//! - that it is fast, or stays small.
//!
//! For tests of code that uses the API there are a [`ManualClock`], [`FaultyVerbs`] and [`FaultyLeases`]: any handle,
//! whose calls fail, hang and break off when the test says so.

// Cases fail by panicking, as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod backend;
mod calls;
mod clock;
mod compaction;
pub mod contract;
mod expect;
mod faults;
mod faulty;
mod given;
mod journal;
pub mod leases;
pub mod linearizability;
pub mod local;
mod model;
mod power;
mod quarantine;
mod records;
mod schedule;
mod seed;
mod suite;

pub use self::backend::{Backend, Case, CaseFuture, Rest, Site, Tear, run};
pub use self::calls::{CallFault, CallFaults, FaultyLeases, FaultyVerbs, FaultyWatch, Verb, WatchFault};
pub use self::clock::ManualClock;
pub use self::faulty::{Call, Fault, Faults, FaultyStorage};

/// Every list of cases.
const LISTS: &[&[Case]] = &[journal::CASES, compaction::CASES, power::CASES, quarantine::CASES];

/// A list of cases, named after their functions, which take an `Arc<dyn Site>`.
macro_rules! cases {
    ($list:literal: $($case:ident),+ $(,)?) => {
        &[$($crate::testing::Case::new(concat!($list, "::", stringify!($case)), |site| Box::pin($case(site)))),+]
    };
}
use cases;
