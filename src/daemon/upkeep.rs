//! What a daemon writes now and then, beside all else: a state directory that does not answer keeps nobody waiting.

use super::Daemon;
use crate::heap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// How long a daemon has nothing to do before it keeps what it has learned since.
const REST: Duration = Duration::from_secs(10);

/// The writing that goes on, and what was written last.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    running: Option<JoinHandle<()>>,
    remembered_use: u64,
}

impl Upkeep {
    /// Begins to write what there is to write, unless that goes on since the last time. A daemon that is killed leaves what it
    /// kept when it last had nothing to do, so that is when it keeps it.
    pub(super) fn tick(&mut self, daemon: &Arc<Daemon>, compiles: &TaskTracker) {
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let last_use = daemon.last_use_ms.load(Ordering::Relaxed);
        let rests = compiles.is_empty() && self.remembered_use != last_use && daemon.idle_time() >= REST;
        if rests {
            self.remembered_use = last_use;
        }
        let daemon = Arc::clone(daemon);
        self.running = Some(tokio::spawn(async move {
            flush(&daemon).await;
            if rests {
                remember(&daemon).await;
            }
        }));
    }
}

/// Adds what was counted to the statistics on disk, and takes a configuration that has changed meanwhile. That it fails is said
/// once, until it succeeds again.
pub(super) async fn flush(daemon: &Arc<Daemon>) {
    let (statistics, settings) = (Arc::clone(&daemon.statistics), Arc::clone(&daemon.settings));
    let work = move || {
        settings.refresh();
        statistics.flush()
    };
    let flushed = match tokio::task::spawn_blocking(work).await {
        Ok(flushed) => flushed,
        Err(error) => Err(std::io::Error::other(error)),
    };
    let failed_before = daemon.flush_failed.swap(flushed.is_err(), Ordering::Relaxed);
    if let (Err(error), false) = (flushed, failed_before) {
        tracing::warn!(%error, "writing the statistics");
    }
}

/// Writes what the next daemon can use, and keeps no memory that is free.
pub(super) async fn remember(daemon: &Arc<Daemon>) {
    let handler = Arc::clone(&daemon.handler);
    let rest = move || {
        handler.remember();
        heap::give_back();
    };
    if let Err(error) = tokio::task::spawn_blocking(rest).await {
        tracing::warn!(%error, "keeping what was learned");
    }
}
