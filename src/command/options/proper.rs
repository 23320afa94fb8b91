//! The flags of the compilers proper and of assemblers that no driver's user writes, and those by which a command line is
//! told from another.
//!
//! **Source:** gcc's manual, "Specifying Subprocesses and the Switches to Pass to Them"; clang's `-cc1` and `-cc1as`; both
//! as observed in the answers to `-###`. The GNU assembler's manual, "Command-Line Options".

use std::ffi::OsStr;

/// Flags with an operand that says what the compiler proper writes, or how it is called.
const NAMES: [&str; 14] = [
    "-auxbase",
    "-auxbase-strip",
    "-coverage-data-file",
    "-coverage-notes-file",
    DEPENDENCY_FILE,
    "-diagnostic-log-file",
    "-main-file-name",
    "-opt-record-file",
    "-opt-record-format",
    "-opt-record-passes",
    "-serialize-diagnostic-file",
    "-split-dwarf-file",
    "-split-dwarf-output",
    "-stack-usage-file",
];

/// Names the file with rules for make that clang's front end writes.
pub(crate) const DEPENDENCY_FILE: &str = "-dependency-file";

/// Flags without an operand that say nothing of the compile: those for which the driver is asked here, and those by
/// which the compiler proper says more or less.
const REPORTING_FLAGS: [&str; 4] = ["-v", "-quiet", "-version", "-###"];

/// The flag by which clang's driver runs itself as the compiler proper.
pub(crate) const CLANG_PROPER: &str = "-cc1";
/// The flag by which clang's driver runs itself as the assembler.
pub(crate) const CLANG_ASSEMBLER: &str = "-cc1as";
/// gcc's compiler proper preprocesses assembly; to a driver this would be a library.
pub(crate) const ASSEMBLY: &str = "-lang-asm";
/// gcc's compiler proper only preprocesses.
pub(crate) const ONLY_PREPROCESSES: &str = "-E";
/// Names the output.
pub(crate) const OUTPUT: &str = "-o";
/// Names the language.
pub(crate) const LANGUAGE: &str = "-x";
/// Has a rule for make written.
pub(crate) const DEPENDENCIES: &str = "-MD";

/// Whether a flag has an operand that says what the compiler proper writes, or how it is called.
pub(crate) fn is_name(word: &OsStr) -> bool {
    NAMES.iter().any(|name| word == *name)
}

/// Whether a flag says nothing but how much is told.
pub(crate) fn is_report(word: &OsStr) -> bool {
    REPORTING_FLAGS.iter().any(|flag| word == *flag)
}

/// In specs: the machine that compiles.
pub(crate) const NATIVE_IN_SPECS: [&[u8]; 2] = [b"-march=native", b"-mtune=native"];

/// What an argument says to an assembler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForAssembler<'a> {
    /// `-I`: where `.include` and `.incbin` look; the operand where it is joined.
    Directory(Option<&'a [u8]>),
    /// `--MD`: the next argument is a dependency file.
    DependencyFile,
    /// The next argument is an operand without meaning here.
    WithOperand,
    /// Further files, times, or outputs that are not followed.
    Unfollowed,
    /// `-a…=`: a listing; the file, where one is named.
    Listing(Option<&'a [u8]>),
    /// `-an`: a listing, and none of them has pages, on whose heads the assembly's name would stand.
    PagelessListing(Option<&'a [u8]>),
    /// `-g…`: debug information of the assembly, which names it.
    DebugInformation,
    /// `-ag`: with general information, a listing begins with the time of day.
    DatedListing,
    /// Any other flag.
    Plain,
    /// No flag.
    File,
}

impl<'a> ForAssembler<'a> {
    /// What `argument` says.
    pub(crate) fn of(argument: &'a [u8]) -> Self {
        match argument {
            b"-I" => Self::Directory(None),
            [b'-', b'I', directory @ ..] => Self::Directory(Some(directory)),
            b"--MD" | b"-MD" => Self::DependencyFile,
            b"--defsym"
            | b"-defsym"
            | b"--debug-prefix-map"
            | b"--hash-size"
            | b"--listing-lhs-width"
            | b"--listing-rhs-width"
            | b"--listing-lhs-width2"
            | b"--listing-cont-lines" => Self::WithOperand,
            b"-o" | b"-v" | b"-version" | b"--version" | b"--statistics" | b"--help" | b"--target-help"
            | b"-save-temps" => Self::Unfollowed,
            [b'-', b'a', listing @ ..] => {
                let (kinds, file) = match listing.iter().position(|&byte| byte == b'=') {
                    Some(equals) => (&listing[..equals], Some(&listing[equals + 1..])),
                    None => (listing, None),
                };
                match kinds {
                    kinds if kinds.contains(&b'g') => Self::DatedListing,
                    kinds if kinds.contains(&b'n') => Self::PagelessListing(file),
                    _ => Self::Listing(file),
                }
            }
            b"-gdwarf-sections" | b"--gdwarf-sections" => Self::Plain,
            [b'-', b'g', ..] | [b'-', b'-', b'g', ..] => Self::DebugInformation,
            [b'-', _, ..] => Self::Plain,
            _ => Self::File,
        }
    }
}

/// The flag that an option in a pragma stands for: `avx2`, `no-avx2`, `arch=haswell`, or `+crc`, which adds to `machine`,
/// the flag by which the command names one.
pub(crate) fn of_target_option(option: &[u8], machine: Option<&[u8]>) -> Vec<u8> {
    match option {
        [b'+', ..] => [machine.unwrap_or(b"-march=armv8-a"), option].concat(),
        _ => [b"-m", option].concat(),
    }
}

/// The flag that an option in a pragma for optimisation stands for: `O3`, `3`, `s`, `fast-math`, `-ffast-math`.
pub(crate) fn of_optimize_option(option: &[u8]) -> Vec<u8> {
    match option {
        [b'-', ..] => option.to_vec(),
        [b'O', ..] => [b"-", option].concat(),
        [b'0'..=b'9', ..] | b"s" => [b"-O", option].concat(),
        _ => [b"-f", option].concat(),
    }
}

/// Whether a launcher's argument says that only one source is compiled.
pub(crate) fn says_compile(argument: &[u8]) -> bool {
    matches!(argument, b"-c" | b"-S" | b"--compile" | b"--assemble")
}

/// Whether it says that nothing is compiled.
pub(crate) fn says_no_compile(argument: &[u8]) -> bool {
    matches!(argument, b"-E" | b"-M" | b"-MM" | b"-###" | b"--version" | b"-fsyntax-only")
}
