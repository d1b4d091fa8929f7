// SPDX-License-Identifier: Apache-2.0
//! The NVML source in the real binary, on the stand-in for NVIDIA's library and on simulated GPUs.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod absence;
mod commands;
mod discovery;
mod faults;
mod hangs;
mod identity;
mod idling;
mod log;
mod made;
mod node;
mod process;
mod providers;
mod stderr;
mod storms;
#[path = "../support/mod.rs"]
mod support;
mod undone;

/// What NVML's functions fail with: nvml.h, `nvmlReturn_t`.
mod outcomes {
    use nvml_standin::Outcome::{self, Fails};

    pub(crate) const UNINITIALIZED: Outcome = Fails(1);
    pub(crate) const NO_PERMISSION: Outcome = Fails(4);
    pub(crate) const NOT_FOUND: Outcome = Fails(6);
    pub(crate) const DRIVER_NOT_LOADED: Outcome = Fails(9);
    pub(crate) const GPU_IS_LOST: Outcome = Fails(15);
    pub(crate) const VERSION_MISMATCH: Outcome = Fails(18);
    pub(crate) const UNKNOWN: Outcome = Fails(999);
}
