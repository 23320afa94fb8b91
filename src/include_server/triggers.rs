//! Files whose change flushes what the include server keeps: `--stat_reset_triggers`.
//!
//! Nothing here is taken from memory without being checked against the disk, so no trigger is needed; who has one is
//! still warned, since a build that rewrites its sources is worth knowing of.
//!
//! **Source:** `include_server(1)`; the rules of Python's `glob` module.

use crate::files::stamp::Stamp;
use glob::{MatchOptions, Pattern};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How Python's `glob` matches: `*` and `?` stay in one component, and don't match a leading dot.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The paths and globs of a list, and what stood there when it was looked at last.
#[derive(Debug, Clone)]
pub(super) struct Triggers {
    patterns: Arc<[String]>,
    stamps: Arc<Mutex<BTreeMap<PathBuf, Stamp>>>,
}

/// What happened to a trigger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is another file, or was written to.
    Changed(PathBuf),
    /// It was not there before.
    Appeared(PathBuf),
    /// It is not there any more.
    Gone(PathBuf),
}

impl Triggers {
    /// Understands a list that is separated by colons, and looks where the files stand. Relative paths start from the
    /// directory in which the include server was started.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub(super) fn parse(list: &str) -> Result<Self, String> {
        let directory = std::env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
        Self::below(list, &directory)
    }

    fn below(list: &str, directory: &Path) -> Result<Self, String> {
        let directory = directory.to_str().ok_or("the working directory's name is not UTF-8")?;
        let mut patterns = Vec::new();
        for pattern in list.split(':').filter(|pattern| !pattern.is_empty()) {
            let pattern = if pattern.starts_with('/') {
                pythonic(pattern)
            } else {
                format!("{}/{}", Pattern::escape(directory), pythonic(pattern))
            };
            Pattern::new(&pattern).map_err(|error| format!("{pattern}: {error}"))?;
            patterns.push(pattern);
        }
        let triggers = Self { patterns: patterns.into(), stamps: Arc::default() };
        *triggers.stamps.lock() = triggers.look();
        Ok(triggers)
    }

    /// What has happened since this was called last, each file once. Costs a `stat` for each, and a listing for each glob.
    pub(super) fn events(&self) -> Vec<Event> {
        let mut stamps = self.stamps.lock();
        let now = self.look();
        let mut events = Vec::new();
        for (path, stamp) in &now {
            match stamps.get(path) {
                Some(before) if before == stamp => {}
                Some(_) => events.push(Event::Changed(path.clone())),
                None => events.push(Event::Appeared(path.clone())),
            }
        }
        events.extend(stamps.keys().filter(|path| !now.contains_key(*path)).cloned().map(Event::Gone));
        *stamps = now;
        events
    }

    fn look(&self) -> BTreeMap<PathBuf, Stamp> {
        let mut stamps = BTreeMap::new();
        for pattern in &*self.patterns {
            let paths = glob::glob_with(pattern, OPTIONS).expect("the pattern was understood before");
            for path in paths.flatten() {
                if let Some(stamp) = Stamp::at(&path) {
                    stamps.insert(path, stamp);
                }
            }
        }
        stamps
    }
}

/// A glob as Python understands it: several stars are one, and a bracket that is not closed stands for itself.
fn pythonic(pattern: &str) -> String {
    let mut text = String::new();
    for (at, letter) in pattern.char_indices() {
        let rest = &pattern[at + letter.len_utf8()..];
        match letter {
            '*' if text.ends_with('*') => {}
            // The first bracket after one member closes the set.
            '[' if !closes(rest.trim_start_matches('!')) => text.push_str("[[]"),
            other => text.push(other),
        }
    }
    text
}

/// Whether a set that starts before `rest` ends in it.
fn closes(rest: &str) -> bool {
    let mut letters = rest.chars();
    letters.next().is_some() && letters.any(|letter| letter == ']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    #[test]
    fn changes() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["a.h", "b.h", ".hidden.h", "c.c"] {
            std::fs::write(path(name), "").expect("write");
        }
        let triggers = Triggers::below("*.h:c.c:absent:/nowhere/*", directory.path()).expect("understood");
        assert_eq!(triggers.events(), []);
        let touch = |name: &str, seconds: u64| {
            let file = std::fs::File::options().write(true).open(path(name)).expect("open");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_times(FileTimes::new().set_modified(time)).expect("touch");
        };
        touch("a.h", 1);
        touch(".hidden.h", 1);
        assert_eq!(triggers.events(), [Event::Changed(path("a.h"))]);
        assert_eq!(triggers.events(), []);
        std::fs::write(path("absent"), "").expect("write");
        std::fs::remove_file(path("b.h")).expect("remove");
        assert_eq!(triggers.events(), [Event::Appeared(path("absent")), Event::Gone(path("b.h"))]);
        std::fs::rename(path("absent"), path("c.c")).expect("rename");
        assert_eq!(triggers.events(), [Event::Changed(path("c.c")), Event::Gone(path("absent"))]);
        assert_eq!(triggers.events(), []);
    }

    #[test]
    fn globs_as_python_has_them() {
        for (pattern, expect) in [
            ("a*b", "a*b"),
            ("**/x", "*/x"),
            ("a[bc]d", "a[bc]d"),
            ("a[b", "a[[]b"),
            ("[!]]x", "[!]]x"),
            ("[]", "[[]]"),
        ] {
            assert_eq!(pythonic(pattern), expect, "{pattern}");
            Pattern::new(&pythonic(pattern)).expect("understood");
        }
        assert!(Triggers::below("é*[:x", Path::new("/tmp")).is_ok());
    }
}
