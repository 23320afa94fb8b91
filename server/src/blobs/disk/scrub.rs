//! The slow reading of everything that is stored, over and over: what rots where nobody looks is found while somebody still has
//! it.

use parking_lot::{Condvar, Mutex};
use pumphouse_storage::Blobs;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long nothing is read after all of it was.
const REST: Duration = Duration::from_secs(24 * 3600);

/// How long nothing is read after a start.
const START: Duration = Duration::from_secs(60);

/// The thread that reads. It ends when this is dropped, before that returns.
#[derive(Debug)]
pub(super) struct Scrub {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct End {
    has_come: Mutex<bool>,
    news: Condvar,
}

impl End {
    /// Sleeps; `false` as soon as the end has come.
    fn sleep(&self, time: Duration) -> bool {
        let mut has_come = self.has_come.lock();
        self.news.wait_while_for(&mut has_come, |has_come| !*has_come, time);
        !*has_come
    }
}

impl Scrub {
    /// Reads the blobs at that rate.
    pub(super) fn start(blobs: &Arc<Blobs>, bytes_per_second: u64) -> Self {
        let end = Arc::new(End::default());
        let (blobs, known_end) = (Arc::clone(blobs), Arc::clone(&end));
        let scrub = move || {
            let pause = |bytes: u64| known_end.sleep(Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64));
            let mut rest = START;
            while known_end.sleep(rest) {
                blobs.scrub(pause);
                rest = REST;
            }
        };
        let spawned = std::thread::Builder::new().name("scrub".to_owned()).spawn(scrub);
        if let Err(error) = &spawned {
            tracing::warn!(%error, "stored blobs are not looked through for rot");
        }
        Self { end, thread: spawned.ok() }
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        *self.end.has_come.lock() = true;
        self.end.news.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
