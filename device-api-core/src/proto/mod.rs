// SPDX-License-Identifier: Apache-2.0
//! The wire: generated messages, conversions to and from the domain types, and the one table of
//! errors and gRPC statuses.
//!
//! Only this module knows protobuf and gRPC. [`v1alpha1`] holds the messages and, behind the features
//! `grpc-client` and `grpc-server`, the service's two sides. Going out, conversions are `From<&Domain>`;
//! coming in they are `From<Message>`, or `TryFrom<Message>` where a message can hold what the domain
//! type cannot. None of them validates: that is the registry's part.
//!
//! An embedder with a resource of its own reuses [`v1alpha1`]'s metadata, options and conditions (by
//! `extern_path` of its own code generation), their conversions, [`WatchEvent::from_wire`] and
//! [`status`].
//!
//! [`WatchEvent::from_wire`]: crate::registry::WatchEvent::from_wire

mod absent;
mod bounds;
mod device;
mod gpu;
mod lease;
mod meta;
mod options;
pub mod status;

/// The generated code of package `nvidia.nvsentinel.v1alpha1`.
///
/// Committed, never edited: `tests/generated_code.rs` fails when it is not what the `.proto` says.
// The .proto documents every message and most fields; those that it leaves bare mean what they say.
#[allow(missing_docs, unreachable_pub, clippy::missing_errors_doc)]
pub mod v1alpha1 {
    include!("generated/nvidia.nvsentinel.v1alpha1.rs");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the service and all that it imports, for gRPC
/// server reflection.
#[cfg(feature = "grpc-server")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/nvidia.nvsentinel.v1alpha1.bin");

pub use self::absent::{Cleared, keep_absent};
pub use self::gpu::required;

#[cfg(test)]
mod tests;
