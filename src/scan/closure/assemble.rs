//! From what a replay saw to a [`Closure`].

use crate::command::{CompileCommand, Family};
use crate::fallback::Fallback;
use crate::files::directory::{Directory, DirectoryId};
use crate::files::file::{FileId, SourceFile, Want};
use crate::files::generation::Generation;
use crate::files::lexical::lexical;
use crate::files::resolve::{Resolution, Trail};
use crate::files::{FileStore, View};
use crate::scan::closure::record::Record;
use crate::scan::closure::{Absences, Closure, compare_paths};
use crate::scan::search::header::Header;
use crate::scan::search::lookup::{Found, LookupNumber};
use crate::scan::search::setting::Setting;
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// A closure with all that its validity depends on.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) closure: Arc<Closure>,
    pub(crate) files: Box<[(Arc<SourceFile>, Generation)]>,
    pub(crate) directories: Box<[(Arc<Directory>, Generation)]>,
}

/// Makes a closure of `record`, the record of a replay of `command`.
///
/// # Errors
/// A [`Fallback`] where a file that is read without being included can't be read.
pub(crate) fn assemble(
    mut record: Record,
    source: &Header,
    setting: &Setting,
    command: &CompileCommand,
    store: &FileStore,
    view: View,
) -> Result<Assembled, Fallback> {
    if let Some(changed) = record.changed_file() {
        return Err(changed);
    }
    record.inputs.extend(setting.path.files.iter().chain(&setting.probe.resources).cloned());
    add_extra_inputs(&mut record, setting, command, store, view)?;
    let mut parts = Parts { tells_files_by_inode: setting.family == Family::Clang, ..Parts::default() };
    for (file, generation) in std::mem::take(&mut record.files) {
        parts.add_file(&file, Some(generation), view)?;
    }
    let probed = record.probed.iter().filter_map(|lookup| lookup.file());
    for file in probed.chain(&record.inputs) {
        if parts.add_file(file, None, view)? {
            parts.closure.probed.push(Arc::clone(file.path()));
        }
    }
    parts.add_name(source);
    for lookup in &record.lookups {
        if parts.lookups.insert(lookup.number) {
            if !lookup.absent.is_empty() {
                parts.absent.push(Arc::clone(&lookup.absent));
            }
            if let Found::Header(header) = &lookup.found {
                parts.add_name(header);
            }
            parts.add_trail(&lookup.trail);
        }
    }
    parts.add_trail(&record.trail);
    parts.add_trail(&setting.path.trail);
    let start = setting.start.path();
    let mut absent = std::mem::take(&mut record.absent);
    absent.extend(setting.path.missing.iter().map(|missing| lexical(start, missing)));
    parts.absent.push(Arc::from(absent));
    parts.closure.directories.extend(setting.path.existing.iter().map(|directory| Arc::clone(directory.path())));
    parts.closure.directories.push(Arc::clone(start));
    parts.closure.absolute.append(&mut record.absolute);
    parts.closure.time_dependent = record.time.use_day();
    Ok(parts.finish())
}

#[derive(Default)]
struct Parts {
    closure: Closure,
    files: Vec<(Arc<SourceFile>, Generation)>,
    directories: Vec<(Arc<Directory>, Generation)>,
    known_files: HashSet<FileId, foldhash::fast::RandomState>,
    known_directories: HashSet<DirectoryId, foldhash::fast::RandomState>,
    lookups: HashSet<LookupNumber, foldhash::fast::RandomState>,
    absent: Vec<Arc<[Arc<Path>]>>,
    /// clang takes hard links for one file, which they are not where the compile runs elsewhere.
    tells_files_by_inode: bool,
    inodes: HashSet<(u64, u64), foldhash::fast::RandomState>,
    names: HashMap<FileId, (Arc<Path>, Arc<Path>), foldhash::fast::RandomState>,
}

impl Parts {
    /// Adds a file; gives whether it is new. Where the replay read a `generation`, it must still be that.
    fn add_file(
        &mut self,
        file: &Arc<SourceFile>,
        generation: Option<Generation>,
        view: View,
    ) -> Result<bool, Fallback> {
        if !self.known_files.insert(file.id()) {
            return Ok(false);
        }
        let content = file.content(view, Want::Digest)?;
        if self.tells_files_by_inode && !self.inodes.insert(content.stamp.identity()) {
            let path = file.path().as_ref();
            return Err(Fallback::at(crate::fallback::Reason::Unscannable, "another name of a file", path, 0));
        }
        if generation.is_some_and(|generation| generation != content.generation) {
            let path = file.path().as_ref();
            return Err(Fallback::at(crate::fallback::Reason::Changing, "changed during the scan", path, 0));
        }
        self.closure.files.push(Arc::clone(&content.input));
        self.files.push((Arc::clone(file), content.generation));
        Ok(true)
    }

    /// Adds a name of a file: the first one counts, or the first absolute one.
    fn add_name(&mut self, header: &Header) {
        let name = || (Arc::clone(header.file.path()), Arc::clone(&header.name));
        let known = self.names.entry(header.file.id()).or_insert_with(name);
        if !known.1.is_absolute() && header.name.is_absolute() {
            *known = name();
        }
    }

    fn add_trail(&mut self, trail: &Trail) {
        for (directory, generation) in &trail.directories {
            if self.known_directories.insert(directory.id()) {
                self.directories.push((Arc::clone(directory), *generation));
            }
        }
        self.closure.symlinks.extend(trail.symlinks.iter().cloned());
        self.closure.directories.extend(trail.left.iter().map(|directory| Arc::clone(directory.path())));
    }

    fn finish(mut self) -> Assembled {
        let closure = &mut self.closure;
        closure.names.extend(self.names.into_values().filter(|(path, name)| !Arc::ptr_eq(path, name) && path != name));
        closure.names.sort_unstable_by(|one, two| compare_paths(&one.0, &two.0));
        closure.files.sort_unstable_by(|one, two| compare_paths(&one.path, &two.path));
        for paths in [&mut closure.probed, &mut closure.absolute, &mut closure.directories] {
            paths.sort_unstable_by(|one, two| compare_paths(one, two));
            paths.dedup();
        }
        closure.symlinks.sort_unstable_by(|one, two| compare_paths(&one.0, &two.0));
        closure.symlinks.dedup();
        closure.absent = Absences::new(self.absent);
        Assembled {
            closure: Arc::new(self.closure),
            files: self.files.into_boxed_slice(),
            directories: self.directories.into_boxed_slice(),
        }
    }
}

/// The files that flags name: as they are, or missing.
fn add_extra_inputs(
    record: &mut Record,
    setting: &Setting,
    command: &CompileCommand,
    store: &FileStore,
    view: View,
) -> Result<(), Fallback> {
    for input in &command.extra_inputs {
        let spelled = input.as_os_str().as_bytes();
        match store.resolve(&setting.start, spelled, view, &mut record.trail)? {
            Resolution::File(file) => record.inputs.push(file),
            Resolution::Directory(directory) => record.trail.left.push(directory),
            Resolution::Absent => record.absent.push(lexical(setting.start.path(), spelled)),
            Resolution::Special(path) if path.as_ref() == Path::new("/dev/null") => {}
            Resolution::Special(path) => {
                let reason = crate::fallback::Reason::Unreadable;
                return Err(Fallback::at(reason, "not a regular file", path.as_ref(), 0));
            }
        }
    }
    Ok(())
}
