//! What happened to the inputs and outputs of a local compile while it ran.
//!
//! Two looks, before and after, see neither a header that stood in between nor a second writer of the object. So the
//! directories of all that a compile reads are watched from before it begins, and its outputs as well: a result counts only
//! where no name changed on which the compile depends, and where each output was written once, by one writer, which is then
//! this compile.
//!
//! **Source:** what gcc, clang, `as` and `objcopy` do to their outputs, as inotify tells it: `as` removes an old object, makes
//! and closes a new one; clang renames a temporary file and closes it then; gcc empties other outputs, or makes them, and
//! closes them. With `-gsplit-dwarf`, gcc has `objcopy` write the object a second time.

use super::prepare::Prepared;
use crate::command::Family;
use crate::files::events::{Account, Events, Period};
use crate::files::stamp::Moment;
use crate::files::stamp::watch::Watch;
use crate::outputs::{OutputPath, Presence};
use crate::scan::closure::Closure;
use rustix::fs::inotify::ReadFlags;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that is known of the time in which a compile runs.
#[derive(Debug)]
pub(crate) struct Witness {
    /// When it begins.
    pub(super) start: Moment,
    period: Option<Period>,
}

/// What a file's writers do before they close it, or with its name.
const WRITES: ReadFlags = ReadFlags::CREATE
    .union(ReadFlags::DELETE)
    .union(ReadFlags::MOVED_FROM)
    .union(ReadFlags::MOVED_TO)
    .union(ReadFlags::MODIFY);

/// What became of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It was written, by this compile alone.
    Once,
    /// Nobody touched it.
    Never,
    /// Others wrote it as well, or had it open.
    ByOthers,
}

impl Witness {
    /// Begins to watch, just before the compile begins. Costs a system call for each directory on the way to an input.
    pub(super) fn new(events: &Arc<Events>, prepared: &Prepared) -> Self {
        let directories = directories(prepared);
        let outputs: Vec<&Path> = prepared.places.iter().map(|place| place.path.as_path()).collect();
        let period = events.period(&directories, &outputs);
        // The clock last: what happened before it was watched is for stamps to tell.
        Self { period, start: Moment::now() }
    }

    /// What has happened so far; none where that is not known.
    pub(super) fn account(&self) -> Option<Account> {
        self.period.as_ref()?.review()
    }

    /// Whether nothing that the compile depends on changed its name, or appeared, even for a moment.
    pub(super) fn inputs_held_still(&self, account: &Account, prepared: &Prepared) -> bool {
        let is_input = |path: &PathBuf| leads_to_input(path, prepared);
        let moved = account.changed.iter().find(|path| is_input(path));
        if let Some(moved) = moved {
            tracing::debug!(path = %moved.display(), "an input came or went during the compile");
        }
        let mut unwatched = self.period.iter().flat_map(Period::unwatched);
        moved.is_none() && unwatched.all(|(directory, _)| stood(directory, self.start))
    }
}

/// What the events at an output say.
pub(super) fn written(events: &[ReadFlags], place: &OutputPath, prepared: &Prepared) -> Written {
    let count = |what: ReadFlags| events.iter().filter(|event| event.intersects(what)).count();
    let arrivals = count(ReadFlags::CREATE | ReadFlags::MOVED_TO);
    let writes = count(ReadFlags::CLOSE_WRITE);
    // What is renamed here was opened under another name.
    let openings = count(ReadFlags::OPEN | ReadFlags::MOVED_TO);
    let closings = count(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE);
    if openings == 0 && writes == 0 {
        return if arrivals == 0 { Written::Never } else { Written::ByOthers };
    }
    let is_split = is_split_object(place, prepared);
    let is_handed_on = is_split || place.presence == Presence::Possible;
    // Whatever comes after the last writer has closed it is by another one.
    let last_write = events.iter().rposition(|event| event.intersects(ReadFlags::CLOSE_WRITE)).unwrap_or_default();
    let is_alone = arrivals <= 1
        && events[last_write..].iter().all(|event| !event.intersects(WRITES))
        && writes == 1 + usize::from(is_split)
        && count(ReadFlags::MOVED_FROM) == 0
        && if is_handed_on { openings <= closings } else { openings == 1 && closings == 1 };
    if is_alone { Written::Once } else { Written::ByOthers }
}

/// Whether `later`, of the same output as `earlier`, tells of nothing but readers since.
pub(super) fn is_unchanged(earlier: &[ReadFlags], later: &[ReadFlags]) -> bool {
    later
        .get(earlier.len()..)
        .is_some_and(|since| since.iter().all(|event| *event == ReadFlags::OPEN || *event == ReadFlags::CLOSE_NOWRITE))
}

/// Whether gcc moves the debug information out of this object once it is written.
fn is_split_object(place: &OutputPath, prepared: &Prepared) -> bool {
    let mut places = prepared.places.iter();
    let is_object = places.next().is_some_and(|object| object == place);
    is_object
        && prepared.command.family == Family::Gcc
        && places.any(|other| other.path.extension().is_some_and(|suffix| suffix == "dwo"))
}

/// Every path on whose state the compile depends, the lists of a closure aside.
fn tools(prepared: &Prepared) -> impl Iterator<Item = &Path> {
    let toolchain = &*prepared.toolchain;
    let files = toolchain.files.iter().map(|file| file.path.as_ref());
    files.chain(toolchain.symlinks.iter().map(|(path, _)| path.as_ref()))
}

/// The directories in which the names of inputs, and of what must be absent, stand; each before what is in it.
fn directories(prepared: &Prepared) -> Vec<&Path> {
    let Closure { files, symlinks, directories, absent, .. } = &*prepared.closure;
    let paths = files.iter().map(|file| file.path.as_ref()).chain(symlinks.iter().map(|(path, _)| path.as_ref()));
    let paths = paths.chain(directories.iter().chain(absent).map(AsRef::as_ref)).chain(tools(prepared));
    let mut found: HashSet<&Path, foldhash::fast::RandomState> = HashSet::default();
    for path in paths {
        for directory in path.ancestors().skip(1) {
            if !found.insert(directory) {
                break;
            }
        }
    }
    let mut found: Vec<&Path> = found.into_iter().collect();
    found.sort_unstable();
    found
}

/// Whether an input, or what must be absent, is at `path` or below it.
fn leads_to_input(path: &Path, prepared: &Prepared) -> bool {
    let closure = &*prepared.closure;
    // The lists of a closure are in order, and what is below a path comes right after it.
    let leads = |found: Option<&Path>| found.is_some_and(|found| found.starts_with(path));
    let file = closure.files.partition_point(|file| file.path.as_ref() < path);
    let link = closure.symlinks.partition_point(|link| link.0.as_ref() < path);
    let directory = closure.directories.partition_point(|directory| directory.as_ref() < path);
    let absent = closure.absent.partition_point(|absent| absent.as_ref() < path);
    leads(closure.files.get(file).map(|file| file.path.as_ref()))
        || leads(closure.symlinks.get(link).map(|link| link.0.as_ref()))
        || leads(closure.directories.get(directory).map(AsRef::as_ref))
        || leads(closure.absent.get(absent).map(AsRef::as_ref))
        || tools(prepared).any(|tool| tool.starts_with(path))
}

/// Whether no name in a directory has changed since before `start`, as far as stamps tell.
fn stood(directory: &Path, start: Moment) -> bool {
    let watch = Watch::link(directory);
    watch.stamp().is_some() && watch.stood_at(start)
}
