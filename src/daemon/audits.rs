//! When hits are compiled again: while the daemon has nothing else to do, one at a time, for a small share of the time.

use super::Daemon;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// How long a daemon has nothing to do before it compiles hits again.
const AUDIT_REST: Duration = Duration::from_secs(3);

/// How many times as long as an audit took no other begins: audits take at most a twentieth of one processor.
const AUDIT_PAUSE: u32 = 19;

/// The audit that runs, which ends with this value.
#[derive(Debug)]
pub(super) struct Audits {
    running: Option<AbortOnDropHandle<Duration>>,
    not_before: Instant,
}

impl Audits {
    pub(super) fn new() -> Self {
        Self { running: None, not_before: Instant::now() }
    }

    /// Begins an audit if it is time for one. Called while no compile is served.
    pub(super) async fn tick(&mut self, daemon: &Arc<Daemon>) {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            let took = running.await.unwrap_or_default();
            self.not_before = Instant::now() + took * AUDIT_PAUSE;
        }
        if self.running.is_some() || Instant::now() < self.not_before || daemon.idle_time() < AUDIT_REST {
            return;
        }
        let daemon = Arc::clone(daemon);
        self.running = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let start = Instant::now();
            tokio::select! {
                biased;
                // The user's compiles come first.
                () = daemon.used.notified() => {}
                _ = daemon.handler.audit_next() => {}
            }
            start.elapsed()
        })));
    }
}
