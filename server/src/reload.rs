//! Files that are read again when they have changed: credentials are exchanged while a server runs.

use parking_lot::Mutex;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often is looked whether a file has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest file.
const FILE_SIZE_BYTES: u64 = 16 * 1024 * 1024;

/// What reads the content of the files at these paths.
type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> anyhow::Result<T> + Send + Sync>;

/// What files say. One that has become unreadable, or nonsense, leaves what it said before.
pub(crate) struct Reloaded<T> {
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    current: Mutex<Arc<T>>,
    /// Held by whoever looks: others go on with what is known, even where the file system doesn't answer.
    look: Mutex<Look>,
}

struct Look {
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
}

/// Time of modification, size and number of a file.
type Stamp = (SystemTime, u64, u64);

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reloaded").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T> Reloaded<T> {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It can't be read, or `parse` says no; names it.
    pub(crate) fn open(path: &Path, parse: fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Self>
    where
        T: 'static,
    {
        let parse = move |contents: &[Vec<u8>]| parse(std::str::from_utf8(&contents[0])?);
        Self::open_all(vec![path.to_owned()], Box::new(parse))
    }

    /// Reads files that belong together: their contents come in order.
    ///
    /// # Errors
    /// One can't be read, or `parse` says no; names them.
    pub(crate) fn open_all(paths: Vec<PathBuf>, parse: Parse<T>) -> anyhow::Result<Self> {
        let stamps = paths.iter().map(|path| stamp(path)).collect();
        let current = Mutex::new(Arc::new(read(&paths, &parse)?));
        let look = Mutex::new(Look { stamps, looked: Instant::now() });
        Ok(Self { paths, parse, current, look })
    }

    /// What the files say now, or said a moment ago.
    pub(crate) fn current(&self) -> Arc<T> {
        if let Some(mut look) = self.look.try_lock()
            && look.looked.elapsed() >= LOOK_INTERVAL
        {
            look.looked = Instant::now();
            let stamps: Vec<_> = self.paths.iter().map(|path| stamp(path)).collect();
            if stamps != look.stamps {
                match read(&self.paths, &self.parse) {
                    Ok(new) => {
                        tracing::info!(files = ?self.paths, "read again");
                        *self.current.lock() = Arc::new(new);
                    }
                    // Half written, perhaps: then it changes once more.
                    Err(error) => tracing::warn!("{error:#}; what was read before stays"),
                }
                look.stamps = stamps;
            }
        }
        Arc::clone(&self.current.lock())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read<T>(paths: &[PathBuf], parse: &Parse<T>) -> anyhow::Result<T> {
    use anyhow::Context as _;
    use std::io::Read as _;
    let names = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut contents = Vec::new();
    for path in paths {
        let mut content = Vec::new();
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        file.take(FILE_SIZE_BYTES).read_to_end(&mut content).with_context(|| path.display().to_string())?;
        contents.push(content);
    }
    parse(&contents).with_context(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_read_again_and_nonsense_is_not_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("number");
        std::fs::write(&path, "1").expect("written");
        let number = Reloaded::open(&path, |text| Ok(text.parse::<u32>()?)).expect("a number");
        assert_eq!(*number.current(), 1);
        let is_seen = |content: &str, expect: u32| {
            std::fs::write(&path, content).expect("written");
            // The next look is due at once.
            number.look.lock().looked = Instant::now().checked_sub(LOOK_INTERVAL).expect("the clock is older");
            assert_eq!(*number.current(), expect, "{content:?}");
        };
        is_seen("22", 22);
        is_seen("nonsense", 22);
        is_seen("333", 333);
        let error = Reloaded::open(&dir.path().join("absent"), |text| Ok(text.parse::<u32>()?)).expect_err("is absent");
        assert!(format!("{error:#}").contains("absent"), "{error:#}");
    }
}
