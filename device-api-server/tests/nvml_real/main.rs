// SPDX-License-Identifier: Apache-2.0
//! The way through the loader, the binding and the lanes to NVML's library, for which the stand-in stands.

#![allow(clippy::unwrap_used)]

mod events;
mod facts;
mod hangs;
mod health;
mod library;
#[path = "../support/mod.rs"]
mod support;

use device_api_server::source::nvml::driver::{Found, Identity};
use nvml_standin::Gpu;

/// What NVML's functions fail with: nvml.h, `nvmlReturn_t`.
mod outcomes {
    use nvml_standin::Outcome::{self, Fails};

    pub(crate) const NOT_SUPPORTED: Outcome = Fails(3);
    pub(crate) const NO_PERMISSION: Outcome = Fails(4);
    pub(crate) const DRIVER_NOT_LOADED: Outcome = Fails(9);
    pub(crate) const GPU_IS_LOST: Outcome = Fails(15);
    pub(crate) const RESET_REQUIRED: Outcome = Fails(16);
    pub(crate) const VERSION_MISMATCH: Outcome = Fails(18);
    pub(crate) const UNKNOWN: Outcome = Fails(999);
}

/// A GPU of a script, at a place in the list.
fn found(index: u32, gpu: u32) -> Found {
    let Gpu { uuid, pci_bus_id, .. } = Gpu::h100(gpu);
    Found { index, identity: Ok(Identity { uuid, pci_bus_id: Some(pci_bus_id) }) }
}
