// SPDX-License-Identifier: Apache-2.0
//! Generates the gRPC code of the examples `own_resource` and `bridges`.

use std::path::PathBuf;

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    own_resource()?;
    bridges()
}

// protox compiles .proto files in Rust: nobody needs to install protoc.
fn own_resource() -> Done {
    println!("cargo:rerun-if-changed=own_resource/nic.proto");
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

fn bridges() -> Done {
    println!("cargo:rerun-if-changed=bridges/kubelet");
    let mut compiler = protox::Compiler::new(["bridges/kubelet"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["dra_health.proto", "dra_health_v1alpha1.proto", "device_plugin.proto"])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
