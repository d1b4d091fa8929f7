// SPDX-License-Identifier: Apache-2.0
//! The gRPC services. Nothing here holds a rule: it translates, calls the registry, translates back.

mod answer;
pub(crate) mod budget;
mod gpu;
pub(crate) mod guard;
pub(crate) mod in_flight;
mod lease;
pub(crate) mod refusals;
mod upload;

pub use self::gpu::GpuApi;
pub use self::lease::LeaseApi;
