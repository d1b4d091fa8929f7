// SPDX-License-Identifier: Apache-2.0
//! Sources: what finds the devices of this node and keeps their objects true.
//!
//! A source is a client of the API like any other: it writes through
//! [`Verbs`](device_api_core::registry::Verbs), in this process or in one of its own.

mod doubt;
mod entry;
mod flags;
mod lease;
mod merge;
pub mod nvml;
mod observation;
pub(crate) mod pause;
mod reconcile;
pub mod simulated;
mod told;

pub use self::flags::{NvmlFlags, NvmlMode, Source, SourceError};
pub use self::merge::{ACKNOWLEDGE_XIDS, MANAGED_BY};
