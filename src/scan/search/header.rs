//! A header as a compile knows it: by spelling, place and file.

use crate::files::directory::DirectoryId;
use crate::files::file::SourceFile;
use crate::scan::preprocess::symbols::Symbol;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The number of a header in its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderId(pub(super) u32);

impl HeaderId {
    /// Its place in a list of all headers of the setting.
    pub(crate) const fn index(self) -> u32 {
        self.0
    }
}

/// A file as a compile spells it and found it: what `__FILE__`, a look-up beside it and `#include_next` depend on.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) id: HeaderId,
    /// The path as it is spelled.
    pub(crate) spelled: Symbol,
    /// The spelled path as a path.
    pub(crate) name: Arc<Path>,
    /// The directory of the spelled path; empty for the working directory.
    pub(crate) beside: Symbol,
    pub(crate) found_by: FoundBy,
    /// Whether gcc takes it for a system header, because of where it was found or what included it.
    pub(crate) is_system: bool,
    pub(crate) file: Arc<SourceFile>,
    /// The directory in which the name stands, where that is a link's, and not the file's own one.
    pub(crate) stands_in: Option<DirectoryId>,
    /// The symbol that stands for "included once and never again".
    pub(crate) once: OnceLock<Symbol>,
}

/// The place of a directory in the search path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChainPosition(u32);

impl ChainPosition {
    pub(crate) const FIRST: Self = Self(0);

    pub(crate) const fn at(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The place behind it.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Default for ChainPosition {
    fn default() -> Self {
        Self::FIRST
    }
}

/// What a search tells of a file besides its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    pub(crate) found_by: FoundBy,
    /// As in [`Header`].
    pub(crate) is_system: bool,
    /// As in [`Header`].
    pub(crate) stands_in: Option<DirectoryId>,
}

impl Sighting {
    /// That of the source itself.
    pub(crate) const PRIMARY: Self = Self { found_by: FoundBy::Primary, is_system: false, stands_in: None };
}

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FoundBy {
    /// It is the source itself.
    Primary,
    /// It is the command line, from which `-include` includes.
    CommandLine,
    /// By an absolute path.
    Absolute,
    /// Beside its includer.
    Beside,
    /// In this directory of the search path.
    Chain(ChainPosition),
}

/// Where a name is included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Includer<'a> {
    pub(crate) header: &'a Header,
    /// Whether it is a system header, or said to be one by now.
    pub(crate) is_system: bool,
}
