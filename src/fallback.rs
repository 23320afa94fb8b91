//! Why a command line or a compile is not handled remotely: a closed list, counted by name.
//!
//! A fallback is not an error: the compile still happens, the plain way or locally, and `pumphouse stats`
//! says how often and why.

use std::fmt;
use std::path::PathBuf;

/// A named reason, with the place that caused it where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// What it is, from the closed list.
    pub reason: Reason,
    /// The flag, name or construct in question, as the user would write it; may be empty.
    pub detail: String,
    /// The file and the line (from 1; 0 for the file as a whole) that caused it.
    pub location: Option<(PathBuf, u32)>,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Every reason that there is. The text is what statistics and messages say.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All reasons, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason's name in statistics: lower case, words joined by hyphens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// No compile is asked for: `-E`, `-M`, `-###`, `--version`, linking only, …
    NotACompile = "not-a-compile",
    /// More than one source file, or none.
    SourceCount = "source-count",
    /// The source comes from standard input, or the output goes to standard output or a device.
    StandardStream = "standard-stream",
    /// A flag that is not understood.
    UnknownFlag = "unknown-flag",
    /// A flag that lacks its operand, or contradicts another.
    MalformedFlag = "malformed-flag",
    /// A flag whose effect depends on the machine that compiles (`-march=native`, …).
    HostDependent = "host-dependent",
    /// A flag that writes or reads files in ways that are not followed (`-fdump-*`, `-ftime-report`, …).
    UnsupportedFlag = "unsupported-flag",
    /// A precompiled header is written or read.
    PrecompiledHeader = "precompiled-header",
    /// C++20 modules.
    Modules = "modules",
    /// clang header maps and virtual file systems.
    HeaderMap = "header-map",
    /// A response file that can't be read or nests too deeply.
    ResponseFile = "response-file",
    /// The compiler was not found, is not a known compiler, or gave an answer that is not understood.
    Compiler = "compiler",
    /// A program that the compiler runs is a script, or does what isn't followed: it runs further programs, writes or reads
    /// what it has no business with.
    Tool = "tool",
    /// A file or directory could not be read.
    Unreadable = "unreadable",
    /// The file system of the compile's files does not answer.
    SilentFiles = "silent-files",
    /// A construct that the scanner does not follow.
    Unscannable = "unscannable",
    /// A limit of the scanner: nesting, expansion, file size, number of files.
    ScanLimit = "scan-limit",
    /// A file changed while it was read.
    Changing = "changing",
    /// A path that is not UTF-8, which the Remote Execution API can't name.
    PathNotText = "path-not-text",
    /// An output whose place is special: its directory is absent, or something other than a plain file is there.
    OutputPlace = "output-place",
    /// The result depends on the time (`__DATE__`, `__TIME__`, `__TIMESTAMP__`).
    TimeDependent = "time-dependent",
    /// There are messages for a terminal, which look otherwise there than in a stored result.
    Terminal = "terminal",
    /// No server is configured.
    NoServer = "no-server",
    /// The server can't be reached, or answered with an error.
    ServerError = "server-error",
    /// The server had not done it by when it would have been done here, and there was room here.
    Overdue = "overdue",
    /// The remote compile failed and the local one decides.
    RemoteFailed = "remote-failed",
    /// Demoted to local compiles after discrepancies in this build.
    Demoted = "demoted",
    /// An audit found that a result of the same action was wrong.
    Distrusted = "distrusted",
    /// The daemon sees the file system from elsewhere than the launcher: another namespace, another root.
    OtherVantage = "other-vantage",
}

impl Fallback {
    /// A fallback that no file caused.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), location: None }
    }

    /// A fallback that `path` caused at `line` (from 1; 0 for the file as a whole).
    pub fn at(reason: Reason, detail: impl Into<String>, path: impl Into<PathBuf>, line: u32) -> Self {
        Self { reason, detail: detail.into(), location: Some((path.into(), line)) }
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, line)) = &self.location {
            write!(formatter, "{}:{line}: ", path.display())?;
        }
        formatter.write_str(self.reason.name())?;
        if self.detail.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.detail) }
    }
}

impl std::error::Error for Fallback {}
