//! Files that are read again when they have changed: credentials are exchanged while a program runs.
//!
//! It does not know what they hold, nor how that is read.

use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often is looked whether a file has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What reads the files at these paths, or says why they can't be used.
pub type Read<T, E> = Box<dyn Fn(&[PathBuf]) -> Result<T, E> + Send + Sync>;

/// What files say that belong together. Where they have become unreadable, or nonsense, it stays what they said before, and they
/// are tried again.
pub struct Reread<T, E> {
    paths: Vec<PathBuf>,
    read: Read<T, E>,
    current: Mutex<Arc<T>>,
    /// Held by whoever looks: others go on with what is known, even where the file system doesn't answer.
    look: Mutex<Look>,
}

struct Look {
    /// The files that were read last.
    stamps: Vec<Option<Stamp>>,
    /// Those that were refused since.
    refused: Option<Vec<Option<Stamp>>>,
    looked: Instant,
}

/// Time of modification, size and number of a file.
type Stamp = (SystemTime, u64, u64);

impl<T, E> fmt::Debug for Reread<T, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reread").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T, E: fmt::Display> Reread<T, E> {
    /// Reads the files at `paths`, of which there may be none.
    ///
    /// # Errors
    /// `read` says no.
    pub fn open(paths: Vec<PathBuf>, read: Read<T, E>) -> Result<Self, E> {
        let stamps = stamps(&paths);
        let current = Mutex::new(Arc::new(read(&paths)?));
        let look = Mutex::new(Look { stamps, refused: None, looked: Instant::now() });
        Ok(Self { paths, read, current, look })
    }

    /// What the files say now, or said a moment ago. Looks at them once a second at most; everybody else takes a lock for as long
    /// as a counter needs.
    pub fn current(&self) -> Arc<T> {
        if let Some(mut look) = self.look.try_lock()
            && look.looked.elapsed() >= LOOK_INTERVAL
        {
            look.looked = Instant::now();
            self.look(&mut look);
        }
        Arc::clone(&self.current.lock())
    }

    fn look(&self, look: &mut Look) {
        let stamps = stamps(&self.paths);
        if stamps == look.stamps {
            return;
        }
        match (self.read)(&self.paths) {
            Ok(new) => {
                tracing::info!(files = ?self.paths, "read again");
                *self.current.lock() = Arc::new(new);
                (look.stamps, look.refused) = (stamps, None);
            }
            // Half written, perhaps, or there was no descriptor for it.
            Err(error) => {
                if look.refused.as_ref() != Some(&stamps) {
                    tracing::warn!("{error:#}; what was read before stays");
                }
                look.refused = Some(stamps);
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn what_changes_is_read_again_and_nonsense_is_not_believed() {
        let path = std::env::temp_dir().join(format!("pumphouse-reread-{}", std::process::id()));
        std::fs::write(&path, "1").expect("written");
        let fails = Arc::new(AtomicBool::new(false));
        let is_failing = Arc::clone(&fails);
        let read = move |paths: &[PathBuf]| {
            let text = std::fs::read_to_string(&paths[0]).map_err(|error| error.to_string())?;
            if is_failing.load(Ordering::Relaxed) {
                return Err("too many open files".to_owned());
            }
            text.parse::<u32>().map_err(|error| error.to_string())
        };
        let number = Reread::open(vec![path.clone()], Box::new(read)).expect("a number");
        assert_eq!(*number.current(), 1);
        let is_seen = |expect: u32| {
            // The next look is due at once.
            number.look.lock().looked = Instant::now().checked_sub(LOOK_INTERVAL).expect("the clock is older");
            assert_eq!(*number.current(), expect);
        };
        for (content, expect) in [("22", 22), ("nonsense", 22), ("333", 333)] {
            std::fs::write(&path, content).expect("written");
            is_seen(expect);
        }
        // What couldn't be read for another reason is read though the file stays as it is.
        std::fs::write(&path, "4444").expect("written");
        fails.store(true, Ordering::Relaxed);
        is_seen(333);
        fails.store(false, Ordering::Relaxed);
        is_seen(4444);
        std::fs::remove_file(&path).expect("removed");
        is_seen(4444);
        assert!(Reread::open(vec![path], number.read).is_err());
    }
}
