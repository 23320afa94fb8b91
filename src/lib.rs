//! Pumphouse's client side: the launcher, the daemon, the include scanner and the client of any server that speaks the
//! Remote Execution API. The modules stand in the order in which a compile travels; only what the program and the suites
//! need is to be public.

#![deny(unsafe_code)]

/// What a worker is asked to run.
mod action;
/// Hits that are compiled again, to see whether the caches tell the truth.
mod audit;
/// The command line of the sub-commands.
pub mod cli;
/// A command line that is fully understood.
pub mod command;
/// One compile, from its request to its answer.
mod compile;
mod compiler;
/// What can be configured on the client.
mod config;
/// The process that outlives the build.
mod daemon;
/// Why a compile stays local, by name.
pub mod fallback;
/// The file system, remembered and revalidated.
pub mod files;
mod heap;
/// A drop-in for distcc's include server.
mod include_server;
mod inherited;
/// What a compile reads, as a Merkle tree.
mod input_root;
/// What launcher and daemon say to each other.
mod ipc;
/// The process that a build tool starts instead of the compiler.
pub mod launcher;
/// Results by action, on this machine.
pub mod local;
/// What a compile writes, and where.
mod outputs;
/// Any server of the Remote Execution API.
mod remote;
/// Which files a compile reads.
pub mod scan;
mod state_file;
/// What happened to the compiles.
mod stats;
/// The compiler and all that it needs, as inputs.
mod toolchain;
