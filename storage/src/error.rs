//! Why a file can't be stored or read.

use std::io;

/// Why a file can't be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no room, and nothing that could make room.
    #[error("{0}")]
    Exhausted(String),
    /// The system says no.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: io::Error,
    },
}
