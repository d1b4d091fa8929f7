// SPDX-License-Identifier: Apache-2.0
//! The core of the node-local Device API.
pub mod error;
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
