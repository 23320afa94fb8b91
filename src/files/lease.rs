//! Whether anybody has a file open for writing: a question that only a lease answers.
//!
//! What it does not know: who that is. On file systems of other machines the answer would be about leases, not about writers,
//! so there it is not asked.
//!
//! `unsafe`, since the library for system calls has no leases.
//!
//! **Source:** fcntl(2), "Leases".

#![expect(unsafe_code, reason = "leases are no part of the library for system calls")]

use crate::files::stamp::FileSystem;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// The `fcntl` that says which signal tells of a lease's end.
const F_SETSIG: libc::c_int = 10;

/// Whether `file`, which is open for reading, is open for writing anywhere on this machine, as far as can be told. Costs four
/// system calls.
pub(crate) fn is_being_written(file: &File) -> bool {
    if FileSystem::of_open(file) != FileSystem::Local {
        return false;
    }
    let descriptor = file.as_raw_fd();
    // Whoever opens the file for writing while the lease is held waits until it is given back. The signal that tells of
    // that is one that is ignored.
    // SAFETY: the calls take numbers alone, and the borrow keeps the descriptor open.
    let taken = unsafe {
        libc::fcntl(descriptor, F_SETSIG, libc::SIGURG);
        libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK)
    };
    if taken != 0 {
        return io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK) };
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_noticed_and_a_reader_is_not() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("a.o");
        std::fs::write(&path, "x").expect("written");
        let (file, _reader) = (File::open(&path).expect("opened"), File::open(&path).expect("opened"));
        assert!(!is_being_written(&file));
        let writer = File::options().append(true).open(&path).expect("opened");
        assert!(is_being_written(&file));
        drop(writer);
        assert!(!is_being_written(&file));
        std::fs::write(&path, "y").expect("nobody is kept from writing");
    }
}
