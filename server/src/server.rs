//! One port for everything: accepting connections, and ending well.
//!
//! gRPC and HTTP share the port; the protocol is told from a connection's first bytes, and HTTP requests that aren't
//! gRPC are answered here.

mod connection;
mod peers;
mod routes;

use crate::action_cache::ActionCache;
use crate::blobs::BlobStore;
use crate::blobs::disk::DiskBlobStore;
use crate::blobs::memory::MemoryCachingStore;
use crate::blobs::metered::{MeteredStore, Traffic};
use crate::config::Config;
use crate::scheduler::{ResultStore, Scheduler};
use crate::services::Backend;
use anyhow::Context as _;
use peers::Peers;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long streams may take to end once they have been told to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections are open at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 16_384;

/// What share of the memory for caches blobs take; results have the rest.
const BLOBS_SHARE_OF_MEMORY: (u64, u64) = (3, 4);

/// A server that has its address and its stores, and serves as soon as it is told to.
pub struct Server {
    listener: TcpListener,
    backend: Backend,
    traffic: Arc<Traffic>,
}

impl Server {
    /// Opens the stores and binds the address: from here on connections wait to be accepted.
    ///
    /// # Errors
    /// Says which address or directory can't be used, and why.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let opened = tokio::task::spawn_blocking(move || {
            let stores = Stores::open(&config)?;
            anyhow::Ok((config, stores))
        });
        let (config, Stores { blobs, traffic, action_cache }) = opened.await??;
        let results: Arc<dyn ResultStore> = Arc::clone(&action_cache) as _;
        let scheduler = Scheduler::start(config.scheduler.clone(), results);
        let closing = CancellationToken::new();
        let backend = Backend { config: Arc::new(config), blobs, action_cache, scheduler, closing };
        Ok(Self { listener, backend, traffic })
    }

    /// The address that clients connect to.
    ///
    /// # Errors
    /// The system doesn't know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The scheduler, for those who want to look.
    pub fn scheduler(&self) -> &Scheduler {
        &self.backend.scheduler
    }

    /// What has gone through the CAS, for those who want to look.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Serves until `shutdown` completes; then takes no new executions, lets those under way end within the drain
    /// time, and closes.
    ///
    /// # Errors
    /// The services can't be described to clients that ask for reflection.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (routes, health) = routes::routes(&self.backend).await?;
        let mut connections = JoinSet::new();
        let stop = CancellationToken::new();
        let peers = Peers::new();
        let drained = async {
            shutdown.await;
            tracing::info!("shutting down: no new executions");
            self.backend.scheduler.start_draining();
            health.draining().await;
            let drained =
                tokio::time::timeout(self.backend.config.drain_timeout, self.backend.scheduler.drained()).await;
            if drained.is_err() {
                tracing::warn!("some executions did not end within the drain time; workers go on with them");
            }
        };
        tokio::pin!(drained);
        loop {
            tokio::select! {
                () = &mut drained => break,
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, peer)) => match peers.admit(peer.ip()) {
                        Some(admission) => {
                            connections.spawn(connection::serve(stream, peer, admission, routes.clone(), stop.clone()));
                        }
                        None => tracing::debug!(%peer, "a peer has too many connections; one was closed"),
                    },
                    Err(error) => connection::accept_failed(&error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        self.backend.closing.cancel();
        stop.cancel();
        let closed = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// All that is kept on the disk.
struct Stores {
    blobs: Arc<dyn BlobStore>,
    traffic: Arc<Traffic>,
    action_cache: Arc<ActionCache>,
}

impl Stores {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let (numerator, denominator) = BLOBS_SHARE_OF_MEMORY;
        let memory = config.memory_size_bytes / denominator * numerator;
        let blobs = MeteredStore::new(MemoryCachingStore::new(DiskBlobStore::open(config)?, memory));
        let traffic = Arc::clone(blobs.traffic());
        let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
        let action_cache = Arc::new(ActionCache::open(config, Arc::clone(&blobs))?);
        Ok(Self { blobs, traffic, action_cache })
    }
}
