//! The flags of gcc and clang as a table: spelling, operand, family and meaning.
//!
//! The parser goes from this table alone; it knows no spelling of its own. A flag that is not in the table and starts
//! like a code generation, warning, machine or debug flag passes through to the compiler ([`is_passed_through`]), which
//! is safe: it reaches the probe, the action and the action's digest alike. So the table must hold every flag that reads
//! or writes a file, takes a separate operand, or talks to the preprocessor.
//!
//! **Source:** gcc's manual, "Option Summary" and "Invoking GCC"; clang's "Command Line Argument Reference".

use super::{Family, SearchChain};
use crate::fallback::Reason;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::LazyLock;

/// How a flag takes its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// It takes none.
    None,
    /// It follows in the same argument, and may be empty.
    Joined,
    /// It is the next argument.
    Separate,
    /// It follows in the same argument, or else is the next one.
    Either,
}

/// What a flag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No compile is wanted, or its product goes elsewhere.
    Refuse(Reason),
    /// `-c`
    Compile,
    /// `-S`
    Assemble,
    /// `-o`
    Output,
    /// `-x`
    Language,
    /// `-D`
    Define,
    /// `-U`
    Undefine,
    /// `-include`
    Include,
    /// `-imacros`
    IncludeMacros,
    /// A directory of the search path.
    Directory(SearchChain),
    /// `-I-`
    Split,
    /// `-iprefix`
    Prefix,
    /// `-iwithprefix` and `-iwithprefixbefore`: the chain that the joined directory goes to.
    WithPrefix(SearchChain),
    /// `--embed-dir`
    EmbedDirectory,
    /// `--sysroot`
    Sysroot,
    /// `-isysroot`
    HeaderSysroot,
    /// `-nostdinc`
    NoStandardIncludes,
    /// `-undef`
    Undef,
    /// `-finput-charset=`: of another set than UTF-8, sources are not what their bytes say.
    InputCharset,
    /// `-fpreprocessed`, `-fdirectives-only`
    Preprocessed,
    /// `-MD`, `-MMD`: in the driver's own arguments without an operand.
    Dependencies,
    /// `-MF`
    DependencyFile,
    /// `-MT`, `-MQ`, `-MP`, `-MG`: kept for the compiler, without meaning here.
    DependencyDetail,
    /// `-Wp,`: a list for the preprocessor.
    PreprocessorList,
    /// `-Xpreprocessor`: one argument for the preprocessor.
    PreprocessorArgument,
    /// `-Wa,`: a list for the assembler.
    AssemblerList,
    /// `-Xassembler`: one argument for the assembler.
    AssemblerArgument,
    /// `-Xclang`: one argument for clang's front end.
    FrontEndArgument,
    /// `-mllvm`: one argument for LLVM.
    LlvmArgument,
    /// Its operand is a file that the compile reads.
    Input,
    /// Its operand is a file with options, or its name in the compiler's own directories: `-specs=`, `--config`.
    OptionFile,
    /// Its operand, where it is joined, is a file or a directory with profiles.
    Profile,
    /// `-fprofile-dir=`: where profiles are.
    ProfileDirectory,
    /// `-fprofile-generate=`: the same, and profiles are written there.
    ProfileGenerate,
    /// `-fprofile-prefix-path=`: what profiles' names leave out.
    ProfilePrefix,
    /// `-fauto-profile` without an operand: `fbdata.afdo`.
    AutoProfile,
    /// Its operand is one `=`-separated argument of a plugin, perhaps a file's name.
    PluginArgument,
    /// `-B`: a directory that programs and headers are looked for in.
    ToolDirectory,
    /// An additional output, named after the object.
    Product(Product),
    /// The last one of these turns the product off.
    NoProduct(Product),
    /// An additional output, named by the operand.
    NamedOutput,
    /// `-save-temps`, `-save-temps=obj`, `-save-temps=cwd`
    SaveTemps(SaveTemps),
    /// `-dumpbase`, `-dumpdir`, `-dumpbase-ext`
    DumpName(DumpName),
    /// `-emit-llvm`
    EmitLlvm,
    /// `-fsyntax-only`
    SyntaxOnly,
    /// `-fdiagnostics-color` and its relatives: the operand, or the flag itself, says when.
    Color(Color),
    /// `-march=`, `-mcpu=`, `-mtune=`: `native` means the machine that compiles.
    MachineModel,
    /// `-fopt-info`: its operand may name a file to write.
    OptimizationReport,
    /// `-fdiagnostics-format=`: its operand may ask for a file.
    DiagnosticFormat,
    /// Anything that needs nothing but to be passed on.
    Pass,
    /// Only the linker hears of it, or nothing that the probe is asked for depends on it.
    Irrelevant,
}

/// An output besides the object and the depfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Product {
    /// `-gsplit-dwarf`: `.dwo`
    SplitDwarf,
    /// `-ftest-coverage`, `--coverage`: `.gcno`
    Notes,
    /// `-fstack-usage`: `.su`
    StackUsage,
    /// `-fcallgraph-info`: `.ci`
    CallGraph,
    /// `-ftime-trace`: `.json`
    TimeTrace,
    /// `-fsave-optimization-record`: `.opt.yaml`, or gcc's `.opt-record.json.gz`
    OptimizationRecord,
}

/// What a dump name flag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DumpName {
    /// `-dumpbase`
    Base,
    /// `-dumpbase-ext`
    Extension,
    /// `-dumpdir`
    Directory,
}

/// Where the files that the phases hand on stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaveTemps {
    /// Beside the object.
    BesideObject,
    /// In the working directory.
    InWorkingDirectory,
}

/// When diagnostics are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    /// The operand says it.
    Operand,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which families know a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    Both,
    Gcc,
    Clang,
}

impl Families {
    const fn include(self, family: Family) -> bool {
        matches!((self, family), (Self::Both, _) | (Self::Gcc, Family::Gcc) | (Self::Clang, Family::Clang))
    }
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    /// As it is written, with its dashes and, where it has one, its `=`.
    pub(super) spelling: &'static str,
    pub(super) operand: Operand,
    pub(super) meaning: Meaning,
    pub(super) families: Families,
}

/// The entry for `argument` in the drivers' own table, and the operand that is joined to it: the longest spelling wins.
pub(super) fn find(argument: &[u8], family: Family) -> Option<(&'static Flag, Option<&[u8]>)> {
    // The greatest spelling up to `key` is its longest prefix, or shows how long a prefix can be at the most.
    let mut key = argument;
    while key.len() >= MIN_SPELLING {
        let end = SORTED.partition_point(|flag| flag.spelling.as_bytes() <= key);
        let spelling = SORTED[..end].last()?.spelling.as_bytes();
        let common = spelling.iter().zip(key).take_while(|(one, other)| one == other).count();
        if common < spelling.len() {
            key = &key[..common];
            continue;
        }
        let same = SORTED[..end].iter().rev().take_while(|flag| flag.spelling.as_bytes() == spelling);
        let found = same.filter(|flag| flag.families.include(family)).find_map(|flag| {
            let rest = &argument[spelling.len()..];
            match flag.operand {
                Operand::None | Operand::Separate => rest.is_empty().then_some((flag, None)),
                Operand::Joined => Some((flag, Some(rest))),
                Operand::Either => Some((flag, (!rest.is_empty()).then_some(rest))),
            }
        });
        if found.is_some() {
            return found;
        }
        key = &key[..spelling.len() - 1];
    }
    None
}

/// The length of the shortest spelling.
const MIN_SPELLING: usize = 2;

/// What gcc's driver takes a flag with two dashes for that the table doesn't hold: `--no-common` for `-fno-common`,
/// `--machine-sse2` for `-msse2`.
///
/// **Source:** `option_map` in gcc's `opts-common.cc`.
pub(super) fn short_spelling(argument: &[u8], family: Family) -> Option<OsString> {
    let name = argument.strip_prefix(b"--").filter(|name| family == Family::Gcc && !name.is_empty())?;
    let of_machine = name.strip_prefix(b"machine-").or_else(|| name.strip_prefix(b"machine="));
    let spelling = of_machine.map_or_else(|| [b"-f", name].concat(), |rest| [b"-m", rest].concat());
    Some(OsString::from_vec(spelling))
}

/// Whether a flag that the table doesn't hold may be passed on without being understood.
pub(super) fn is_passed_through(argument: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 6] = [b"-f", b"-W", b"-m", b"-O", b"-g", b"--param"];
    PREFIXES.iter().any(|prefix| argument.starts_with(prefix))
}

/// Whether neither the predefined macros nor the built-in search path can depend on a flag that is passed through, so
/// that compiles which differ in it share their probes.
pub(super) fn is_irrelevant_to_probe(argument: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"-W", b"-fdiagnostics-", b"-frandom-seed="];
    PREFIXES.iter().any(|prefix| argument.starts_with(prefix))
}

static SORTED: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let mut flags: Vec<Flag> = table::groups().flatten().copied().collect();
    flags.sort_by_key(|flag| flag.spelling);
    flags
});

mod table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_spelling_wins() {
        let check = |argument: &str, family, spelling: &str, operand: Option<&str>| {
            let (flag, joined) = find(argument.as_bytes(), family).expect(argument);
            assert_eq!(flag.spelling, spelling, "{argument}");
            assert_eq!(joined, operand.map(str::as_bytes), "{argument}");
        };
        check("-I", Family::Gcc, "-I", None);
        check("-Idir", Family::Gcc, "-I", Some("dir"));
        check("-I-", Family::Gcc, "-I-", None);
        check("-I-x", Family::Gcc, "-I", Some("-x"));
        check("-isystem", Family::Gcc, "-isystem", None);
        check("-isysroot/x", Family::Clang, "-isysroot", Some("/x"));
        check("-include=x", Family::Gcc, "-include", Some("=x"));
        check("--include=x", Family::Gcc, "--include=", Some("x"));
        check("--include-directory=x", Family::Clang, "--include-directory=", Some("x"));
        check("-MMD", Family::Gcc, "-MMD", None);
        check("-oout", Family::Gcc, "-o", Some("out"));
        check("-print-prog-name=as", Family::Gcc, "-print-", Some("prog-name=as"));
        check("-Wp,-MD,x", Family::Gcc, "-Wp,", Some("-MD,x"));
    }

    #[test]
    fn spellings_are_unique_in_each_family() {
        for family in [Family::Gcc, Family::Clang] {
            let mut seen = std::collections::HashSet::new();
            for flag in SORTED.iter().filter(|flag| flag.families.include(family)) {
                assert!(flag.spelling.len() >= MIN_SPELLING, "{}", flag.spelling);
                // Each is found under its own name.
                assert_eq!(
                    find(flag.spelling.as_bytes(), family).map(|(found, _)| found.spelling),
                    Some(flag.spelling)
                );
                assert!(seen.insert(flag.spelling), "{family:?} has {} twice", flag.spelling);
            }
        }
    }

    #[test]
    fn unknown_flags_are_unknown() {
        for argument in ["-fno-plt", "-Wall", "-mavx2", "-O2", "-g3"] {
            assert!(find(argument.as_bytes(), Family::Gcc).is_none(), "{argument}");
            assert!(is_passed_through(argument.as_bytes()), "{argument}");
        }
        assert!(find(b"-quux", Family::Gcc).is_none() && !is_passed_through(b"-quux"));
    }
}
