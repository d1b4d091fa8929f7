// SPDX-License-Identifier: Apache-2.0
//! The NVML source from end to end, in virtual time: a simulated driver below it, an API and its leases above.
//!
//! Each file is about a promise of `docs/nvml.md`, or about what users complain of in programs that read GPU health today.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exceptions for tests do not reach their functions

mod bench;
mod diary;
mod driver_states;
mod ecc;
mod hangs;
mod identity;
mod lost;
mod mig;
mod probe;
mod providers;
mod recovery;
mod replaced;
mod silence;
mod spinning;
mod standing;
mod start;
mod store;
mod store_lost;
mod storms;
mod telemetry;
mod verdicts;
