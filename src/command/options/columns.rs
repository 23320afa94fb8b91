//! The columns of the table besides spelling and meaning: what an operand names, and which questions hang on a flag.
//!
//! Where a column follows from the meaning it is derived here; a row of the table may say otherwise.

use super::meaning::{
    Dependencies, Diagnostic, HandOn, Input, Meaning, Output, Phases, Plain, Preprocessor, Search, Seed,
};

/// What a flag's operand names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// No path.
    Nothing,
    /// A path: a relative one starts from the working directory.
    Path(PathKind),
    /// Nothing, or a path: by its look.
    Perhaps,
}

/// What is at a path that a flag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathKind {
    /// A directory of headers.
    HeaderDirectory,
    /// The beginning of names of such directories.
    HeaderPrefix,
    /// Where the operating system's headers are.
    Root,
    /// Where an installation of gcc is.
    GccPrefix,
    /// clang's own headers and libraries.
    ResourceDirectory,
    /// A directory, or a beginning of names, of programs, headers and specs.
    ToolDirectory,
    /// A directory of files for `#embed`.
    EmbedDirectory,
    /// A header.
    Header,
    /// Specs of gcc.
    Specs,
    /// A configuration file of clang.
    Configuration,
    /// A shared library that the compiler loads.
    Plugin,
    /// A profile that was recorded, or a directory of such.
    Profile,
    /// A list of functions, files or passes: text that the compiler reads.
    List,
    /// Bitcode that is linked in.
    Bitcode,
    /// What is written.
    Output,
}

/// Whose answers hang on a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody's: compilers aren't asked under it.
    Nobody,
    /// The driver's, for what it runs: the toolchain.
    Toolchain,
    /// The driver's and the compiler proper's, for its macros and directories: the toolchain and the probe.
    Both,
}

/// Whether a flag stays where a compiler is asked for dependencies (`-M`) instead of a compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnderM {
    Kept,
    /// It says what is made, or that something is.
    Lost,
}

/// What distcc's server does with an absolute operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distcc {
    /// Nothing.
    Untranslated,
    /// It puts the directory that stands for the client's root in front. It compares arguments with the flags of this kind
    /// in this order.
    Translated(u8),
}

/// Whether a flag selects another target or library, and so other directories, than the compiler's usual ones, on which
/// distcc's servers go by the command line as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selects {
    Nothing,
    Directories,
}

impl Meaning {
    /// What the operand names, as a rule.
    pub(super) const fn names(self) -> Names {
        match self {
            Self::Preprocessor(Preprocessor::Include | Preprocessor::IncludeMacros) => Names::Path(PathKind::Header),
            Self::Search(search) => match search {
                Search::Directory(_) => Names::Path(PathKind::HeaderDirectory),
                // The operand of `-iwithprefix` starts from the prefix.
                Search::Prefix => Names::Path(PathKind::HeaderPrefix),
                Search::EmbedDirectory => Names::Path(PathKind::EmbedDirectory),
                Search::Sysroot | Search::HeaderSysroot => Names::Path(PathKind::Root),
                Search::ToolDirectory => Names::Path(PathKind::ToolDirectory),
                Search::Split | Search::WithPrefix(_) | Search::NoStandardIncludes | Search::Own => Names::Nothing,
            },
            Self::Dependencies(Dependencies::File) => Names::Path(PathKind::Output),
            Self::Input(input) => match input {
                Input::File => Names::Path(PathKind::List),
                Input::OptionFile => Names::Path(PathKind::Specs),
                Input::Profile | Input::ProfileDirectory | Input::ProfileGenerate => Names::Path(PathKind::Profile),
                Input::PluginArgument => Names::Perhaps,
                Input::ProfilePrefix | Input::AutoProfile => Names::Nothing,
            },
            Self::Output(Output::Object | Output::Named) => Names::Path(PathKind::Output),
            Self::Output(
                Output::Product(_)
                | Output::NoProduct(_)
                | Output::SaveTemps(_)
                | Output::DumpName
                | Output::OptimizationReport,
            ) => Names::Nothing,
            Self::Plain(Plain::Guess) => Names::Perhaps,
            Self::Plain(Plain::Pass | Plain::Machine | Plain::Irrelevant | Plain::Warning)
            | Self::Refuse(_)
            | Self::Phase(_)
            | Self::Language
            | Self::Preprocessor(
                Preprocessor::Define
                | Preprocessor::Undefine
                | Preprocessor::Undef
                | Preprocessor::Preprocessed
                | Preprocessor::InputCharset
                | Preprocessor::ExecutionCharset
                | Preprocessor::PrefixMap(_)
                | Preprocessor::CanonicalSystemHeaders(_)
                | Preprocessor::UnwindTables,
            )
            | Self::Dependencies(Dependencies::Write | Dependencies::Target | Dependencies::Detail)
            | Self::HandOn(_)
            | Self::Seed(_)
            | Self::Diagnostic(_) => Names::Nothing,
        }
    }

    /// Whether the operand is a text, which is neither opened nor looked for: or is read for itself, where it is handed on.
    pub(in crate::command) const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Preprocessor(Preprocessor::Define | Preprocessor::Undefine | Preprocessor::PrefixMap(_))
                | Self::Dependencies(Dependencies::Target)
                | Self::HandOn(HandOn::PreprocessorList | HandOn::PreprocessorArgument | HandOn::FrontEndArgument)
        )
    }

    /// Whose answers hang on it, as a rule.
    pub(super) const fn asked(self) -> Asked {
        match self {
            // What a `CompileCommand` says by itself.
            Self::Refuse(_)
            | Self::Phase(
                // None of these says what there is.
                Phases::Compile | Phases::Assemble | Phases::EmitLlvm | Phases::SyntaxOnly,
            )
            | Self::Language
            | Self::Preprocessor(
                Preprocessor::Define
                | Preprocessor::Undefine
                | Preprocessor::Include
                | Preprocessor::IncludeMacros
                | Preprocessor::Preprocessed
                | Preprocessor::PrefixMap(_)
                | Preprocessor::CanonicalSystemHeaders(_),
            )
            | Self::Search(
                Search::Directory(_) | Search::Split | Search::WithPrefix(_) | Search::EmbedDirectory,
            )
            | Self::Dependencies(_)
            | Self::HandOn(
                HandOn::PreprocessorList
                | HandOn::PreprocessorArgument
                | HandOn::AssemblerList
                | HandOn::AssemblerArgument
                | HandOn::FrontEndArgument
                | HandOn::LlvmArgument,
            )
            | Self::Output(
                Output::Object | Output::Named | Output::SaveTemps(_) | Output::DumpName | Output::OptimizationReport,
            )
            | Self::Seed(Seed::Give)
            | Self::Diagnostic(Diagnostic::Color(_) | Diagnostic::Format)
            | Self::Plain(Plain::Irrelevant | Plain::Warning) => Asked::Nobody,
            // gcc's driver has specs for it.
            Self::Diagnostic(Diagnostic::RecordsCommandLine | Diagnostic::RecordsInDebugInformation) => Asked::Toolchain,
            Self::Preprocessor(
                Preprocessor::Undef
                | Preprocessor::InputCharset
                | Preprocessor::ExecutionCharset
                | Preprocessor::UnwindTables,
            )
            // gcc's own directories are looked for below the prefix as well.
            | Self::Search(
                Search::Prefix
                | Search::Sysroot
                | Search::HeaderSysroot
                | Search::NoStandardIncludes
                | Search::ToolDirectory
                | Search::Own,
            )
            | Self::Input(_)
            | Self::Output(Output::Product(_) | Output::NoProduct(_))
            | Self::Seed(Seed::Draw | Seed::DrawNone)
            | Self::Plain(Plain::Pass | Plain::Machine | Plain::Guess) => Asked::Both,
        }
    }

    /// Whether it stays where dependencies are asked for, as a rule.
    pub(super) const fn under_m(self) -> UnderM {
        match self {
            Self::Phase(_) | Self::Dependencies(_) => UnderM::Lost,
            Self::Output(output) => match output {
                Output::Object
                | Output::Product(_)
                | Output::NoProduct(_)
                | Output::Named
                | Output::SaveTemps(_)
                | Output::OptimizationReport => UnderM::Lost,
                Output::DumpName => UnderM::Kept,
            },
            Self::Refuse(_)
            | Self::Language
            | Self::Preprocessor(_)
            | Self::Search(_)
            | Self::HandOn(_)
            | Self::Input(_)
            | Self::Seed(_)
            | Self::Diagnostic(_)
            | Self::Plain(_) => UnderM::Kept,
        }
    }
}

/// Whether an operand of [`Names::Perhaps`] looks like a path.
pub(crate) fn looks_like_path(operand: &[u8]) -> bool {
    let is_number = operand.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    operand.contains(&b'/') || operand.contains(&b'.') && !is_number
}
