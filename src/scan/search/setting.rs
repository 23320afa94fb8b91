//! Where a header's name leads, for all compiles of one setting: searches and headers, remembered.
//!
//! What it does not know: how one search goes (`search`).
//!
//! **Source:** gcc's files.c (`search_path_head`, `_cpp_find_file`, `open_file`); clang's HeaderSearch.cpp
//! (`LookupFile`) and PPDirectives.cpp (`#include_next`).

mod search;

use crate::command::{CompileCommand, Family};
use crate::fallback::Fallback;
use crate::files::directory::Directory;
use crate::files::file::SourceFile;
use crate::files::resolve::{Resolution, Trail};
use crate::files::{Checked, FileStore, View, as_path};
use crate::scan::preprocess::program::{HeaderName, Inclusion, Quoting};
use crate::scan::preprocess::symbols::{Symbol, Symbols};
use crate::scan::probe::Probe;
use crate::scan::search::header::{ChainPosition, FoundBy, Header, HeaderId, Includer, Sighting};
use crate::scan::search::lookup::{Lookup, LookupKey, LookupNumber, Start};
use crate::scan::search::search_path::SearchPath;
use dashmap::DashMap;
use search::Search;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// How many look-ups have a number.
    numbered_lookups: AtomicU32,
    headers: DashMap<(Symbol, FoundBy, bool), Arc<Header>, foldhash::fast::RandomState>,
    /// How many headers have a number.
    numbered_headers: AtomicU32,
    command_line: OnceLock<Header>,
    /// Directories beside includers in which headers were searched by includers that are system headers, and by others.
    beside: DashMap<Symbol, [bool; 2], foldhash::fast::RandomState>,
    checked: Checked,
}

impl Setting {
    pub(crate) fn new(command: &CompileCommand, probe: Arc<Probe>, path: SearchPath, start: Arc<Directory>) -> Self {
        Self {
            family: command.family,
            probe,
            path,
            start,
            shortens_system_headers: command.family == Family::Gcc && !command.preprocessor.keeps_system_headers,
            lookups: DashMap::default(),
            numbered_lookups: AtomicU32::new(0),
            headers: DashMap::default(),
            numbered_headers: AtomicU32::new(0),
            command_line: OnceLock::new(),
            beside: DashMap::default(),
            checked: Checked::default(),
        }
    }

    /// Whether the search path still is what it was.
    pub(crate) fn is_current(&self, view: View, store: &FileStore) -> bool {
        self.checked.or_check(view, || self.path.trail.is_current(view, store))
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
        let number = LookupNumber(self.numbered_lookups.fetch_add(1, Ordering::Relaxed));
        let checked = Checked::in_view(searcher.view);
        let Search { found, absent, doubtful, trail } = search;
        let lookup = Arc::new(Lookup { number, found, absent: Arc::from(absent), doubtful, trail, checked });
        self.lookups.insert(key, Arc::clone(&lookup));
        lookup
    }

    /// Where `-include name` leads.
    pub(crate) fn look_up_forced(&self, name: Symbol, searcher: &Searcher<'_>) -> Arc<Lookup> {
        let name = HeaderName { name, quoting: Quoting::Quotes };
        self.look_up(name, Inclusion::Plain, self.command_line(searcher), searcher)
    }

    /// Where the header leads that the compiler includes by itself.
    pub(crate) fn look_up_implicit(&self, name: Symbol, searcher: &Searcher<'_>) -> Arc<Lookup> {
        let name = HeaderName { name, quoting: Quoting::Brackets };
        self.look_up(name, Inclusion::Plain, self.command_line(searcher), searcher)
    }

    /// The includer of `-include`: a file of the working directory, spelled `./`.
    fn command_line(&self, searcher: &Searcher<'_>) -> Includer<'_> {
        let header = self.command_line.get_or_init(|| Header {
            id: self.new_header_id(),
            spelled: searcher.symbols.intern(b"<command-line>"),
            name: Arc::from(Path::new("<command-line>")),
            beside: searcher.symbols.intern(b"."),
            found_by: FoundBy::CommandLine,
            is_system: false,
            file: searcher.store.file(Path::new("/")),
            stands_in: None,
            once: OnceLock::new(),
        });
        Includer { header, is_system: false }
    }

    fn new_header_id(&self) -> HeaderId {
        HeaderId(self.numbered_headers.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether anything stands at `path`, from the working directory.
    ///
    /// # Errors
    /// A [`Fallback`] where that can't be looked at.
    pub(crate) fn exists(&self, path: &[u8], searcher: &Searcher<'_>, trail: &mut Trail) -> Result<bool, Fallback> {
        Ok(!matches!(searcher.store.resolve(&self.start, path, searcher.view, trail)?, Resolution::Absent))
    }

    fn start_of(&self, name: HeaderName, how: Inclusion, includer: &Header, symbols: &Symbols) -> Start {
        let is_absolute = symbols.text(name.name).starts_with(b"/");
        let looks_beside = !self.path.ignores_includer || includer.found_by == FoundBy::CommandLine;
        let plain = match name.quoting {
            _ if is_absolute => Start::Absolute,
            Quoting::Quotes if looks_beside => Start::Beside(includer.beside, self.position_beside(includer)),
            Quoting::Quotes => Start::Chain(ChainPosition::FIRST),
            Quoting::Brackets => Start::Chain(self.path.bracket_start),
        };
        if how != Inclusion::Next {
            return plain;
        }
        match (includer.found_by, self.family) {
            // It refuses to go on behind a directory with a name that no directory of the search path leads to.
            (FoundBy::Chain(_), Family::Clang) if is_absolute => Start::Chain(self.path.end()),
            _ if is_absolute => plain,
            (FoundBy::Chain(at), _) => Start::Chain(at.next()),
            (FoundBy::Beside, Family::Gcc) => Start::Chain(ChainPosition::FIRST),
            // clang searches as if it were a plain #include, and says so.
            (FoundBy::Primary | FoundBy::CommandLine | FoundBy::Absolute | FoundBy::Beside, _) => plain,
        }
    }

    /// How a header is found that stands beside `includer`. For clang it is found where its includer was, so that
    /// `#include_next` in it goes on behind that directory.
    fn position_beside(&self, includer: &Header) -> FoundBy {
        match (self.family, includer.found_by) {
            (Family::Clang, FoundBy::Chain(at)) => FoundBy::Chain(at),
            _ => FoundBy::Beside,
        }
    }

    /// The header of a source or of a found file.
    pub(crate) fn header(
        &self,
        spelled: &[u8],
        how: Sighting,
        file: &Arc<SourceFile>,
        symbols: &Symbols,
    ) -> Arc<Header> {
        let Sighting { found_by, is_system, stands_in } = how;
        let symbol = symbols.intern(spelled);
        if let Some(header) = self.headers.get(&(symbol, found_by, is_system))
            && Arc::ptr_eq(&header.file, file)
            && header.stands_in == stands_in
        {
            return Arc::clone(&header);
        }
        let beside = memchr::memrchr(b'/', spelled).map_or(&spelled[..0], |slash| &spelled[..slash.max(1)]);
        let is_own = spelled == file.path().as_os_str().as_bytes();
        let header = Arc::new(Header {
            id: self.new_header_id(),
            spelled: symbol,
            name: if is_own { Arc::clone(file.path()) } else { Arc::from(as_path(spelled)) },
            beside: symbols.intern(beside),
            found_by,
            is_system,
            file: Arc::clone(file),
            stands_in,
            once: OnceLock::new(),
        });
        self.headers.insert((symbol, found_by, is_system), Arc::clone(&header));
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
