//! Whether a compile's outputs are still wanted: by a launcher that is there, and has not been told to compile by itself.
//!
//! Blocking work can't be cancelled, so it asks here before it puts outputs in place: none appears once its launcher has
//! ended, or beside those of the compiler that the launcher runs instead.

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::os::fd::OwnedFd;

/// Outputs that somebody waits for, until they are given up. While they are put in place, its lock is held.
#[derive(Debug)]
pub(crate) struct Wanted {
    state: Mutex<State>,
    /// The connection to the launcher; none where nobody's end is to be looked for.
    launcher: Option<OwnedFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Wanted,
    GivenUp,
}

impl Wanted {
    /// What the launcher at the other end of `connection` waits for.
    pub(crate) const fn by(connection: Option<OwnedFd>) -> Self {
        Self { state: Mutex::new(State::Wanted), launcher: connection }
    }

    /// Has nothing more put in place. False, and without effect, while something is being put in place: then its end is
    /// to be awaited. Never blocks.
    pub(super) fn give_up(&self) -> bool {
        self.state.try_lock().map(|mut state| *state = State::GivenUp).is_some()
    }

    /// Puts outputs in place by `put`, if they are wanted. Costs a system call.
    pub(super) fn place<T>(&self, put: impl FnOnce() -> T) -> Option<T> {
        let state = self.state.lock();
        let is_wanted = *state == State::Wanted && self.launcher.as_ref().is_none_or(is_there);
        is_wanted.then(put)
    }

    /// Whether it is worth beginning anything. Costs a system call.
    pub(super) fn is_waited_for(&self) -> bool {
        *self.state.lock() == State::Wanted && self.launcher.as_ref().is_none_or(is_there)
    }
}

/// Whether the launcher at the other end is there and waits: it says nothing meanwhile.
fn is_there(connection: &OwnedFd) -> bool {
    let said = recv(connection, &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(said, Err(Errno::WOULDBLOCK | Errno::INTR))
}

/// Gives a compile's outputs up when it is dropped.
#[derive(Debug)]
pub(super) struct GivesUp<'a>(pub(super) &'a Wanted);

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn nothing_is_put_in_place_for_a_launcher_that_has_ended() {
        let (mut launcher, daemon) = UnixStream::pair().expect("a pair");
        launcher.write_all(b"a request").expect("sent");
        std::io::Read::read_exact(&mut &daemon, &mut [0; 9]).expect("read");
        let wanted = Wanted::by(Some(daemon.into()));
        assert_eq!(wanted.place(|| 1), Some(1));
        assert!(wanted.is_waited_for());
        drop(launcher);
        assert_eq!(wanted.place(|| 1), None);
        assert!(!wanted.is_waited_for());
    }

    #[test]
    fn what_is_being_put_in_place_is_not_given_up() {
        let wanted = Wanted::by(None);
        assert_eq!(wanted.place(|| wanted.give_up()), Some(false));
        assert_eq!(wanted.place(|| 1), Some(1));
        drop(GivesUp(&wanted));
        assert_eq!(wanted.place(|| 1), None);
    }
}
