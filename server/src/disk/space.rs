//! Room that writers have been promised, and the room that must stay free on the file system.

use super::DiskError;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes are written between two looks at the file system.
const LOOK_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// Accounts of a directory's room.
#[derive(Debug)]
pub(super) struct Space {
    path: PathBuf,
    floor_bytes: u64,
    reserved_bytes: AtomicU64,
    /// What may still be written before the file system must be looked at again.
    allowance_bytes: Mutex<u64>,
}

/// Room that is kept for a file until it is published or given up.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Arc<Space>,
    size_bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved_bytes.fetch_sub(self.size_bytes, Ordering::Relaxed);
    }
}

impl Space {
    pub(super) fn new(path: &Path, floor_bytes: u64) -> Self {
        Self { path: path.to_owned(), floor_bytes, reserved_bytes: AtomicU64::new(0), allowance_bytes: Mutex::new(0) }
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn reserve(self: &Arc<Self>, size_bytes: u64) -> Reservation {
        self.reserved_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        Reservation { space: Arc::clone(self), size_bytes }
    }

    /// Sees to it that `size_bytes` can be written and the floor stays free; `evict` frees some of the
    /// `evictable_bytes`, or says that there is nothing left to free.
    pub(super) fn keep_floor(
        &self,
        size_bytes: u64,
        evictable_bytes: u64,
        mut evict: impl FnMut() -> Result<Option<u64>, DiskError>,
    ) -> Result<(), DiskError> {
        let mut allowance = self.allowance_bytes.lock();
        if *allowance >= size_bytes {
            *allowance -= size_bytes;
            return Ok(());
        }
        let free = self.free_bytes()?;
        let wanted = self.floor_bytes.saturating_add(size_bytes);
        let exhausted = || {
            DiskError::Exhausted(format!(
                "{}: {size_bytes} bytes do not fit: the file system has {free} bytes free, of which {} stay free",
                self.path.display(),
                self.floor_bytes,
            ))
        };
        if free.saturating_add(evictable_bytes) < wanted {
            return Err(exhausted());
        }
        let mut freed = 0;
        while free + freed < wanted {
            freed += evict()?.ok_or_else(exhausted)?;
        }
        *allowance = (free + freed - wanted).min(LOOK_EVERY_BYTES);
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|errno| super::io_error("read the free space of", &self.path, errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
