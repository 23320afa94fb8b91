//! A compile that is fully understood: what a command line means, for the scanner and for the action.
//!
//! [`parse`](crate::command::parse) turns arguments as written into a [`CompileCommand`] or a
//! [`Fallback`](crate::fallback::Fallback). Nothing here reads a source file or runs a compiler.

pub use crate::compiler::Family;
use crate::compiler::environment::{About, asking};
use crate::compiler::process::Request;
use crate::fallback::Fallback;
pub use options::{Families, Flag, Names, Operand, PathKind, flags};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

mod arguments;
mod assembler;
mod dependencies;
/// Which environment variables matter.
pub mod environment;
#[cfg(test)]
mod fuzz;
pub(crate) mod handed_on;
mod language;
mod meant;
pub(crate) mod options;
mod outputs;
mod parse;
mod response_file;
mod take;
#[cfg(test)]
mod tests;

/// Understands a command line.
///
/// `argv` is the compiler and its arguments. `directory` is the working directory as `getcwd` gives it. `environment` are
/// the client's variables, at the least those that [`environment::is_relevant`].
///
/// Costs a few `stat` calls (for the compiler, and for `PWD`) and the reading of response files.
///
/// # Errors
/// The named reason for which the compile is left to the real compiler, untouched.
pub fn parse(
    argv: &[OsString],
    directory: &Path,
    environment: &[(OsString, OsString)],
) -> Result<CompileCommand, Fallback> {
    parse::parse(argv, directory, environment)
}

/// The arguments in the operand of `-Wp,` or `-Wa,`.
fn comma_separated(list: &[u8]) -> impl Iterator<Item = OsString> {
    list.split(|&byte| byte == b',').map(|item| OsString::from_vec(item.to_vec()))
}

/// One compile of one source into one object (or assembly, or bitcode) file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileCommand {
    /// The compiler driver: an absolute path, found through `PATH` if written bare; symbolic links not resolved.
    pub compiler: PathBuf,
    /// What the action runs as its first argument: `compiler`, or the relative path that the user wrote, since some compilers
    /// derive the spelling of their own directories (and so of dependencies) from it.
    pub program: PathBuf,
    /// The driver's family, by which flags are understood.
    pub family: Family,
    /// The arguments after the compiler, as written (response files unexpanded): what the action runs. Where the user's
    /// standard error is a terminal, `-fdiagnostics-color=always` is added: it changes no output file.
    pub arguments: Vec<OsString>,
    /// The directory that relative paths start from: absolute, as the client spells it (`PWD` where that is right).
    pub working_directory: PathBuf,
    /// The environment variables that the compile depends on (`LANG`, `CPATH`, `SOURCE_DATE_EPOCH`, …), sorted by name;
    /// `PWD` among them where the compiler needs it to name the working directory as the client does.
    pub environment: Vec<(OsString, OsString)>,
    /// The variables by which the client's own compiler finds its programs and libraries (`PATH`, `LD_LIBRARY_PATH`), sorted
    /// by name: for asking it, and no part of the action.
    pub tool_environment: Vec<(OsString, OsString)>,
    /// The source file as written.
    pub source: PathBuf,
    /// What the source is, by `-x` or by the driver's name and the file's suffix.
    pub language: Language,
    /// What the preprocessor is told.
    pub preprocessor: PreprocessorOptions,
    /// Flags (and their operands) other than those in `preprocessor`, the source and the outputs, in order: those under
    /// which the compiler is asked for its predefined macros and its own search path. They do not say the language. Those that
    /// stand in `preprocessor` but change what the compiler has built in (`-std=`, `-nostdinc`, `--sysroot`, `-isysroot`,
    /// `-undef`, `-trigraphs`) are here as well; warnings are not. Relative paths in them start from the working directory.
    pub probe_arguments: Vec<OsString>,
    /// The flags that decide what the driver runs: those under which it is asked for its programs and their files.
    pub toolchain_arguments: Vec<OsString>,
    /// Whether these flags name a path from the working directory.
    pub asked_from: AskedFrom,
    /// Whether characters are converted between sets.
    pub characters: Characters,
    /// The operands of `-specs=` and `--config`: files with further options, as written. A bare name may also be one of the
    /// compiler's own files. What they say stands in no other field: the scanner asks the driver.
    pub option_files: Vec<PathBuf>,
    /// The operands of `-B`, as written: directories, or beginnings of names, of programs, headers and specs.
    pub tool_directories: Vec<PathBuf>,
    /// Files that flags name and that the compile reads: `-fprofile-use=`, `-fplugin=`, `-specs=`, response files, ….
    /// As written. One that does not exist is looked for by the compiler as well, and its absence matters. Some may be
    /// directories, which the compiler only tells from files.
    pub extra_inputs: Vec<PathBuf>,
    /// What the compile writes.
    pub outputs: Outputs,
    /// Whether the compiler writes the same bytes each time. Without `-frandom-seed=`, gcc puts random numbers into objects for
    /// link-time optimisation, coverage and profiles; clang's `-ftime-trace` measures; an assembler may name the temporary
    /// file that it reads. Such a result is kept like any other, but two of them can't be compared.
    pub is_deterministic: bool,
}

/// Variables that lead gcc's driver to other programs, headers and specs; specs stand where libraries do.
pub(crate) const LEADING_VARIABLES: [&str; 7] =
    ["BINUTILS_ROOT", "COMPILER_PATH", "G++_ROOT", "GCC_EXEC_PREFIX", "GCC_ROOT", "LIBRARY_PATH", "LPATH"];

impl CompileCommand {
    /// The arguments with every response file replaced by what it holds. Reads these files.
    ///
    /// # Errors
    /// Where one can't be read.
    pub(crate) fn expanded_arguments(&self) -> Result<Vec<OsString>, Fallback> {
        response_file::expand(&self.arguments, &self.working_directory).map(|expanded| expanded.arguments)
    }

    /// The request by which the compiler is asked what the compile includes. Reads response files.
    ///
    /// # Errors
    /// Where one can't be read.
    pub(crate) fn dependency_request(&self) -> Result<Request, Fallback> {
        let variables = self.environment.iter().chain(&self.tool_environment);
        Ok(Request {
            program: self.compiler.clone(),
            arguments: dependencies::arguments(&self.expanded_arguments()?, self.family)?,
            environment: asking(variables, About::Compile),
            directory: self.working_directory.clone(),
        })
    }

    /// From where its compiler may be asked under flags that are themselves `asked_from` somewhere: the
    /// [`LEADING_VARIABLES`], and others by which programs are found, may name relative paths as well.
    pub(crate) fn asked_from(&self, asked_from: AskedFrom, others: &[&str]) -> AskedFrom {
        let is_relative = |(name, value): &(OsString, OsString)| {
            let finds = LEADING_VARIABLES.iter().chain(others).any(|variable| name == variable);
            finds && value.as_bytes().split(|byte| *byte == b':').any(|entry| !entry.starts_with(b"/"))
        };
        match asked_from {
            AskedFrom::Anywhere if self.environment.iter().chain(&self.tool_environment).any(is_relative) => {
                AskedFrom::WorkingDirectory
            }
            asked_from => asked_from,
        }
    }

    /// Each flag of the table among `arguments`, which are some of this command's, with its operand and as it is written.
    pub(crate) fn flags_in<'a>(
        &self,
        arguments: &'a [OsString],
    ) -> impl DoubleEndedIterator<Item = (&'static Flag, &'a OsStr, &'a [OsString])> {
        let read = arguments::read(arguments, self.family, arguments::Reader::Proper).unwrap_or_default();
        read.into_iter().filter_map(|argument| match argument {
            arguments::Argument::Flag { flag, operand, written } => Some((flag, operand.unwrap_or_default(), written)),
            arguments::Argument::File(_) | arguments::Argument::Unknown(_) => None,
        })
    }

    /// The last flag that names the machine, as it is written.
    pub(crate) fn machine(&self) -> Option<&[u8]> {
        let machines = self.flags_in(&self.probe_arguments).rev();
        let mut machines = machines.filter(|(flag, ..)| options::names_architecture(flag));
        machines.find_map(|(_, _, written)| written.first()).map(|flag| flag.as_bytes())
    }

    /// The paths of `kind` that flags among `arguments` name, from the working directory.
    pub(crate) fn paths_in(&self, arguments: &[OsString], kind: PathKind) -> Vec<PathBuf> {
        let named = self.flags_in(arguments).filter(|(flag, ..)| flag.names == Names::Path(kind));
        named.map(|(_, operand, _)| self.working_directory.join(operand)).collect()
    }

    /// Whether what the driver hands on doesn't follow from the command line, as far as that tells: there are files of
    /// options, or directories with tools in which such files may stand; and clang hands its assembler's directories to
    /// the preprocessor as well, where the assembler is its own. A configuration file may also stand beside clang.
    pub(crate) fn is_led(&self) -> bool {
        let is_leading = |(name, _): &(OsString, OsString)| LEADING_VARIABLES.iter().any(|leading| name == leading);
        !self.option_files.is_empty()
            || !self.tool_directories.is_empty()
            || match self.family {
                Family::Gcc => self.environment.iter().any(is_leading),
                Family::Clang => !self.preprocessor.assembler_directories.is_empty(),
            }
    }
}

/// A source language, as `-x` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// `c`
    C,
    /// `c++`
    Cxx,
    /// `objective-c`
    ObjectiveC,
    /// `objective-c++`
    ObjectiveCxx,
    /// `assembler-with-cpp`
    AssemblerWithCpp,
    /// `assembler`: not preprocessed, but `.incbin` and `.include` are followed.
    Assembler,
    /// `cpp-output`: C that is preprocessed already.
    CppOutput,
    /// `c++-cpp-output`
    CxxCppOutput,
}

impl Language {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::C,
        Self::Cxx,
        Self::ObjectiveC,
        Self::ObjectiveCxx,
        Self::AssemblerWithCpp,
        Self::Assembler,
        Self::CppOutput,
        Self::CxxCppOutput,
    ];

    /// The operand of `-x` that selects it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Cxx => "c++",
            Self::ObjectiveC => "objective-c",
            Self::ObjectiveCxx => "objective-c++",
            Self::AssemblerWithCpp => "assembler-with-cpp",
            Self::Assembler => "assembler",
            Self::CppOutput => "cpp-output",
            Self::CxxCppOutput => "c++-cpp-output",
        }
    }

    /// The language in which a compiler is asked for what holds in this one: it says nothing of what is preprocessed
    /// already.
    pub(crate) const fn asked_as(self) -> Self {
        match self {
            Self::Assembler | Self::AssemblerWithCpp => Self::AssemblerWithCpp,
            Self::CppOutput => Self::C,
            Self::CxxCppOutput => Self::Cxx,
            language => language,
        }
    }

    /// Whether it is C++ or what has all of C++ in it.
    pub const fn is_cplusplus(self) -> bool {
        matches!(self, Self::Cxx | Self::ObjectiveCxx | Self::CxxCppOutput)
    }

    /// Whether the source goes through the preprocessor.
    pub const fn is_preprocessed_by_compiler(self) -> bool {
        !matches!(self, Self::Assembler | Self::CppOutput | Self::CxxCppOutput)
    }
}

/// What flags tell the preprocessor, in the order in which they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is given or not")]
pub struct PreprocessorOptions {
    /// `-D` and `-U`, in order.
    pub macros: Vec<MacroOption>,
    /// `-include` and `-imacros`, each kind in its order (gcc processes all `-imacros` first).
    pub forced_includes: Vec<ForcedInclude>,
    /// The directories of the search path that the command line names, in order, as written
    /// (`-I=dir` and `-I$SYSROOT/dir` with the prefix as written).
    pub directories: Vec<SearchDirectory>,
    /// `-Wa,-I`: where `.incbin` and `.include` look after the directories of `-I`.
    pub assembler_directories: Vec<PathBuf>,
    /// Every directory of the assembler's search path, in order, where the driver itself was asked for it: those of `-I`
    /// and `assembler_directories` don't count then.
    pub assembler_path: Option<Vec<PathBuf>>,
    /// `--embed-dir=` and `--embed-dir`, in order.
    pub embed_directories: Vec<PathBuf>,
    /// What replaces `=` and `$SYSROOT` in a search directory: `-isysroot`, or else `--sysroot`.
    pub sysroot: Option<PathBuf>,
    /// `-nostdinc`: the compiler's own directories are not searched (the probe is asked under it as well).
    pub no_standard_includes: bool,
    /// `-undef`.
    pub undef: bool,
    /// `-ffile-prefix-map=` and `-fmacro-prefix-map=`, in order.
    pub mapped_prefixes: Vec<MappedPrefix>,
    /// `-fno-canonical-system-headers`: gcc spells these as they are found.
    pub keeps_system_headers: bool,
    /// Flags by which it may hang on debug information whether `__GCC_HAVE_DWARF2_CFI_ASM` is defined.
    pub names_unwind_tables: bool,
    /// `-fpreprocessed` / `-fdirectives-only`, under which directives mean something else.
    pub preprocessed: bool,
}

/// From where a compiler may be asked under a set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AskedFrom {
    /// From any directory: the answer is the same.
    #[default]
    Anywhere,
    /// From the working directory alone, since a flag names a path relative to it.
    WorkingDirectory,
}

/// Which set characters are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Characters {
    /// In the object as in the source.
    #[default]
    AsTheyAre,
    /// In another one: the C library's tables are needed.
    Converted,
}

/// A prefix of names, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedPrefix {
    /// Which names it is for.
    pub(crate) names: options::PrefixMap,
    /// `old=new`, as written.
    pub(crate) operand: OsString,
}

/// A `-D` or `-U`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MacroOption {
    /// `-Dname`, `-Dname=body`, `-Dname(parameters)=body`: the operand as written.
    Define(OsString),
    /// `-Uname`
    Undefine(OsString),
}

/// A header that the command line includes before the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedInclude {
    /// The operand as written: looked up like `#include "file"` from the working directory.
    pub path: PathBuf,
    /// `-imacros`: only its macro definitions are kept.
    pub macros_only: bool,
}

/// One directory flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDirectory {
    /// Which chain it joins.
    pub chain: SearchChain,
    /// The operand as written.
    pub path: PathBuf,
}

/// The chains of the search path. Where in it those of a prefix go is each compiler's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SearchChain {
    /// `-iquote`: for `#include "…"` alone.
    Quote,
    /// `-I`.
    Bracket,
    /// `-iwithprefixbefore`, its prefix joined.
    PrefixedBracket,
    /// `-isystem`, before the compiler's own directories.
    System,
    /// `-iwithprefix`, its prefix joined.
    PrefixedAfter,
    /// `-idirafter`.
    After,
    /// `-I-`: every `-I` before it becomes `-iquote`, and the includer's directory is not searched. The path is empty.
    Split,
}

/// What a compile writes; paths as written on the command line, or as the compiler derives them. Only the object is always
/// written when the compile succeeds: any other may be missing because there was nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The object (or with `-S` the assembly, with `-emit-llvm` the bitcode) file.
    pub object: PathBuf,
    /// The dependency file of `-MD`/`-MMD` (`-MF`, `-Wp,-MD,file`, or derived from the object's name).
    pub depfile: Option<PathBuf>,
    /// All others: `.dwo`, `.gcno`, `.su`, `.ci`, `.dia`, `.opt.yaml`, listings, ….
    pub others: Vec<PathBuf>,
    /// How the object is written where one is there already.
    pub object_writing: Writing,
    /// How the files between the phases and those with split debug information are.
    pub side_writing: SideWriting,
}

/// How a compiler writes an output at whose place a file is already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writing {
    /// It removes the old file, or renames a new one over it: owner, permissions and other names are those of a new file.
    #[default]
    Anew,
    /// It empties the old file and fills it: all of that stays.
    InPlace,
    /// As `as` and `objcopy`: an empty file is filled, and another one is replaced.
    AnewUnlessEmpty,
}

/// How outputs besides the object and the depfile are written, by their suffixes; those that are not named are written in
/// place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SideWriting {
    /// `.i`, `.s`, `.bc` and the like.
    pub phases: Writing,
    /// `.dwo`.
    pub split_debug: Writing,
}

impl Outputs {
    /// How the compiler writes the output `path`, one of these, where a file is there already.
    pub(crate) fn writing(&self, path: &Path) -> Writing {
        if path == self.object {
            return self.object_writing;
        }
        if Some(path) == self.depfile.as_deref() {
            return Writing::InPlace;
        }
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("dwo") => self.side_writing.split_debug,
            Some("i" | "ii" | "mi" | "mii" | "s" | "bc") => self.side_writing.phases,
            _ => Writing::InPlace,
        }
    }

    /// Every path, the object first.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.object).chain(&self.depfile).chain(&self.others)
    }
}
