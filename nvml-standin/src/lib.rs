// SPDX-License-Identifier: Apache-2.0
//! A stand-in for NVIDIA's `libnvidia-ml.so.1`: the functions that the NVML source calls, answered from a
//! script, so that the way through the loader and the binding is tested where there is no GPU.
//!
//! The [`Script`] is a file of JSON beside the library, [`SCRIPT`]. It is looked at for each call, and in a call
//! that hangs or waits again and again, so that a test steers a running program by writing the file. Each copy
//! of the library has a state of its own. What a caller does that NVML does not allow stands in another file
//! beside it, [`COMPLAINTS`], one line each: a call before the initialisation, a handle of an earlier one, a
//! shutdown while calls are under way.
//!
//! A function cannot vanish from a library that is built: to have one missing, write over its name in a copy.

mod device;
mod events;
mod health;
mod script;
mod state;
mod system;

pub use self::script::{Ecc, Event, Fault, Gpu, Mig, Outcome, Remapped, Script};

/// The name of the script's file, in the folder of the library.
pub const SCRIPT: &str = "nvml-standin.json";
/// The name of the file of complaints, in the folder of the library; it is not there when there are none.
pub const COMPLAINTS: &str = "nvml-standin.complaints";
