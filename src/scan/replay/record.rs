//! What a replay saw of the file system, in the order of seeing, with marks where frames began.
//!
//! Invariant: whatever a frame saw stands in the log after the frame's mark, once at least.

use crate::fallback::Fallback;
use crate::files::file::SourceFile;
use crate::files::resolve::Trail;
use crate::scan::lex::lexer::time::TimeClues;
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
    pub(crate) files: Vec<(Arc<SourceFile>, u32)>,
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
    seen_lookups: Vec<u32>,
    seen_files: Vec<u32>,
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
    pub(crate) files: Vec<(Arc<SourceFile>, u32)>,
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

    /// Ends the innermost frame; `None` where it can't be remembered.
    pub(crate) fn end(&mut self, mark: &Mark, wanted: bool) -> Option<Part> {
        self.open -= 1;
        let is_spoiled = self.spoiled > self.open;
        self.spoiled = self.spoiled.min(self.open);
        let time = self.time;
        self.time |= mark.time;
        if is_spoiled || !wanted {
            return None;
        }
        let lookups = self.once.each(&self.lookups[mark.lookups..], |lookup| lookup.number.index());
        let probed = self.once.each(&self.probed[mark.probed..], |lookup| lookup.number.index());
        let files = self.once.each(&self.files[mark.files..], |(file, _)| file.id() as usize);
        Some(Part { lookups, probed, files, time })
    }

    /// What happened now keeps every open frame from being remembered.
    pub(crate) fn spoil(&mut self) {
        self.spoiled = self.open;
    }

    /// Logs a search. `start` and `now` are the frame's beginning and the present: once in a frame is enough.
    pub(crate) fn add_lookup(&mut self, lookup: &Arc<Lookup>, (start, now): (u32, u32)) {
        if is_fresh(&mut self.seen_lookups, lookup.number.index(), start, now) {
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

    pub(crate) fn add_file(&mut self, file: &Arc<SourceFile>, generation: u32, (start, now): (u32, u32)) {
        if is_fresh(&mut self.seen_files, file.id() as usize, start, now) {
            self.files.push((Arc::clone(file), generation));
        }
    }

    /// Whether the directives of `file` were replayed.
    pub(crate) fn has_file(&self, file: &SourceFile) -> bool {
        self.seen_files.get(file.id() as usize).is_some_and(|seen| *seen > 0)
    }

    /// The first file of which two contents were seen, which changed meanwhile.
    pub(crate) fn changed_file(&self) -> Option<Fallback> {
        let mut known = std::collections::HashMap::<u32, u32, foldhash::fast::RandomState>::default();
        let changed =
            self.files.iter().find(|(file, generation)| *known.entry(file.id()).or_insert(*generation) != *generation);
        changed.map(|(file, _)| {
            Fallback::at(crate::fallback::Reason::Changing, "changed during the scan", file.path().as_ref(), 0)
        })
    }
}

/// Drops what is repeated, with no set to be made for each list.
#[derive(Debug, Default)]
struct Once {
    /// For each number the last list that had it.
    seen: Vec<u32>,
    list: u32,
}

impl Once {
    /// The first one of those items of `list` that have the same index.
    fn each<T: Clone>(&mut self, list: &[T], index: impl Fn(&T) -> usize) -> Vec<T> {
        self.list += 1;
        let before = self.list - 1;
        list.iter().filter(|item| is_fresh(&mut self.seen, index(item), before, before)).cloned().collect()
    }
}

/// Whether what has the index `at` was not seen since `start`; it is from now on.
fn is_fresh(seen: &mut Vec<u32>, at: usize, start: u32, now: u32) -> bool {
    if at >= seen.len() {
        seen.resize(at + at / 2 + 64, 0);
    }
    // Moments are kept plus one: zero is never.
    let is_fresh = seen[at] <= start;
    if is_fresh {
        seen[at] = now + 1;
    }
    is_fresh
}
