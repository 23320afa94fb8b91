//! The directories in which a compile looks for headers, in order.
//!
//! **Source:** gcc's incpath.c (`register_include_chains`, `merge_include_chains`, `remove_duplicates`) and the manual's
//! "Options for Directory Search"; clang's CompilerInvocation.cpp (`ParseHeaderSearchArgs`) and InitHeaderSearch.cpp
//! (`Realize`, `RemoveDuplicates`).

use crate::command::{CompileCommand, Family, Language, SearchChain};
use crate::fallback::Fallback;
use crate::files::directory::Directory;
use crate::files::file::SourceFile;
use crate::files::resolve::{Resolution, Trail};
use crate::files::{FileStore, View};
use crate::scan::probe::Probe;
use crate::scan::search::header::ChainPosition;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// A directory of the search path that exists.
#[derive(Debug, Clone)]
pub(crate) struct SearchDirectory {
    /// As it is spelled: what `__FILE__` of a header in it starts with.
    pub(crate) spelled: Vec<u8>,
    pub(crate) directory: Arc<Directory>,
    identity: (u64, u64),
    group: Group,
}

impl SearchDirectory {
    /// Whether its headers are system headers.
    pub(crate) const fn is_system(&self) -> bool {
        matches!(self.group, Group::System | Group::After)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Quote,
    Bracket,
    System,
    After,
}

/// The search path of a compile.
#[derive(Debug, Default)]
pub(crate) struct SearchPath {
    /// All chains, one after the other.
    pub(crate) directories: Vec<SearchDirectory>,
    /// Where a search for `<…>` starts.
    pub(crate) bracket_start: ChainPosition,
    /// `-I-`: the includer's directory is not searched.
    pub(crate) ignores_includer: bool,
    /// Each directory that the command line or the compiler names and that exists, duplicates included.
    pub(crate) existing: Vec<Arc<Directory>>,
    /// Files that were named as directories: the compiler says what they are.
    pub(crate) files: Vec<Arc<SourceFile>>,
    /// Paths of directories that were named and don't exist.
    pub(crate) missing: Vec<Vec<u8>>,
    /// What all of it depends on.
    pub(crate) trail: Trail,
}

impl SearchPath {
    /// The search path of `command`.
    ///
    /// # Errors
    /// A [`Fallback`] where a directory can't be looked at.
    pub(crate) fn new(
        command: &CompileCommand,
        probe: &Probe,
        start: &Arc<Directory>,
        store: &FileStore,
        view: View,
    ) -> Result<Self, Fallback> {
        let mut path = Self::default();
        let mut found = Vec::new();
        for (group, spelled) in path.named(command, probe) {
            match store.resolve(start, &spelled, view, &mut path.trail)? {
                Resolution::Directory(directory) => {
                    let Some(identity) = directory.identity(view, store) else { continue };
                    path.existing.push(Arc::clone(&directory));
                    found.push(SearchDirectory { spelled, directory, identity, group });
                }
                Resolution::Absent => {
                    path.files.extend(file_in_the_way(start, &spelled, store, view, &mut path.trail)?);
                    path.missing.push(spelled);
                }
                Resolution::File(file) => path.files.push(file),
                Resolution::Special(_) => {}
            }
        }
        for spelled in looked_at(command) {
            match store.resolve(start, &spelled, view, &mut path.trail)? {
                Resolution::Directory(directory) => path.existing.push(directory),
                Resolution::Absent => path.missing.push(spelled),
                Resolution::File(_) | Resolution::Special(_) => {}
            }
        }
        path.missing.extend(probe.missing_directories.iter().cloned());
        path.merge(&found, command.family);
        Ok(path)
    }

    /// The place behind the last directory.
    pub(crate) fn end(&self) -> ChainPosition {
        ChainPosition::at(self.directories.len())
    }

    /// Every directory with its group, in the order in which the compiler adds them.
    fn named(&mut self, command: &CompileCommand, probe: &Probe) -> Vec<(Group, Vec<u8>)> {
        let options = &command.preprocessor;
        let split = options.directories.iter().rposition(|directory| directory.chain == SearchChain::Split);
        self.ignores_includer = split.is_some();
        let mut named: Vec<(Group, Vec<u8>)> =
            probe.driver_directories.iter().map(|directory| (Group::System, directory.clone())).collect();
        let mut prefixed = Vec::new();
        for (at, directory) in options.directories.iter().enumerate() {
            let group = match (directory.chain, command.family) {
                (SearchChain::Quote, _) => Group::Quote,
                (SearchChain::Bracket | SearchChain::PrefixedBracket, _) if split.is_some_and(|split| at < split) => {
                    Group::Quote
                }
                (SearchChain::Bracket | SearchChain::PrefixedBracket, _) => Group::Bracket,
                // Whatever gcc's manual says.
                (SearchChain::System, _) | (SearchChain::PrefixedAfter, Family::Gcc) => Group::System,
                (SearchChain::After, _) | (SearchChain::PrefixedAfter, Family::Clang) => Group::After,
                (SearchChain::Split, _) => continue,
            };
            let spelled = with_sysroot(directory.path.as_os_str().as_bytes(), group, command);
            let is_prefixed = matches!(directory.chain, SearchChain::PrefixedBracket | SearchChain::PrefixedAfter);
            if is_prefixed && command.family == Family::Clang {
                prefixed.push((group, spelled));
            } else {
                named.push((group, spelled));
            }
        }
        let variable = |name: &str| directories_of_variable(command, name);
        named.extend(variable("CPATH").into_iter().map(|directory| (Group::Bracket, directory)));
        // clang reads the flags with a prefix behind every -I, which the variable is to it, and before every -idirafter.
        let (before, after): (Vec<_>, Vec<_>) = prefixed.into_iter().partition(|(group, _)| *group == Group::Bracket);
        named.extend(before);
        named.splice(0..0, after);
        let directories = variables_of_language(command).iter().flat_map(|name| variable(name));
        named.extend(directories.map(|directory| (Group::System, directory)));
        named.extend(probe.standard_directories.iter().map(|directory| (Group::System, directory.clone())));
        named
    }

    fn merge(&mut self, found: &[SearchDirectory], family: Family) {
        let group = |group| found.iter().filter(move |directory| directory.group == group).cloned();
        let mut quote: Vec<_> = group(Group::Quote).collect();
        let bracket: Vec<_> = group(Group::Bracket).collect();
        let system: Vec<_> = group(Group::System).chain(group(Group::After)).collect();
        match family {
            Family::Gcc => {
                let system = without_duplicates(system, &[]);
                let mut bracket = without_duplicates(bracket, &system);
                // The last one that was named, whether it stays or not, alone may not be the next one of the search.
                let last = quote.pop();
                let mut quote = without_duplicates(quote, &system);
                let next = bracket.first().or(system.first()).map(|next| next.identity);
                if let Some(last) = last.filter(|last| Some(last.identity) != next) {
                    quote.push(last);
                    quote = without_duplicates(quote, &system);
                }
                bracket.extend(system);
                self.bracket_start = ChainPosition::at(quote.len());
                quote.append(&mut bracket);
                self.directories = quote;
            }
            Family::Clang => {
                let mut quote = without_duplicates(quote, &[]);
                self.bracket_start = ChainPosition::at(quote.len());
                let bracket = without_duplicates(bracket, &[]);
                let mut rest = Vec::new();
                for directory in bracket.into_iter().chain(system) {
                    let known = rest.iter().position(|known: &SearchDirectory| known.identity == directory.identity);
                    match known {
                        // A system directory takes the place of a user's one, at its own position.
                        Some(known) if directory.group != Group::Bracket && rest[known].group == Group::Bracket => {
                            rest.remove(known);
                            rest.push(directory);
                        }
                        Some(_) => {}
                        None => rest.push(directory),
                    }
                }
                quote.append(&mut rest);
                self.directories = quote;
            }
        }
    }
}

/// `directories` without those that stand in `later` or stood before.
fn without_duplicates(directories: Vec<SearchDirectory>, later: &[SearchDirectory]) -> Vec<SearchDirectory> {
    let mut kept: Vec<SearchDirectory> = Vec::with_capacity(directories.len());
    for directory in directories {
        let is_same = |other: &SearchDirectory| other.identity == directory.identity;
        if !later.iter().any(is_same) && !kept.iter().any(is_same) {
            kept.push(directory);
        }
    }
    kept
}

/// `=dir` and `$SYSROOT/dir`: relative to the system root, where there is one.
fn with_sysroot(path: &[u8], group: Group, command: &CompileCommand) -> Vec<u8> {
    let Some(sysroot) = &command.preprocessor.sysroot else { return path.to_vec() };
    let rest = match (path.strip_prefix(b"="), path.strip_prefix(b"$SYSROOT"), command.family) {
        (Some(rest), _, Family::Gcc) => rest,
        (Some(rest), _, Family::Clang) if group == Group::Bracket => rest,
        (None, Some(rest), Family::Gcc) => rest,
        _ => return path.to_vec(),
    };
    let sysroot = sysroot.as_os_str().as_bytes();
    let sysroot = if rest.starts_with(b"/") { sysroot.strip_suffix(b"/").unwrap_or(sysroot) } else { sysroot };
    [sysroot, rest].concat()
}

/// The variables with directories for each language.
const VARIABLES: [&str; 4] = ["C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH"];

/// Those that count in the language of `command`.
const fn variables_of_language(command: &CompileCommand) -> &'static [&'static str] {
    match (command.language, command.family) {
        (Language::Cxx | Language::CxxCppOutput, _) => &["CPLUS_INCLUDE_PATH"],
        (Language::ObjectiveC, _) => &["OBJC_INCLUDE_PATH"],
        (Language::ObjectiveCxx, Family::Gcc) => &["OBJCPLUS_INCLUDE_PATH"],
        (Language::ObjectiveCxx, Family::Clang) => &["CPLUS_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH"],
        _ => &["C_INCLUDE_PATH"],
    }
}

/// The directories that clang looks at though they are those of other languages: it names a directory with several names
/// by the first one that it met.
fn looked_at(command: &CompileCommand) -> Vec<Vec<u8>> {
    if command.family == Family::Gcc {
        return Vec::new();
    }
    let others = VARIABLES.iter().filter(|name| !variables_of_language(command).contains(name));
    others.flat_map(|name| directories_of_variable(command, name)).collect()
}

/// The directories of `CPATH` and its kind: an empty element is the working directory.
fn directories_of_variable(command: &CompileCommand, name: &str) -> Vec<Vec<u8>> {
    let value = command.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes());
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Vec::new() };
    value
        .split(|byte| *byte == b':')
        .map(|element| if element.is_empty() { b".".to_vec() } else { element.to_vec() })
        .collect()
}

/// The file because of which `spelled` is no directory, as in `file/` and `file/x`: gcc fails then, where it would only
/// pass over what is absent.
fn file_in_the_way(
    start: &Arc<Directory>,
    spelled: &[u8],
    store: &FileStore,
    view: View,
    trail: &mut Trail,
) -> Result<Option<Arc<SourceFile>>, Fallback> {
    let mut rest = spelled;
    while let Some(slash) = memchr::memrchr(b'/', rest).filter(|slash| *slash > 0) {
        rest = &rest[..slash];
        match store.resolve(start, rest, view, trail)? {
            Resolution::Absent => {}
            Resolution::File(file) => return Ok(Some(file)),
            _ => return Ok(None),
        }
    }
    Ok(None)
}
