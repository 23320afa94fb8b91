//! What a replay saw of the file system, in the order of seeing, with marks where frames began.
//!
//! Invariant: whatever a frame saw stands in the log after the frame's mark, once at least.

use crate::fallback::Fallback;
use crate::files::file::{FileId, SourceFile};
use crate::files::generation::Generation;
use crate::files::resolve::Trail;
use crate::scan::lex::lexer::time::TimeClues;
use crate::scan::preprocess::macros::{FrameClock, Tick};
use crate::scan::search::lookup::Lookup;
use std::path::Path;
use std::sync::Arc;

/// The log of a replay.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Every search.
    pub(crate) lookups: Vec<Arc<Lookup>>,
    /// Those that only asked whether a file is there.
    pub(crate) probed: Vec<Arc<Lookup>>,
    /// Files whose directives were replayed, with their generations.
    pub(crate) files: Vec<(Arc<SourceFile>, Generation)>,
    /// Files that are read otherwise: `.incbin`, `#embed`, ….
    pub(crate) inputs: Vec<Arc<SourceFile>>,
    /// Files that an operand named by an absolute path. What finds one is not remembered, so that each finds it itself.
    pub(crate) absolute: Vec<Arc<Path>>,
    /// Paths that were looked for otherwise and are not there.
    pub(crate) absent: Vec<Arc<Path>>,
    /// What finding `inputs` and `absent` depended on.
    pub(crate) trail: Trail,
    /// What tells of the time.
    pub(crate) time: TimeClues,
    /// How many files' directives were replayed.
    pub(crate) replays: u64,
    seen_lookups: Seen,
    seen_files: Seen,
    once: Once,
    open: usize,
    spoiled: usize,
}

/// Where a frame's part of the log begins.
#[derive(Debug)]
pub(crate) struct Mark {
    lookups: usize,
    probed: usize,
    files: usize,
    time: TimeClues,
}

/// A frame's part of the log.
pub(crate) struct Part {
    pub(crate) lookups: Vec<Arc<Lookup>>,
    pub(crate) probed: Vec<Arc<Lookup>>,
    pub(crate) files: Vec<(Arc<SourceFile>, Generation)>,
    pub(crate) time: TimeClues,
}

impl Record {
    pub(crate) fn begin(&mut self) -> Mark {
        self.open += 1;
        Mark {
            lookups: self.lookups.len(),
            probed: self.probed.len(),
            files: self.files.len(),
            time: std::mem::take(&mut self.time),
        }
    }

    /// Ends the innermost frame, and gives its part of the log; `None` where it can't be remembered.
    pub(crate) fn end(&mut self, mark: &Mark) -> Option<Part> {
        let is_spoiled = self.spoiled >= self.open;
        let time = self.time;
        self.end_unremembered(mark);
        if is_spoiled {
            return None;
        }
        let lookups = self.once.each(&self.lookups[mark.lookups..], |lookup| lookup.number.index());
        let probed = self.once.each(&self.probed[mark.probed..], |lookup| lookup.number.index());
        let files = self.once.each(&self.files[mark.files..], |(file, _)| file.id().index());
        Some(Part { lookups, probed, files, time })
    }

    /// Ends the innermost frame, of which nothing is wanted.
    pub(crate) fn end_unremembered(&mut self, mark: &Mark) {
        self.open -= 1;
        self.spoiled = self.spoiled.min(self.open);
        self.time |= mark.time;
    }

    /// What happened now keeps every open frame from being remembered.
    pub(crate) fn spoil(&mut self) {
        self.spoiled = self.open;
    }

    /// Logs a search. Once in the frame of `clock` is enough.
    pub(crate) fn add_lookup(&mut self, lookup: &Arc<Lookup>, clock: FrameClock) {
        if self.seen_lookups.is_fresh(lookup.number.index(), clock) {
            self.lookups.push(Arc::clone(lookup));
        }
    }

    /// Notes that an operand named `file` by an absolute path.
    pub(crate) fn add_absolute(&mut self, file: &SourceFile) {
        self.spoil();
        self.absolute.push(Arc::clone(file.path()));
    }

    pub(crate) fn add_probed(&mut self, lookup: &Arc<Lookup>) {
        self.probed.push(Arc::clone(lookup));
    }

    pub(crate) fn add_file(&mut self, file: &Arc<SourceFile>, generation: Generation, clock: FrameClock) {
        if self.seen_files.is_fresh(file.id().index(), clock) {
            self.files.push((Arc::clone(file), generation));
        }
    }

    /// Whether the directives of `file` were replayed.
    pub(crate) fn has_file(&self, file: &SourceFile) -> bool {
        self.seen_files.has(file.id().index())
    }

    /// The first file of which two contents were seen, which changed meanwhile.
    pub(crate) fn changed_file(&self) -> Option<Fallback> {
        let mut known = std::collections::HashMap::<FileId, Generation, foldhash::fast::RandomState>::default();
        let changed =
            self.files.iter().find(|(file, generation)| *known.entry(file.id()).or_insert(*generation) != *generation);
        changed.map(|(file, _)| {
            Fallback::at(crate::fallback::Reason::Changing, "changed during the scan", file.path().as_ref(), 0)
        })
    }
}

/// When each of some numbered things was seen last; moments are kept plus one, zero is never.
#[derive(Debug, Default)]
struct Seen(Vec<Tick>);

impl Seen {
    /// Whether what has the number `at` was not seen in the frame of `clock` yet; it is from now on.
    fn is_fresh(&mut self, at: usize, clock: FrameClock) -> bool {
        let seen = &mut self.0;
        if at >= seen.len() {
            seen.resize(at + at / 2 + 64, Tick::default());
        }
        let is_fresh = seen[at] <= clock.start;
        if is_fresh {
            seen[at] = clock.now.next();
        }
        is_fresh
    }

    /// Whether what has the number `at` was ever seen.
    fn has(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|seen| *seen > Tick::default())
    }
}

/// Drops what is repeated, with no set to be made for each list: each list is a frame of its own.
#[derive(Debug, Default)]
struct Once {
    seen: Seen,
    list: Tick,
}

impl Once {
    /// The first one of those items of `list` that have the same index.
    fn each<T: Clone>(&mut self, list: &[T], index: impl Fn(&T) -> usize) -> Vec<T> {
        let clock = FrameClock { start: self.list, now: self.list };
        self.list = self.list.next();
        list.iter().filter(|item| self.seen.is_fresh(index(item), clock)).cloned().collect()
    }
}
