//! Where a header's name leads: searches, remembered with all that they depend on.
//!
//! What it does not know: how one search goes (`search`).
//!
//! **Source:** gcc's files.c (`search_path_head`, `_cpp_find_file`, `open_file`); clang's HeaderSearch.cpp
//! (`LookupFile`) and PPDirectives.cpp (`#include_next`).

mod search;

use crate::command::{Command, Family};
use crate::fallback::Fallback;
use crate::files::directory::Directory;
use crate::files::file::SourceFile;
use crate::files::resolve::{Place, Trail};
use crate::files::{FileStore, View, as_path};
use crate::scan::memory::effects::Effects;
use crate::scan::preprocess::append::AppendList;
use crate::scan::preprocess::program::{HeaderName, Inclusion, Quoting};
use crate::scan::preprocess::symbols::{Symbol, Symbols};
use crate::scan::probe::Probe;
use crate::scan::search::search_path::SearchPath;
use dashmap::DashMap;
use search::Search;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What compiles with the same compiler, flags and search path have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) family: Family,
    pub(crate) probe: Arc<Probe>,
    pub(crate) path: SearchPath,
    /// The working directory.
    pub(crate) start: Arc<Directory>,
    /// Whether system headers are spelled by their targets where these are shorter, as gcc has it.
    shortens_system_headers: bool,
    lookups: DashMap<LookupKey, Arc<Lookup>, foldhash::fast::RandomState>,
    /// Every look-up by its number.
    pub(crate) all_lookups: AppendList<Arc<Lookup>>,
    headers: DashMap<(Symbol, Position, bool), Arc<Header>, foldhash::fast::RandomState>,
    /// Directories beside includers in which headers were searched by includers that are system headers, and by others.
    beside: DashMap<Symbol, [bool; 2], foldhash::fast::RandomState>,
    validated: AtomicU64,
}

/// A file as a compile spells it and found it: what `__FILE__`, a look-up beside it and `#include_next` depend on.
#[derive(Debug)]
pub(crate) struct Header {
    /// The path as it is spelled.
    pub(crate) spelled: Symbol,
    /// The same as a path.
    pub(crate) name: Arc<Path>,
    /// The directory of the spelled path; empty for the working directory.
    pub(crate) beside: Symbol,
    pub(crate) position: Position,
    /// Whether gcc takes it for a system header, because of where it was found or what included it.
    pub(crate) is_system: bool,
    pub(crate) file: Arc<SourceFile>,
    /// The directory in which the name stands, where that is a link's, and not the file's own one.
    pub(crate) stands_in: Option<u32>,
    /// What replays of it did.
    pub(crate) effects: Effects,
    /// The symbol that stands for "included once and never again".
    pub(crate) once: OnceLock<Symbol>,
}

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Position {
    /// It is the source itself.
    Primary,
    /// It is the command line, from which `-include` includes.
    CommandLine,
    /// By an absolute path.
    Absolute,
    /// Beside its includer.
    Beside,
    /// In this directory of the search path.
    Chain(u32),
}

/// Where a name is included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Includer<'a> {
    pub(crate) header: &'a Header,
    /// Whether it is a system header, or said to be one by now.
    pub(crate) is_system: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LookupKey {
    name: Symbol,
    start: Start,
    /// Whether gcc takes the includer for a system header.
    by_system: bool,
}

/// Where a search starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Start {
    /// In the directory of the includer, spelled so, where what is found has this position; then the whole path.
    Beside(Symbol, Position),
    /// In this directory of the search path.
    Chain(u32),
}

/// The outcome of a search.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) number: u32,
    pub(crate) found: Found,
    /// What was looked for before, and is not there.
    pub(crate) absent: Arc<[Arc<Path>]>,
    /// The directory beside the includer where a link was found that gcc spells by its target if that directory is one of
    /// system headers, which it is by who asked for it first.
    pub(crate) doubtful: Option<Symbol>,
    pub(crate) trail: Trail,
    validated: AtomicU64,
}

/// What a search found.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Header(Arc<Header>),
    Nothing,
    /// The null device, which is an empty file.
    NullDevice,
    /// What ends the scan.
    Refused(Fallback),
}

impl Setting {
    pub(crate) fn new(command: &Command, probe: Arc<Probe>, path: SearchPath, start: Arc<Directory>) -> Self {
        let canonical = command.probe_arguments.iter().rev().find_map(|argument| match argument.as_bytes() {
            b"-fcanonical-system-headers" => Some(true),
            b"-fno-canonical-system-headers" => Some(false),
            _ => None,
        });
        Self {
            family: command.family,
            probe,
            path,
            start,
            shortens_system_headers: command.family == Family::Gcc && canonical != Some(false),
            lookups: DashMap::default(),
            all_lookups: AppendList::default(),
            headers: DashMap::default(),
            beside: DashMap::default(),
            validated: AtomicU64::new(0),
        }
    }

    /// Whether the search path still is what it was.
    pub(crate) fn is_current(&self, view: View, store: &FileStore) -> bool {
        if self.validated.load(Ordering::Acquire) >= view.since() {
            return true;
        }
        let is_current = self.path.trail.is_current(view, store);
        if is_current {
            self.validated.fetch_max(view.since(), Ordering::AcqRel);
        }
        is_current
    }

    /// Forgets what replays of all headers did.
    pub(crate) fn forget_effects(&self) {
        for header in &self.headers {
            header.effects.clear();
        }
    }

    /// Where `name` leads, included `how` by `includer`.
    pub(crate) fn look_up(
        &self,
        name: HeaderName,
        how: Inclusion,
        includer: Includer<'_>,
        searcher: &Searcher<'_>,
    ) -> Arc<Lookup> {
        let start = self.start_of(name, how, includer.header, searcher.symbols);
        let by_system = includer.is_system && self.family == Family::Gcc;
        let key = LookupKey { name: name.name, start, by_system };
        if let Some(lookup) = self.lookups.get(&key)
            && lookup.is_current(searcher.view, searcher.store)
        {
            return Arc::clone(&lookup);
        }
        let search = self.search(key, searcher);
        let mut result = None;
        self.all_lookups.push_with(|number| {
            let Search { found, absent, doubtful, trail } = search;
            let validated = AtomicU64::new(searcher.view.since());
            let lookup = Arc::new(Lookup { number, found, absent: Arc::from(absent), doubtful, trail, validated });
            result = Some(Arc::clone(&lookup));
            lookup
        });
        let lookup = result.expect("the list makes what is pushed");
        self.lookups.insert(key, Arc::clone(&lookup));
        lookup
    }

    /// Where `-include name` leads.
    pub(crate) fn look_up_forced(&self, name: Symbol, searcher: &Searcher<'_>) -> Arc<Lookup> {
        let header = &command_line(searcher.symbols, searcher.store);
        let includer = Includer { header, is_system: false };
        self.look_up(HeaderName { name, quoting: Quoting::Quotes }, Inclusion::Plain, includer, searcher)
    }

    /// A stand-in for the source, from which the compiler includes by itself.
    pub(crate) fn source_stand_in(searcher: &Searcher<'_>) -> Header {
        command_line(searcher.symbols, searcher.store)
    }

    /// Whether anything stands at `path`, from the working directory.
    ///
    /// # Errors
    /// A [`Fallback`] where that can't be looked at.
    pub(crate) fn exists(&self, path: &[u8], searcher: &Searcher<'_>, trail: &mut Trail) -> Result<bool, Fallback> {
        Ok(!matches!(searcher.store.resolve(&self.start, path, searcher.view, trail)?, Place::Absent))
    }

    fn start_of(&self, name: HeaderName, how: Inclusion, includer: &Header, symbols: &Symbols) -> Start {
        let is_absolute = symbols.text(name.name).starts_with(b"/");
        let looks_beside = !self.path.ignores_includer || includer.position == Position::CommandLine;
        let plain = match name.quoting {
            _ if is_absolute => Start::Chain(u32::MAX),
            Quoting::Quotes if looks_beside => Start::Beside(includer.beside, self.position_beside(includer)),
            Quoting::Quotes => Start::Chain(0),
            Quoting::Brackets => Start::Chain(self.path.bracket_start as u32),
        };
        if how != Inclusion::Next {
            return plain;
        }
        match (includer.position, self.family) {
            // It refuses to go on behind a directory with a name that no directory of the search path leads to.
            (Position::Chain(_), Family::Clang) if is_absolute => Start::Chain(self.path.directories.len() as u32),
            _ if is_absolute => plain,
            (Position::Chain(at), _) => Start::Chain(at + 1),
            (Position::Beside, Family::Gcc) => Start::Chain(0),
            // clang searches as if it were a plain #include, and says so.
            (Position::Primary | Position::CommandLine | Position::Absolute | Position::Beside, _) => plain,
        }
    }

    /// The position of a header that stands beside `includer`. For clang it is found where its includer was, so that
    /// `#include_next` in it goes on behind that directory.
    fn position_beside(&self, includer: &Header) -> Position {
        match (self.family, includer.position) {
            (Family::Clang, Position::Chain(at)) => Position::Chain(at),
            _ => Position::Beside,
        }
    }

    /// The header of a source or of a found file.
    pub(crate) fn header(
        &self,
        spelled: &[u8],
        position: Position,
        is_system: bool,
        file: &Arc<SourceFile>,
        stands_in: Option<u32>,
        symbols: &Symbols,
    ) -> Arc<Header> {
        let symbol = symbols.intern(spelled);
        if let Some(header) = self.headers.get(&(symbol, position, is_system))
            && Arc::ptr_eq(&header.file, file)
            && header.stands_in == stands_in
        {
            return Arc::clone(&header);
        }
        let beside = memchr::memrchr(b'/', spelled).map_or(&spelled[..0], |slash| &spelled[..slash.max(1)]);
        let is_own = spelled == file.path().as_os_str().as_bytes();
        let header = Arc::new(Header {
            spelled: symbol,
            name: if is_own { Arc::clone(file.path()) } else { Arc::from(as_path(spelled)) },
            beside: symbols.intern(beside),
            position,
            is_system,
            file: Arc::clone(file),
            stands_in,
            effects: Effects::default(),
            once: OnceLock::new(),
        });
        self.headers.insert((symbol, position, is_system), Arc::clone(&header));
        header
    }

    /// Whether the directory spelled so was searched by includers of both kinds.
    pub(crate) fn is_beside_both(&self, directory: Symbol) -> bool {
        self.beside.get(&directory).is_some_and(|kinds| *kinds == [true, true])
    }
}

/// What a search needs besides the setting.
#[derive(Clone, Copy)]
pub(crate) struct Searcher<'a> {
    pub(crate) store: &'a FileStore,
    pub(crate) view: View,
    pub(crate) symbols: &'a Symbols,
}

impl Lookup {
    /// Whether the search would end as it did.
    pub(crate) fn is_current(&self, view: View, store: &FileStore) -> bool {
        if self.validated.load(Ordering::Acquire) >= view.since() {
            return true;
        }
        let is_current = self.trail.is_current(view, store);
        if is_current {
            self.validated.fetch_max(view.since(), Ordering::AcqRel);
        }
        is_current
    }
}

/// `path`, from `start` where it is relative, without `.` and `..`.
pub(crate) fn lexical(start: &Path, path: &[u8]) -> Arc<Path> {
    let base = if path.starts_with(b"/") { &b"/"[..] } else { start.as_os_str().as_bytes() };
    let mut lexical = Vec::with_capacity(base.len() + 1 + path.len());
    lexical.extend_from_slice(base.strip_suffix(b"/").unwrap_or(base));
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => lexical.truncate(memchr::memrchr(b'/', &lexical).unwrap_or(0)),
            name => {
                lexical.push(b'/');
                lexical.extend_from_slice(name);
            }
        }
    }
    if lexical.is_empty() {
        lexical.push(b'/');
    }
    Arc::from(as_path(&lexical))
}

/// The file that a search found.
pub(crate) fn found_file(lookup: &Lookup) -> Option<&Arc<SourceFile>> {
    match &lookup.found {
        Found::Header(header) => Some(&header.file),
        _ => None,
    }
}

/// The includer of `-include`: a file of the working directory, spelled `./`.
fn command_line(symbols: &Symbols, store: &FileStore) -> Header {
    Header {
        spelled: symbols.intern(b"<command-line>"),
        name: Arc::from(Path::new("<command-line>")),
        beside: symbols.intern(b"."),
        position: Position::CommandLine,
        is_system: false,
        file: store.file(Path::new("/")),
        stands_in: None,
        effects: Effects::default(),
        once: OnceLock::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::lexical;
    use std::path::Path;

    #[test]
    fn lexical_paths() {
        let check = |start: &str, path: &str, expect: &str| {
            assert_eq!(lexical(Path::new(start), path.as_bytes()).as_ref(), Path::new(expect), "{start}, {path}");
        };
        check("/a/b", "c.h", "/a/b/c.h");
        check("/a/b", "./c//d/../e.h", "/a/b/c/e.h");
        check("/a/b", "../../../e.h", "/e.h");
        check("/a/b", "/x/./y", "/x/y");
        check("/", "c.h", "/c.h");
        check("/a", "..", "/");
    }
}
