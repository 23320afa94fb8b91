//! One port for everything: accepting connections, and ending well.
//!
//! gRPC and HTTP share the port; the protocol is told from a connection's first bytes, and HTTP requests that aren't
//! gRPC are answered here.

mod connection;
mod face;
mod gather;
mod peers;
mod routes;
mod tls;

use crate::access::Access;
use crate::action_cache::ActionCache;
use crate::blobs::BlobStore;
use crate::blobs::disk::DiskBlobStore;
use crate::blobs::in_process::InProcessCas;
use crate::blobs::memory::MemoryCachingStore;
use crate::blobs::metered::{MeteredStore, Traffic};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::results::disk::DiskResultStore;
use crate::scheduler::Scheduler;
use crate::services::{Backend, Origins, RunKey, Watched, cutting};
use anyhow::Context as _;
use face::{Audience, Face, Shared};
use peers::Peers;
use pumphouse_proto::cas::LocalCas;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tls::Encryption;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long streams may take to end once they have been told to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What share of the memory for caches blobs take; results have the rest.
const BLOBS_SHARE_OF_MEMORY: (u64, u64) = (3, 4);

/// A server that has its address and its stores, and serves as soon as it is told to.
pub struct Server {
    listener: TcpListener,
    /// Another one, for workers.
    worker_listener: Option<TcpListener>,
    private_token: Option<String>,
    backend: Backend,
    traffic: Arc<Traffic>,
    local_cas: Arc<InProcessCas>,
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the stores and binds the address: from here on connections wait to be accepted.
    ///
    /// # Errors
    /// Says which address or directory can't be used, and why.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        config.check()?;
        let origins = Origins::new(&config.fetch_origins)?;
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let private = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let worker_listener = match config.worker_listen.or(config.has_private_worker.then_some(private)) {
            None => None,
            Some(listen) => Some(
                TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} for workers"))?,
            ),
        };
        let private_token = if config.has_private_worker { Some(secret()?) } else { None };
        let known_token = private_token.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let access = Access::open(&config.access, known_token)?;
            let encryption = config.tls.as_ref().map(Encryption::open).transpose()?;
            let stores = Stores::open(&config)?;
            let run_key = RunKey::open(&config.dir)?;
            anyhow::Ok((config, access, encryption, run_key, stores))
        });
        let (config, access, encryption, run_key, Stores { blobs, disk, traffic, action_cache }) = opened.await??;
        let scheduler = Scheduler::start(config.scheduler.clone(), Arc::clone(&action_cache) as _);
        let local_cas = Arc::new(InProcessCas::new(Arc::clone(&blobs), disk.clone()));
        let metrics = Arc::new(Metrics::default());
        let shared = Arc::new(Shared { access, encryption, metrics: Arc::clone(&metrics) });
        let backend = Backend {
            config: Arc::new(config),
            blobs,
            action_cache,
            scheduler,
            run_key: Arc::new(run_key),
            cutting: cutting(),
            origins,
            metrics,
            watched: Some(Watched { disk, traffic: Arc::clone(&traffic) }),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        };
        Ok(Self { listener, worker_listener, private_token, backend, traffic, local_cas, shared })
    }

    /// The address that clients connect to.
    ///
    /// # Errors
    /// The system doesn't know it.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address that workers connect to, where they have one of their own.
    ///
    /// # Errors
    /// The system doesn't know it.
    pub fn worker_addr(&self) -> std::io::Result<Option<SocketAddr>> {
        self.worker_listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// What a worker of this process shows at [`Self::worker_addr`], where [`Config::has_private_worker`] was set.
    pub fn private_token(&self) -> Option<&str> {
        self.private_token.as_deref()
    }

    /// The CAS for a worker of this process, which needs no messages for it.
    pub fn local_cas(&self) -> Arc<dyn LocalCas> {
        Arc::clone(&self.local_cas) as _
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
        let (audience, workers) = match (self.private_token, &self.worker_listener) {
            (Some(_), _) => (Audience::Everyone, Audience::PrivateWorker),
            (None, Some(_)) => (Audience::Clients, Audience::Workers),
            (None, None) => (Audience::Everyone, Audience::Workers),
        };
        let face = Face { routes, http: crate::http::router(&self.backend), shared: self.shared, audience };
        let worker_face = Face { audience: workers, ..face.clone() };
        let metrics = Arc::clone(&self.backend.metrics);
        let mut connections = JoinSet::new();
        let stop = CancellationToken::new();
        let config = &self.backend.config;
        let peers = Peers::new(config.connections_per_peer, config.messages_size_bytes);
        let most = config.connections;
        let drained = async {
            shutdown.await;
            tracing::info!("shutting down: no new executions");
            self.backend.scheduler.start_draining();
            self.backend.draining.cancel();
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
                (face, accepted) = async {
                    match &self.worker_listener {
                        None => (&face, self.listener.accept().await),
                        Some(worker_listener) => tokio::select! {
                            accepted = self.listener.accept() => (&face, accepted),
                            accepted = worker_listener.accept() => (&worker_face, accepted),
                        }
                    }
                }, if connections.len() < most => match accepted {
                    Ok((stream, peer)) => match peers.admit(peer.ip()) {
                        Some(admission) => {
                            connections.spawn(connection::serve(stream, peer, admission, face.clone(), stop.clone()));
                            metrics.connections.set(connections.len() as i64);
                        }
                        None => {
                            metrics.refused_connections.inc();
                            tracing::debug!(%peer, "a peer has too many connections; one was closed");
                        }
                    },
                    Err(error) => connection::accept_failed(&error).await,
                },
                Some(_) = connections.join_next() => {
                    metrics.connections.set(connections.len() as i64);
                }
            }
        }
        drop((self.listener, self.worker_listener));
        self.backend.closing.cancel();
        stop.cancel();
        let closed = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// What nobody can guess.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("drawing a secret")?;
    Ok(const_hex::encode(bytes))
}

/// All that is kept on the disk.
struct Stores {
    blobs: Arc<dyn BlobStore>,
    disk: DiskBlobStore,
    traffic: Arc<Traffic>,
    action_cache: Arc<ActionCache>,
}

impl Stores {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let (numerator, denominator) = BLOBS_SHARE_OF_MEMORY;
        let memory = config.memory_size_bytes / denominator * numerator;
        let disk = DiskBlobStore::open(config)?;
        let blobs = MeteredStore::new(MemoryCachingStore::new(disk.clone(), memory));
        let traffic = Arc::clone(blobs.traffic());
        let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
        let results = Arc::new(DiskResultStore::open(config)?);
        let action_cache = Arc::new(ActionCache::new(results, Arc::clone(&blobs)));
        Ok(Self { blobs, disk, traffic, action_cache })
    }
}
