// SPDX-License-Identifier: Apache-2.0
//! The gRPC services. Nothing here holds a rule: it translates, calls the registry, translates back.

mod gpu;
pub(crate) mod in_flight;
pub(crate) mod layers;

pub use self::gpu::GpuApi;
