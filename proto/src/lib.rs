//! What every part of Pumphouse shares: the Remote Execution API's messages and the rules about them.

#![forbid(unsafe_code)]

/// A server's address as users write it.
pub mod address;
/// A CAS, wherever it is.
pub mod cas;
/// Blobs to and from a server's CAS.
pub mod cas_client;
/// Connections to a server, and how whoever connects becomes known there.
pub mod connection;
/// Content by name.
pub mod digest;
/// How many entries messages list.
pub mod entries;
#[cfg(test)]
mod fuzz;
mod generated;
/// Every limit that more than one part must agree on.
pub mod limits;
/// Files that are read again when they have changed.
pub mod reread;
/// The names of blobs in byte streams.
pub mod resource_name;
/// When a call is tried again.
pub mod retry;
/// Sizes as people write them.
pub mod size;
/// Statuses and their details.
pub mod status;
/// Merkle trees of directories.
pub mod tree;

pub use generated::FILE_DESCRIPTOR_SET;
/// `build.bazel.remote.execution.v2`
pub mod reapi {
    pub use crate::digest::DigestMessage as Digest;
    pub use crate::generated::build::bazel::remote::execution::v2::*;
}
/// `build.bazel.remote.asset.v1`
pub use generated::build::bazel::remote::asset::v1 as asset;
/// `build.bazel.semver`
pub use generated::build::bazel::semver;
/// `google.bytestream`, `google.longrunning`, `google.rpc`
pub use generated::google::{bytestream, longrunning, rpc};
/// `pumphouse.worker.v1`
pub use generated::pumphouse::worker::v1 as worker;
