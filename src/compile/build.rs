//! The running build: its name, and what its user is told once rather than once in a compile.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A pause of this length between compiles ends a build.
const BUILD_GAP: Duration = Duration::from_secs(30);

/// Which notices the running build has had.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<State>, DaemonName);

#[derive(Debug, Default)]
struct State {
    last_compile: Option<Instant>,
    given: HashSet<String>,
    discrepancies: u32,
    builds: u64,
}

/// What tells this daemon's builds from others'.
#[derive(Debug)]
struct DaemonName(String);

impl Default for DaemonName {
    fn default() -> Self {
        let mut random = [0; 16];
        // Without random numbers, builds of several daemons may be taken for one, which matters to fairness alone.
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        Self(const_hex::encode(random))
    }
}

impl Notices {
    /// Notes that a compile begins at `now`, which may be a new build's first.
    pub(super) fn compile_begins(&self, now: Instant) {
        let mut state = self.0.lock();
        if state.last_compile.is_some_and(|last| now.saturating_duration_since(last) > BUILD_GAP) {
            state.given.clear();
            state.discrepancies = 0;
            state.builds += 1;
        }
        state.last_compile = Some(now);
    }

    /// The notice as a line for standard error, the first time in a build that `key` comes up; nothing afterwards.
    pub(super) fn once(&self, key: &str, message: &str) -> Vec<u8> {
        let mut state = self.0.lock();
        if !state.given.insert(key.to_owned()) {
            return Vec::new();
        }
        tracing::warn!("{message}");
        format!("pumphouse: warning: {message}\n").into_bytes()
    }

    /// The name of the running build, unique to it.
    pub(super) fn build(&self) -> String {
        let state = self.0.lock();
        format!("{}-{}", self.1.0, state.builds)
    }

    /// Counts a discrepancy of the running build, and gives how many there are.
    pub(super) fn add_discrepancy(&self) -> u32 {
        let mut state = self.0.lock();
        state.discrepancies += 1;
        state.discrepancies
    }

    /// How many discrepancies the running build has had.
    pub(super) fn discrepancies(&self) -> u32 {
        self.0.lock().discrepancies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_given_once_in_a_build() {
        let notices = Notices::default();
        let start = Instant::now();
        notices.compile_begins(start);
        assert_eq!(notices.once("server", "no server"), b"pumphouse: warning: no server\n");
        assert_eq!(notices.once("server", "no server"), b"");
        notices.compile_begins(start + BUILD_GAP);
        assert_eq!(notices.once("server", "no server"), b"");
        notices.compile_begins(start + BUILD_GAP * 3);
        assert_ne!(notices.once("server", "no server"), b"");
        assert_eq!(notices.once("server", "no server"), b"");
    }

    #[test]
    fn discrepancies_belong_to_a_build() {
        let notices = Notices::default();
        let start = Instant::now();
        notices.compile_begins(start);
        assert_eq!((notices.add_discrepancy(), notices.add_discrepancy()), (1, 2));
        notices.compile_begins(start + BUILD_GAP * 2);
        assert_eq!(notices.discrepancies(), 0);
    }
}
