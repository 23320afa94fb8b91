//! Blocking work of compiles, in turns: as much at a time as there are processors for it, and never so that a file system
//! that has stopped answering keeps compiles elsewhere waiting.
//!
//! Work that takes long gives its turn up to others, and goes on beside them. What bounds it then is its directory: no
//! working directory has more work than there are turns. Once the work of one has taken longer than any should, its compiles
//! are sent to their launchers, at once as long as that work goes on. What hangs is not known here, and need not be the
//! directory itself.
//!
//! Invariants: a turn comes back within [`Limits::long`]; nobody waits for a directory whose work has taken
//! [`Limits::silence`].

use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until, timeout};

/// How long work has its turn.
const LONG: Duration = Duration::from_millis(500);

/// How long work may take: a first look at a large project on a slow disk and a busy machine does not.
const HANG_LIMIT: Duration = Duration::from_secs(60);

/// What work may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Before its turn is another's.
    pub(super) long: Duration,
    /// Before its directory's compiles are sent away.
    pub(super) silence: Duration,
}

/// The turns, and who has work in which directory.
#[derive(Debug)]
pub(super) struct Turns {
    count: usize,
    limits: Limits,
    free: Arc<Semaphore>,
    /// Those in which work is done or waits: as many as there are launchers, and threads that hang.
    directories: Arc<Mutex<HashMap<PathBuf, Directory>>>,
}

#[derive(Debug)]
struct Directory {
    places: Arc<Semaphore>,
    /// How much work is done in it or waits for it.
    uses: usize,
    /// When the work that is done in it began, by the number that tells it from other work.
    running: HashMap<u64, Instant>,
    next: u64,
}

/// Why work has no result.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// It, or other work of its directory, takes too long: a file system does not answer.
    Silent,
    /// It panicked.
    Panicked(JoinError),
}

impl Default for Turns {
    fn default() -> Self {
        // One more than can run, since each also waits for the disk now and then.
        Self::new(crate::config::processors() + 1, Limits { long: LONG, silence: HANG_LIMIT })
    }
}

impl Turns {
    pub(super) fn new(count: usize, limits: Limits) -> Self {
        Self { count, limits, free: Arc::new(Semaphore::new(count)), directories: Arc::default() }
    }

    /// Does `work` where it may block, for a compile in `directory`. Work that takes too long goes on, and `give_up` is asked
    /// whether it may: where it says no, the end is awaited. Dropped, this forgets work that has begun.
    ///
    /// # Errors
    /// The work has no result.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        directory: &Path,
        give_up: impl FnOnce() -> bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let mut stay = self.enter(directory);
        let place = self.place(directory, &stay).await?;
        let turn = Arc::clone(&self.free).acquire_owned().await.ok();
        let since = stay.begins();
        let mut done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            drop(stay);
            result
        });
        if let Ok(done) = timeout(self.limits.long, &mut done).await {
            return done.map_err(Unfinished::Panicked);
        }
        drop(turn);
        if let Ok(done) = tokio::time::timeout_at(since + self.limits.silence, &mut done).await {
            return done.map_err(Unfinished::Panicked);
        }
        if give_up() { Err(Unfinished::Silent) } else { done.await.map_err(Unfinished::Panicked) }
    }

    fn enter(&self, path: &Path) -> Stay {
        let mut directories = self.directories.lock();
        match directories.get_mut(path) {
            Some(directory) => directory.uses += 1,
            None => {
                let places = Arc::new(Semaphore::new(self.count));
                let directory = Directory { places, uses: 1, running: HashMap::new(), next: 0 };
                directories.insert(path.to_owned(), directory);
            }
        }
        drop(directories);
        Stay { directories: Arc::clone(&self.directories), path: path.to_owned(), number: None }
    }

    /// A place among the work of `directory`, unless it is silent.
    async fn place(&self, directory: &Path, stay: &Stay) -> Result<OwnedSemaphorePermit, Unfinished> {
        let acquired = stay.with(|directory| Arc::clone(&directory.places)).acquire_owned();
        tokio::pin!(acquired);
        loop {
            let oldest = stay.with(|directory| directory.running.values().min().copied());
            let silent_at = oldest.map(|oldest| oldest + self.limits.silence);
            if silent_at.is_some_and(|silent_at| silent_at <= Instant::now()) {
                tracing::debug!(directory = %directory.display(), "its files do not answer");
                return Err(Unfinished::Silent);
            }
            // Where those that have the places wait for their turns still, there is time to look again.
            let look_at = silent_at.unwrap_or_else(|| Instant::now() + self.limits.silence);
            tokio::select! {
                biased;
                place = &mut acquired => return Ok(place.expect("the semaphore is never closed")),
                () = sleep_until(look_at) => {}
            }
        }
    }
}

/// A compile's stay among the work of a directory.
#[derive(Debug)]
struct Stay {
    directories: Arc<Mutex<HashMap<PathBuf, Directory>>>,
    path: PathBuf,
    number: Option<u64>,
}

impl Stay {
    fn with<T>(&self, look: impl FnOnce(&mut Directory) -> T) -> T {
        look(self.directories.lock().get_mut(&self.path).expect("a directory stays as long as it has uses"))
    }

    /// Notes that its work begins, and gives when.
    fn begins(&mut self) -> Instant {
        let now = Instant::now();
        self.number = Some(self.with(|directory| {
            directory.next += 1;
            directory.running.insert(directory.next, now);
            directory.next
        }));
        now
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut directories = self.directories.lock();
        let Some(directory) = directories.get_mut(&self.path) else { return };
        if let Some(number) = self.number {
            directory.running.remove(&number);
        }
        directory.uses -= 1;
        if directory.uses == 0 {
            directories.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Work that hangs until the sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (sender, receiver) = mpsc::channel::<()>();
        let work = move || {
            let _ = receiver.recv();
        };
        (sender, work)
    }

    fn turns(count: usize, silence: Duration) -> Arc<Turns> {
        Arc::new(Turns::new(count, Limits { long: Duration::from_millis(10), silence }))
    }

    #[tokio::test]
    async fn work_that_hangs_leaves_other_directories_alone() {
        let turns = turns(2, Duration::from_secs(1000));
        let (ends, hung): (Vec<_>, Vec<_>) = (0..5)
            .map(|_| {
                let ((end, work), turns) = (hanging(), Arc::clone(&turns));
                (end, tokio::spawn(async move { turns.take(Path::new("/dead"), || true, work).await.is_ok() }))
            })
            .unzip();
        // One after the other, more than there are turns.
        for number in 0..6 {
            let done = turns.take(Path::new("/alive"), || true, move || number).await;
            assert_eq!(done.expect("done"), number);
        }
        drop(ends);
        for hung in hung {
            assert!(hung.await.expect("runs"), "what hung is done in the end");
        }
        assert!(turns.directories.lock().is_empty());
    }

    #[tokio::test]
    async fn a_silent_directory_sends_its_compiles_away_until_it_answers() {
        let turns = turns(2, Duration::from_millis(50));
        let (end, work) = hanging();
        let silent = turns.take(Path::new("/dead"), || true, work).await;
        assert!(matches!(silent, Err(Unfinished::Silent)));
        // From then on at once.
        let next = turns.take(Path::new("/dead"), || panic!("nothing was begun"), || ()).await;
        assert!(matches!(next, Err(Unfinished::Silent)));
        assert!(turns.take(Path::new("/alive"), || true, || ()).await.is_ok());
        drop(end);
        while turns.take(Path::new("/dead"), || true, || ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_was_forgotten_makes_its_directory_silent_all_the_same() {
        let turns = turns(1, Duration::from_millis(50));
        let (_end, work) = hanging();
        let forgotten = timeout(Duration::from_millis(20), turns.take(Path::new("/dead"), || true, work)).await;
        assert!(forgotten.is_err());
        let next = turns.take(Path::new("/dead"), || true, || ()).await;
        assert!(matches!(next, Err(Unfinished::Silent)));
    }

    #[tokio::test]
    async fn what_may_not_be_given_up_is_awaited() {
        let turns = turns(1, Duration::from_millis(20));
        let (end, work) = hanging();
        let mut end = Some(end);
        let done = turns.take(Path::new("/slow"), move || end.take().is_none(), work).await;
        assert!(done.is_ok());
    }
}
