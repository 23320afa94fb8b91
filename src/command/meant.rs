//! What a compile's flags say, before source, outputs and environment make a [`CompileCommand`](super::CompileCommand) of it.
//!
//! What it does not know: how flags are spelled and read ([`parse`](super::parse)).

use super::options::{Color, Product, SaveTemps};
use super::{AskedFrom, Characters, Language, PreprocessorOptions};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// After which phase the driver stops. `-S` wins over `-c`, wherever they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// `-c`
    Object,
    /// `-S`
    Assembly,
}

/// What the flags have said so far.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for flags that are given or not")]
pub(super) struct Meant {
    pub(super) phase: Option<Phase>,
    pub(super) emits_llvm: bool,
    pub(super) output: Option<PathBuf>,
    pub(super) writes_dependencies: bool,
    pub(super) dependency_file: Option<PathBuf>,
    pub(super) products: BTreeSet<Product>,
    pub(super) named_outputs: Vec<PathBuf>,
    pub(super) names_dumps: bool,
    pub(super) save_temps: Option<SaveTemps>,
    pub(super) profiles: Vec<Option<PathBuf>>,
    pub(super) profile_directory: Option<PathBuf>,
    pub(super) profile_prefix: Option<PathBuf>,
    pub(super) inputs: Vec<PathBuf>,
    pub(super) option_files: Vec<PathBuf>,
    pub(super) tool_directories: Vec<PathBuf>,
    pub(super) sources: Vec<(PathBuf, Option<Language>)>,
    pub(super) language: Option<Language>,
    /// Whether `-x` was given, be it with `none`.
    pub(super) names_language: bool,
    pub(super) preprocessor: PreprocessorOptions,
    pub(super) sysroot: Option<PathBuf>,
    pub(super) header_sysroot: Option<PathBuf>,
    pub(super) prefix: Option<OsString>,
    /// Under which the compiler is asked for its macros and directories.
    pub(super) probe: Vec<OsString>,
    /// Under which the driver is asked for what it runs.
    pub(super) toolchain: Vec<OsString>,
    pub(super) asked_from: AskedFrom,
    pub(super) characters: Characters,
    pub(super) color: Option<Color>,
    pub(super) records_command_line: bool,
    pub(super) records_in_debug_information: bool,
    /// Whether a flag makes gcc write a random number where `-frandom-seed=` gives none.
    pub(super) is_seeded: bool,
    pub(super) seed: Option<OsString>,
    pub(super) for_preprocessor: Vec<OsString>,
    pub(super) for_front_end: Vec<OsString>,
    pub(super) for_assembler: Vec<OsString>,
    /// Whether the assembler writes down what its input is called.
    pub(super) shows_assembly: bool,
}
