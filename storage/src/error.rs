//! Why a file can't be stored or read, and what that says about the next attempt.

use rustix::io::Errno;
use std::io;

/// Why a file can't be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no room, and nothing that could make room.
    #[error("{0}")]
    Exhausted(String),
    /// The system can't do it now, for a reason that passes: the same may succeed when it is tried again.
    #[error("cannot {operation} {path} now: {source}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The system says no, and will say so again.
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

impl StorageError {
    /// The failure of `operation` on what is at `path`.
    pub(crate) fn new(operation: &'static str, path: String, source: io::Error) -> Self {
        if passes(&source) {
            Self::Unavailable { operation, path, source }
        } else {
            Self::Io { operation, path, source }
        }
    }
}

/// Whether what the system can't do now, it may do when it is tried again: it lacks what others give back (descriptors, memory),
/// was disturbed, or doesn't reach the machine on which the files are. What a disk can't read or write, or nobody may, stays so.
fn passes(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else {
        return matches!(
            error.kind(),
            io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        );
    };
    matches!(
        errno,
        Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::AGAIN
            | Errno::INTR
            | Errno::BUSY
            | Errno::TIMEDOUT
            // The file is another one on the server by now: the next attempt opens that.
            | Errno::STALE
            | Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NETRESET
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let is_unavailable = |errno: Errno| {
            let error = StorageError::new("read", "there".to_owned(), errno.into());
            assert!(error.to_string().starts_with("cannot read there"), "{error}");
            matches!(error, StorageError::Unavailable { .. })
        };
        for errno in
            [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::TIMEDOUT, Errno::INTR, Errno::STALE]
        {
            assert!(is_unavailable(errno), "{errno}");
        }
        for errno in [Errno::IO, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::NODEV, Errno::UCLEAN, Errno::NOTDIR] {
            assert!(!is_unavailable(errno), "{errno}");
        }
        let without_number = |kind: io::ErrorKind| StorageError::new("read", String::new(), kind.into());
        assert!(matches!(without_number(io::ErrorKind::TimedOut), StorageError::Unavailable { .. }));
        assert!(matches!(without_number(io::ErrorKind::WriteZero), StorageError::Io { .. }));
    }
}
