//! Compiles the .proto files without a system `protoc`; `bytes` fields become `bytes::Bytes`.

use prost::Message as _;
use std::error::Error;
use std::path::PathBuf;

const FILES: &[&str] = &[
    "build/bazel/remote/asset/v1/remote_asset.proto",
    "build/bazel/remote/execution/v2/remote_execution.proto",
    "build/bazel/semver/semver.proto",
    "google/bytestream/bytestream.proto",
    "google/longrunning/operations.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "pumphouse/worker/v1/worker.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut messages = tonic_prost_build::Config::new();
    messages.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    let digest = (".build.bazel.remote.execution.v2.Digest", "crate::digest::DigestMessage");
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(digest.0, digest.1)
        .compile_fds_with_config(descriptors, messages)?;
    Ok(())
}
