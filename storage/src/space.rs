//! Room that writers have been promised, and the room that must stay free on the file system.

use crate::error::StorageError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes are written between two looks at the file system.
const LOOK_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// Accounts of a directory's room.
#[derive(Debug)]
pub(crate) struct Space {
    /// The bytes that stay free.
    floor: u64,
    /// The bytes that are promised to writers.
    reserved: AtomicU64,
    /// The bytes that may still be written before the file system must be looked at again.
    allowance: Mutex<u64>,
}

/// Room that is kept for a file until it is published or given up.
#[derive(Debug)]
pub struct Reservation {
    space: Arc<Space>,
    size_bytes: u64,
}

impl Reservation {
    pub(crate) fn grow(&mut self, size_bytes: u64) {
        self.space.reserved.fetch_add(size_bytes, Ordering::Relaxed);
        self.size_bytes += size_bytes;
    }

    pub(crate) fn shrink(&mut self, size_bytes: u64) {
        self.space.reserved.fetch_sub(size_bytes, Ordering::Relaxed);
        self.size_bytes -= size_bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.size_bytes, Ordering::Relaxed);
    }
}

impl Space {
    pub(crate) fn new(floor_bytes: u64) -> Self {
        Self { floor: floor_bytes, reserved: AtomicU64::new(0), allowance: Mutex::new(0) }
    }

    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// An account of nothing yet.
    pub(crate) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { space: Arc::clone(self), size_bytes: 0 }
    }

    /// Sees to it that `size_bytes` can be written and the floor stays free. `free` says what the file system has; `evict`
    /// frees some bytes, or says that nothing more may go.
    pub(crate) fn keep_floor(
        &self,
        size_bytes: u64,
        free: impl FnOnce() -> Result<u64, StorageError>,
        mut evict: impl FnMut() -> Result<Option<u64>, StorageError>,
    ) -> Result<(), StorageError> {
        let mut allowance = self.allowance.lock();
        if *allowance >= size_bytes {
            *allowance -= size_bytes;
            return Ok(());
        }
        let mut free = free()?;
        let wanted = self.floor.saturating_add(size_bytes);
        while free < wanted {
            let Some(freed) = evict()? else {
                let floor_bytes = self.floor;
                return Err(StorageError::Exhausted(format!(
                    "{size_bytes} bytes do not fit: the file system has {free} bytes free, of which {floor_bytes} stay free"
                )));
            };
            free = free.saturating_add(freed);
        }
        *allowance = (free - wanted).min(LOOK_EVERY_BYTES);
        Ok(())
    }
}
