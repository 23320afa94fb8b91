//! The gRPC services: each turns messages into calls of the stores and the scheduler, and nothing else.
//!
//! Everything that comes in is checked here; an error names the field that is wrong.

pub(crate) mod action_cache;
mod assets;
pub(crate) mod bytestream;
pub(crate) mod capabilities;
pub(crate) mod cas;
mod chunks;
mod compression;
pub(crate) mod execution;
#[cfg(test)]
mod fuzz;
mod operation_name;
pub(crate) mod operations;
pub(crate) mod rate;
mod request;
mod run_seal;
mod tree_pages;
pub(crate) mod workers;

pub(crate) use action_cache::check_result;
pub(crate) use assets::Origins;
pub(crate) use run_seal::RunKey;

use crate::action_cache::ActionCache;
use crate::blobs::BlobStore;
use crate::blobs::disk::DiskBlobStore;
use crate::blobs::metered::Traffic;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::scheduler::Scheduler;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// An answer in several messages.
pub(crate) type AnswerStream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// The stores that are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) disk: DiskBlobStore,
    pub(crate) traffic: Arc<Traffic>,
}

/// What the services share.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) config: Arc<Config>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) action_cache: Arc<ActionCache>,
    pub(crate) scheduler: Scheduler,
    pub(crate) run_key: Arc<RunKey>,
    /// Turns of cutting blobs.
    pub(crate) cutting: Arc<Semaphore>,
    /// From where blobs may be brought.
    pub(crate) origins: Origins,
    pub(crate) metrics: Arc<Metrics>,
    /// The stores behind it, for those who watch; none in tests.
    pub(crate) watched: Option<Watched>,
    /// Cancelled when no new work is taken any more.
    pub(crate) draining: CancellationToken,
    /// Cancelled when streams shall end because the server does.
    pub(crate) closing: CancellationToken,
}

impl Backend {
    /// Whether new work should go elsewhere.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

/// As many turns as there are.
pub(crate) fn cutting() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(chunks::CUT_TOGETHER))
}

/// What ends streams when the server does: clients come back to its successor.
pub(crate) fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down; try again")
}

#[cfg(test)]
impl Backend {
    /// A backend without a network, for tests of services by themselves.
    pub(crate) fn for_test(dir: &std::path::Path) -> Self {
        let config = Config { dir: dir.to_owned(), free_disk_bytes: 0, ..Config::default() };
        let blobs: Arc<dyn BlobStore> = Arc::new(crate::blobs::disk::DiskBlobStore::open(&config).expect("opens"));
        let results = crate::results::memory::MemoryResultStore::new(config.action_cache_size_bytes);
        let action_cache = Arc::new(ActionCache::new(Arc::new(results), Arc::clone(&blobs)));
        let scheduler = Scheduler::start(config.scheduler.clone(), Arc::clone(&action_cache) as _);
        let (draining, closing) = (CancellationToken::new(), CancellationToken::new());
        let (metrics, run_key) = (Arc::default(), Arc::new(RunKey::open(dir).expect("opens")));
        Self {
            config: Arc::new(config),
            blobs,
            action_cache,
            scheduler,
            run_key,
            cutting: cutting(),
            origins: Origins::new(&[]).expect("none is good"),
            metrics,
            watched: None,
            draining,
            closing,
        }
    }
}
