// SPDX-License-Identifier: Apache-2.0
//! The gRPC services. Nothing here holds a rule: it translates, calls the registry, translates back.

pub(crate) mod answer;
pub(crate) mod budget;
mod gpu;
pub(crate) mod guard;
mod upload;

pub use self::gpu::GpuApi;
