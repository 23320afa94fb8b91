//! The threads of a directory: one that writes the journal, and one that compares it with the disk where it was not ended in
//! order. Without them, whoever uses a directory does both.

use super::{Directory, Limits};
use crate::error::StorageError;
use crate::volume::{SystemVolume, Volume};
use std::sync::Arc;
use std::time::Duration;

/// How long records are gathered before they are written.
const GATHER: Duration = Duration::from_millis(50);

/// How long a journal that can't be written is left alone.
const JOURNAL_PAUSE: Duration = Duration::from_secs(1);

impl Directory {
    /// Opens the directory and keeps its journal, with the threads that this needs.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn open(volume: SystemVolume, limits: Limits) -> Result<Arc<Self>, StorageError> {
        let (directory, is_whole) = Self::load(Arc::new(volume), limits)?;
        directory.write_journal_in_background();
        if !is_whole {
            directory.check_in_background();
        }
        Ok(directory)
    }

    /// Compares the index with the disk, shard by shard.
    fn check_in_background(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let check = move || {
            // So that whoever asks for something that nobody knows of waits for that alone.
            if let Some(directory) = weak.upgrade() {
                directory.check_packs();
            }
            for shard in 0..=u8::MAX {
                let Some(directory) = weak.upgrade() else { return };
                if let Err(error) = directory.check_shard(shard) {
                    tracing::warn!(%error, "cannot compare the journal with the files");
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("check".to_owned()).spawn(check) {
            tracing::warn!(%error, "cannot compare the journal with the files");
            // Those who wait for that mustn't wait for ever.
            self.check_packs();
        }
    }

    fn write_journal_in_background(&self) {
        let (journal, place) = (Arc::clone(&self.journal), self.volume.place(""));
        let write = move || {
            let mut is_failing = false;
            while journal.wait(if is_failing { JOURNAL_PAUSE } else { GATHER }) {
                let written = journal.flush();
                if let Err(error) = &written
                    && !is_failing
                {
                    tracing::warn!(%error, directory = place, "cannot write the journal: the next start compares all files");
                }
                is_failing = written.is_err();
            }
        };
        match std::thread::Builder::new().name("journal".to_owned()).spawn(write) {
            Ok(writer) => *self.writer.lock() = Some(writer),
            Err(error) => tracing::warn!(%error, "cannot write the journal: the next start compares all files"),
        }
    }
}

impl<V: Volume> Drop for Directory<V> {
    fn drop(&mut self) {
        let Some(writer) = self.writer.get_mut().take() else { return };
        self.journal.stop_waiting();
        let _ = writer.join();
        if let Err(error) = self.end() {
            tracing::warn!(%error, directory = self.volume.place(""), "cannot end the journal: the next start compares all files");
        }
    }
}
