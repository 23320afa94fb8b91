//! One search: directory by directory, until a header stands there.
//!
//! **Source:** gcc's files.c (`_cpp_find_file`, `open_file`, `maybe_shorter_path`); clang's HeaderSearch.cpp (`LookupFile`).

use super::{Searcher, Setting};
use crate::command::Family;
use crate::fallback::{Fallback, Reason};
use crate::files::as_path;
use crate::files::directory::Directory;
use crate::files::lexical::lexical;
use crate::files::resolve::{Resolution, Trail};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::search::header::{ChainPosition, FoundBy, Sighting};
use crate::scan::search::lookup::{Found, LookupKey, Start};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// The kernel takes no longer path, the final zero among them.
const MAX_PATH_BYTES: usize = 4096;

/// The kernel takes no longer part of a path.
const MAX_NAME_BYTES: usize = 255;

/// What a search found, and all that it depends on.
pub(super) struct Search {
    pub(super) found: Found,
    pub(super) absent: Vec<Arc<Path>>,
    pub(super) doubtful: Option<Symbol>,
    pub(super) trail: Trail,
}

/// A directory where a search looks.
struct Candidate<'a> {
    spelled: &'a [u8],
    /// The directory itself, where it is known.
    directory: Option<&'a Arc<Directory>>,
    /// How what stands there is found.
    found_by: FoundBy,
    /// Whether gcc takes it for a directory of system headers.
    is_system: bool,
}

impl Setting {
    /// Searches anew.
    pub(super) fn search(&self, key: LookupKey, searcher: &Searcher<'_>) -> Search {
        let mut search = Search { found: Found::Nothing, absent: Vec::new(), doubtful: None, trail: Trail::default() };
        let chain_from = |first: usize| {
            let directories = self.path.directories.iter().enumerate().skip(first);
            directories.map(|(at, directory)| Candidate {
                spelled: &directory.spelled,
                directory: Some(&directory.directory),
                found_by: FoundBy::Chain(ChainPosition::at(at)),
                is_system: directory.is_system(),
            })
        };
        let candidates: Vec<_> = match key.start {
            Start::Absolute => {
                vec![Candidate { spelled: b"", directory: None, found_by: FoundBy::Absolute, is_system: false }]
            }
            Start::Chain(at) => chain_from(at.index()).collect(),
            Start::Beside(beside, found_by) => {
                self.beside.entry(beside).or_default()[usize::from(key.by_system)] = true;
                let spelled = searcher.symbols.text(beside);
                let beside = Candidate { spelled, directory: None, found_by, is_system: key.by_system };
                std::iter::once(beside).chain(chain_from(0)).collect()
            }
        };
        for candidate in candidates {
            search.found = match self.try_candidate(key, &candidate, &mut search, searcher) {
                Ok(found) => found,
                Err(fallback) => Found::Refused(fallback),
            };
            if !matches!(search.found, Found::Nothing) {
                break;
            }
        }
        search
    }

    fn try_candidate(
        &self,
        key: LookupKey,
        candidate: &Candidate<'_>,
        search: &mut Search,
        searcher: &Searcher<'_>,
    ) -> Result<Found, Fallback> {
        let Candidate { spelled, directory, found_by, is_system } = *candidate;
        let name = searcher.symbols.text(key.name);
        let path = if spelled.is_empty() {
            name.to_vec()
        } else if spelled.ends_with(b"/") {
            [spelled, name].concat()
        } else {
            [spelled, b"/", name].concat()
        };
        let (start, rest) = match directory {
            Some(directory) => (directory, name),
            None => (&self.start, path.as_slice()),
        };
        let (store, view) = (searcher.store, searcher.view);
        if name.is_empty() || name.contains(&0) {
            return Ok(Found::Nothing);
        }
        if path.len() >= MAX_PATH_BYTES || name.split(|byte| *byte == b'/').any(|part| part.len() > MAX_NAME_BYTES) {
            return match self.family {
                Family::Gcc => Err(Fallback::new(Reason::Unreadable, "a header's name is too long")),
                // clang takes what the kernel refuses for absent.
                Family::Clang => Ok(Found::Nothing),
            };
        }
        if self.family == Family::Gcc {
            let precompiled = [rest, b".gch"].concat();
            if !matches!(store.resolve(start, &precompiled, view, &mut search.trail)?, Resolution::Absent) {
                return Err(Fallback::at(Reason::PrecompiledHeader, "stands beside the header", as_path(&path), 0));
            }
        }
        let links = search.trail.symlinks.len();
        Ok(match store.resolve(start, rest, view, &mut search.trail)? {
            Resolution::File(file) => {
                let target = file.path().as_os_str().as_bytes();
                let mut stands_in = None;
                if search.trail.symlinks.len() > links {
                    let (length, mut trail) = (rest.len() - name_in_directory(rest).len(), Trail::default());
                    if let Resolution::Directory(place) = store.resolve(start, &rest[..length], view, &mut trail)?
                        && Some(&**place.path()) != file.path().parent()
                    {
                        file.note_link();
                        stands_in = Some(place.id());
                    }
                }
                // gcc spells a system header by its target where that is shorter.
                let may_be_shorter = self.shortens_system_headers && target.len() < path.len();
                if let Start::Beside(beside, _) = key.start
                    && may_be_shorter
                    && stands_in.is_some()
                    && found_by == FoundBy::Beside
                {
                    search.doubtful = Some(beside);
                }
                let spelled = if may_be_shorter && is_system { target } else { &path };
                let is_system = key.by_system || is_system;
                let how = Sighting { found_by, is_system, stands_in };
                Found::Header(self.header(spelled, how, &file, searcher.symbols))
            }
            Resolution::Directory(_) => Found::Nothing,
            Resolution::Special(path) if path.as_ref() == Path::new("/dev/null") => Found::NullDevice,
            Resolution::Special(path) => {
                return Err(Fallback::at(Reason::Unreadable, "not a regular file", path.as_ref(), 0));
            }
            Resolution::Absent => {
                search.absent.push(lexical(start.path(), rest));
                Found::Nothing
            }
        })
    }
}

/// What stands behind the last slash of `path`.
fn name_in_directory(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
}
