//! `-ffile-prefix-map=` and `-fmacro-prefix-map=`: what `__FILE__` says instead of the path as it is spelled.
//!
//! **Source:** gcc's file-prefix-map.cc (`remap_filename`); clang's LangOptions.cpp (`remapPathPrefix`).

use crate::command::options::PrefixMap as Mapped;
use crate::command::{CompileCommand, Family, MappedPrefix};
use std::os::unix::ffi::OsStrExt as _;

/// The prefixes of a command, in the order in which the compiler tries them, each with what takes its place.
#[derive(Debug, Default)]
pub(crate) struct PrefixMap(Vec<(Vec<u8>, Vec<u8>)>);

impl PrefixMap {
    /// The map of `command`.
    pub(crate) fn of(command: &CompileCommand) -> Self {
        let pair = |mapped: &MappedPrefix| {
            let operand = mapped.operand.as_bytes();
            let equals = match command.family {
                Family::Gcc => memchr::memrchr(b'=', operand)?,
                Family::Clang => memchr::memchr(b'=', operand)?,
            };
            Some((mapped.names == Mapped::Macro, operand[..equals].to_vec(), operand[equals + 1..].to_vec()))
        };
        let mut pairs: Vec<_> = command.preprocessor.mapped_prefixes.iter().filter_map(pair).collect();
        match command.family {
            // The last one counts; those for all kinds of names are read behind the others.
            Family::Gcc => {
                pairs.reverse();
                pairs.sort_by_key(|(is_of_macros, ..)| *is_of_macros);
            }
            // The longest one, and the first of those that are the same.
            Family::Clang => pairs.sort_by(|(_, one, _), (_, other, _)| other.cmp(one)),
        }
        let pairs = pairs.into_iter().map(|(_, prefix, other)| (prefix, other)).collect();
        Self(pairs)
    }

    /// What stands for `path`, if a prefix of it is mapped.
    pub(crate) fn map(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.0
            .iter()
            .find_map(|(prefix, other)| path.strip_prefix(prefix.as_slice()).map(|rest| [other, rest].concat()))
    }
}
