// SPDX-License-Identifier: Apache-2.0
//! The committed gRPC code is what the `.proto` says.
//!
//! `UPDATE_GENERATED=1 cargo test -p device-api-core --test generated_code` writes it anew. It needs
//! no protobuf compiler: protox is one.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::path::{Path, PathBuf};

const PROTOS: [&str; 2] = ["nvidia/nvsentinel/v1alpha1/gpu.proto", "nvidia/nvsentinel/v1alpha1/lease.proto"];
const CODE: &str = "nvidia.nvsentinel.v1alpha1.rs";
const DESCRIPTORS: &str = "nvidia.nvsentinel.v1alpha1.bin";
const HEADER: &str = "// SPDX-License-Identifier: Apache-2.0
// @generated from proto/nvidia/nvsentinel/v1alpha1/*.proto; see tests/generated_code.rs.
";

fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code and the descriptors, as they should be.
fn generate() -> (Vec<u8>, Vec<u8>) {
    let include = crate_root().join("../proto");
    let compile = |source_info| {
        let mut compiler = protox::Compiler::new([&include]).unwrap();
        compiler.include_imports(true).include_source_info(source_info).open_files(PROTOS).unwrap();
        compiler
    };

    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .btree_map(".")
        // The transport is the caller's: the client sits on any tower service.
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(feature = \"grpc-client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc-server\")]")
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(compile(true).file_descriptor_set())
        .unwrap();
    let code = std::fs::read_to_string(out.path().join(CODE)).unwrap();
    (format!("{HEADER}{code}").into_bytes(), compile(false).encode_file_descriptor_set())
}

fn check(file: &str, expected: &[u8]) {
    let path: PathBuf = crate_root().join("src/proto/generated").join(file);
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is stale: run UPDATE_GENERATED=1 cargo test -p device-api-core --test generated_code",
        path.display()
    );
}

#[test]
fn the_committed_code_and_descriptors_are_those_of_the_proto() {
    let (code, descriptors) = generate();
    check(CODE, &code);
    check(DESCRIPTORS, &descriptors);
}
