// SPDX-License-Identifier: Apache-2.0
//! Generates the gRPC code of the example `own_resource`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=own_resource/nic.proto");
    // protox compiles .proto files in Rust: nobody needs to install protoc.
    let mut compiler = protox::Compiler::new(["own_resource", "../proto"])?;
    compiler.include_source_info(true).include_imports(true).open_file("nic.proto")?;
    tonic_prost_build::configure()
        // What every resource has is there already, conversions included.
        .extern_path(".nvidia.nvsentinel.v1alpha1", "::device_api_core::proto::v1alpha1")
        // device-api-client brings the connection.
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    // For reflection: with it a client needs no .proto file.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("nic.bin"), compiler.encode_file_descriptor_set())?;
    Ok(())
}
