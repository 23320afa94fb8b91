//! The services as clients see them: a real server on a port of its own, real clients, and workers that speak the
//! worker protocol.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "services/support.rs"]
mod support;

#[path = "services/access.rs"]
mod access;
#[path = "services/action_cache.rs"]
mod action_cache;
#[path = "services/assets.rs"]
mod assets;
#[path = "services/blake3.rs"]
mod blake3;
#[path = "services/bytestream.rs"]
mod bytestream;
#[path = "services/cas.rs"]
mod cas;
#[path = "services/execution.rs"]
mod execution;
#[path = "services/hostile.rs"]
mod hostile;
#[path = "services/http.rs"]
mod http;
#[path = "services/operations.rs"]
mod operations;
#[path = "services/server.rs"]
mod server;
#[path = "services/workers.rs"]
mod workers;
