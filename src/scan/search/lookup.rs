//! The outcome of a search, with all that it depends on.

use crate::fallback::Fallback;
use crate::files::file::SourceFile;
use crate::files::resolve::Trail;
use crate::files::{Checked, FileStore, View};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::search::header::{ChainPosition, FoundBy, Header};
use std::path::Path;
use std::sync::Arc;

/// What a search depends on besides the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LookupKey {
    pub(super) name: Symbol,
    pub(super) start: Start,
    /// Whether gcc takes the includer for a system header.
    pub(super) by_system: bool,
}

/// Where a search starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Start {
    /// In the directory of the includer, spelled so, where what is found has this position; then the whole path.
    Beside(Symbol, FoundBy),
    /// In this directory of the search path.
    Chain(ChainPosition),
    /// Nowhere: the name is a path from the root.
    Absolute,
}

/// The number of a look-up in its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LookupNumber(pub(super) u32);

impl LookupNumber {
    /// The place of the look-up in a list of all.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The outcome of a search.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) number: LookupNumber,
    pub(crate) found: Found,
    /// What was looked for before, and is not there.
    pub(crate) absent: Arc<[Arc<Path>]>,
    /// The directory beside the includer where a link was found that gcc spells by its target if that directory is one of
    /// system headers, which it is by who asked for it first.
    pub(crate) doubtful: Option<Symbol>,
    pub(crate) trail: Trail,
    pub(super) checked: Checked,
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

impl Found {
    /// The header, where a file was found that can be replayed.
    pub(crate) const fn header(&self) -> Option<&Arc<Header>> {
        match self {
            Self::Header(header) => Some(header),
            _ => None,
        }
    }
}

impl Lookup {
    /// The file that was found.
    pub(crate) fn file(&self) -> Option<&Arc<SourceFile>> {
        self.found.header().map(|header| &header.file)
    }

    /// Whether the search would end as it did.
    pub(crate) fn is_current(&self, view: View, store: &FileStore) -> bool {
        self.checked.or_check(view, || self.trail.is_current(view, store))
    }
}
