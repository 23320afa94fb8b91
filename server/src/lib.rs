//! Pumphouse's server: CAS, action cache and scheduler behind the Remote Execution API v2.
//!
//! It knows clients and workers only by what they send; it runs nothing itself.

#![forbid(unsafe_code)]

/// Who may do what.
pub mod access;
/// What a server is told.
pub mod config;
/// Serving all of it on one port.
pub mod server;

/// Results that are answered only while what they name is there.
pub mod action_cache;
/// The storage of blobs.
pub mod blobs;
mod budget;
mod http;
mod metrics;
mod reload;
/// The storage of results.
pub mod results;
/// Which worker runs what.
pub mod scheduler;
mod services;
mod settled;

pub use config::Config;
pub use server::Server;

/// Binds and serves until `shutdown` completes, then drains.
///
/// # Errors
/// The address can't be bound, or the directory can't be opened.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    Server::bind(config).await?.serve(shutdown).await
}
