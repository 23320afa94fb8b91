//! Conformance to the Remote Execution API, over bare gRPC: what clients rely on and servers get wrong.
//!
//! **Source:** the comments of `remote_execution.proto` and `bytestream.proto`, and the behaviour of Bazel's client.

mod actions;
mod capabilities;
mod conformance;
mod storage;
