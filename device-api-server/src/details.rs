// SPDX-License-Identifier: Apache-2.0
//! The types of the details of errors, for reflection: generic clients such as grpcurl print details only when they
//! find their types.

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic_reflection::server::Builder;

/// Where `google.rpc` is everywhere but in tonic's copy.
const FOLDER: &str = "google/rpc/";

/// Shows the types of `google/rpc/error_details.proto` and `google/rpc/status.proto`.
pub(crate) fn register(builder: Builder<'static>) -> Builder<'static> {
    let encoded = tonic_types::pb::FILE_DESCRIPTOR_SET;
    match FileDescriptorSet::decode(encoded) {
        Ok(files) => builder.register_file_descriptor_set(placed(files)),
        // The builder says what is wrong with it.
        Err(_) => builder.register_encoded_file_descriptor_set(encoded),
    }
}

/// The files under the names by which clients know and import them.
fn placed(mut files: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut files.file {
        let names = file.dependency.iter_mut().chain(file.name.as_mut());
        for name in names.filter(|name| !name.contains('/')) {
            name.insert_str(0, FOLDER);
        }
    }
    files
}
