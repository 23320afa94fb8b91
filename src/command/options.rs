//! The flags of gcc and clang as a table: spelling, operand, families, meaning, and what hangs on each.
//!
//! Whoever wants to know something of a flag asks the table; no other module spells one. (Those that we ourselves pass
//! when a compiler is asked stand in [`compiler::driver`](crate::compiler::driver), and a test of the sources sees to
//! both.) Of a flag that no row but `-f`, `-m`, `-O`, `-g` or `-W` fits, only that is known; it reaches the probe, the
//! action and the action's digest alike, and a value that may be a path is an input. So a row is needed for whatever
//! writes a file, takes a separate operand, talks to the preprocessor, or names a path without looking like it.
//!
//! **To add a flag**: one row in the file of its topic below `table/`. Where a meaning is new, the compiler names the
//! matches that have to think of it; where a path of a new kind is, the suite of relative paths wants a fixture.
//!
//! **Source:** gcc's manual, "Option Summary" and "Invoking GCC"; clang's "Command Line Argument Reference".

use super::Family;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

mod columns;
mod meaning;
pub(crate) mod proper;
mod spellings;
mod table;

pub(crate) use columns::{Asked, Distcc, Selects, UnderM, looks_like_path};
pub use columns::{Names, PathKind};
pub(crate) use meaning::{
    Color, Dependencies, Diagnostic, HandOn, Input, Meaning, Output, Phases, Plain, PrefixMap, Preprocessor, Product,
    SaveTemps, Search, Seed, Switch,
};
pub(crate) use spellings::find;

/// How a flag takes its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// It takes none.
    None,
    /// It follows in the same argument, and may be empty.
    Joined,
    /// It is the next argument.
    Separate,
    /// It follows in the same argument, or else is the next one.
    Either,
}

/// Which families know a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// gcc's and clang's.
    Both,
    /// gcc's.
    Gcc,
    /// clang's.
    Clang,
}

impl Families {
    /// Whether `family` is among them.
    pub const fn include(self, family: Family) -> bool {
        matches!((self, family), (Self::Both, _) | (Self::Gcc, Family::Gcc) | (Self::Clang, Family::Clang))
    }
}

/// One flag: a row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// As it is written, with its dashes and, where it has one, its `=`.
    pub spelling: &'static str,
    /// How it takes its operand.
    pub operand: Operand,
    /// Which drivers know it.
    pub families: Families,
    pub(crate) meaning: Meaning,
    /// What its operand names.
    pub names: Names,
    pub(crate) asked: Asked,
    pub(crate) under_m: UnderM,
    pub(crate) distcc: Distcc,
    pub(crate) selects: Selects,
}

/// Every row of the table.
pub fn flags() -> impl Iterator<Item = &'static Flag> {
    table::rows()
}

/// How an argument is handed to the preprocessor.
pub(crate) const FOR_PREPROCESSOR: &str = "-Xpreprocessor";
/// How an argument is handed to clang's front end.
pub(crate) const FOR_FRONT_END: &str = "-Xclang";
/// What makes a compiler colour its diagnostics though it sees no terminal.
pub(crate) const ALWAYS_COLORED: &str = "-fdiagnostics-color=always";

/// The flag that names `root` as the system's.
pub(crate) fn system_root(root: &Path) -> OsString {
    let mut flag = OsString::from("--sysroot=");
    flag.push(root);
    flag
}

/// Parts of a file of options by which it names further files or directories.
pub(crate) const NAMING_IN_FILES: [&[u8]; 6] = [b"-i", b"-I", b"-B", b"%include", b"%@", b"@"];

/// The flags whose absolute operands distcc's server translates, in the order in which it compares them.
pub(crate) fn translated_by_distcc() -> Vec<&'static Flag> {
    let mut translated: Vec<_> = flags().filter(|flag| matches!(flag.distcc, Distcc::Translated(_))).collect();
    translated.sort_by_key(|flag| match flag.distcc {
        Distcc::Translated(place) => place,
        Distcc::Untranslated => u8::MAX,
    });
    translated
}

/// Whether the argument behind `argument` names an output, or what a rule for make is for.
pub(crate) fn names_output_next(argument: &OsStr) -> bool {
    let is_whole = |flag: &Flag| flag.spelling.len() == argument.len();
    let found = find(argument.as_bytes(), Family::Gcc).map(|(flag, _)| flag).filter(|flag| is_whole(flag));
    found.is_some_and(|flag| {
        matches!(flag.operand, Operand::Separate | Operand::Either)
            && matches!(
                flag.meaning,
                Meaning::Output(Output::Object) | Meaning::Dependencies(Dependencies::File | Dependencies::Target)
            )
    })
}

/// Flags that have neither a driver nor a compiler proper look for anything else.
const LOOKING_NOWHERE: [&str; 28] = [
    "-O",
    "-O0",
    "-O1",
    "-O2",
    "-O3",
    "-Og",
    "-Os",
    "-Oz",
    "-fPIC",
    "-fPIE",
    "-fdata-sections",
    "-fexceptions",
    "-ffunction-sections",
    "-fno-common",
    "-fno-exceptions",
    "-fno-omit-frame-pointer",
    "-fno-rtti",
    "-fno-strict-aliasing",
    "-fomit-frame-pointer",
    "-fpic",
    "-fpie",
    "-fstack-clash-protection",
    "-fstack-protector",
    "-fstack-protector-strong",
    "-fstrict-aliasing",
    "-fvisibility-inlines-hidden",
    "-fvisibility=hidden",
    "-fwrapv",
];

/// Whether an argument has compilers look for nothing else, whatever else stands beside it: levels of optimisation, the
/// language's version, and how code is made.
pub(crate) fn changes_no_look(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| text.starts_with("-std=") || LOOKING_NOWHERE.binary_search(&text).is_ok())
}

/// Whether a flag names the machine whose instructions are used, not just the one to tune for.
pub(crate) fn names_architecture(flag: &Flag) -> bool {
    flag.meaning == Meaning::Plain(Plain::Machine) && flag.spelling != "-mtune="
}

/// What clang's driver makes of a list behind `-Wp,`: `-MD` or `-MMD` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RewrittenDependencies<'a> {
    /// The file that is written, where it is named.
    pub(crate) file: Option<&'a OsStr>,
}

/// Where a `list` behind `-Wp,` starts with `-MD` or `-MMD`, clang's driver takes it for that flag alone, and the second
/// of two for the file that is written; whatever else stands in it is lost.
///
/// **Source:** `TranslateInputArgs` in clang's Driver.cpp.
pub(crate) fn rewritten_dependencies(list: &[OsString], family: Family) -> Option<RewrittenDependencies<'_>> {
    let is_rewritten = family == Family::Clang && list.first().is_some_and(|word| word == "-MD" || word == "-MMD");
    let file = match list {
        [_, file] => Some(file.as_os_str()),
        _ => None,
    };
    is_rewritten.then_some(RewrittenDependencies { file })
}

/// What gcc's driver takes a flag with two dashes for that the table doesn't hold: `--no-common` for `-fno-common`,
/// `--machine-sse2` for `-msse2`.
///
/// **Source:** `option_map` in gcc's `opts-common.cc`.
pub(crate) fn short_spelling(argument: &[u8], family: Family) -> Option<OsString> {
    let name = argument.strip_prefix(b"--").filter(|name| family == Family::Gcc && !name.is_empty())?;
    let of_machine = name.strip_prefix(b"machine-").or_else(|| name.strip_prefix(b"machine="));
    let spelling = of_machine.map_or_else(|| [b"-f", name].concat(), |rest| [b"-m", rest].concat());
    Some(OsString::from_vec(spelling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_look_nowhere_are_sorted_and_name_nothing() {
        assert!(LOOKING_NOWHERE.is_sorted());
        for flag in LOOKING_NOWHERE {
            let found = find(flag.as_bytes(), Family::Gcc).map(|(flag, _)| flag.names);
            assert!(!matches!(found, Some(Names::Path(_))), "{flag}");
        }
        assert!(changes_no_look(OsStr::new("-std=c++20")) && !changes_no_look(OsStr::new("-Ofast")));
    }

    #[test]
    fn distccs_places_are_a_row() {
        let mut places: Vec<u8> = flags()
            .filter_map(|flag| match flag.distcc {
                Distcc::Translated(place) => Some(place),
                Distcc::Untranslated => None,
            })
            .collect();
        places.sort_unstable();
        assert!(places.iter().copied().eq(0..places.len() as u8), "{places:?}");
    }

    /// Literals that are no compiler's flags, though they look like one: whose they are.
    const OTHERS: [(&str, &str); 6] = [
        ("src/audit/apart.rs", "--output"),     // our own
        ("src/scan/project.rs", "-c"),          // the shell's
        ("src/daemon/processes.rs", "-c"),      // the shell's
        ("src/include_server/email.rs", "-t"),  // sendmail's
        ("src/include_server/email.rs", "-i"),  // sendmail's
        ("src/compiler/trace.rs", "--version"), // any program's
    ];

    /// Where compilers are asked and their answers read: the flags that we ourselves pass stand there.
    const ASKING: [&str; 2] = ["src/compiler/driver.rs", "src/compiler/answer.rs"];

    /// Whether a literal spells a flag: a whole row, or one whose operand is joined.
    fn spells_flag(literal: &str) -> bool {
        [Family::Gcc, Family::Clang].into_iter().any(|family| {
            find(literal.as_bytes(), family).is_some_and(|(flag, _)| {
                let is_open = flag.spelling.ends_with(['=', ',']) || flag.meaning == Meaning::Plain(Plain::Guess);
                literal == flag.spelling || is_open && !literal.contains([' ', '{'])
            })
        })
    }

    /// The text and byte literals of a source, its tests and comments left out.
    fn literals(source: &str) -> Vec<String> {
        let tests = ["tests", "fuzz"].map(|name| source.find(&format!("#[cfg(test)]\nmod {name} {{")));
        let product = &source[..tests.into_iter().flatten().min().unwrap_or(source.len())];
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut literals = Vec::new();
        for line in code {
            // Inside quotes is every second part; an escaped quote is none.
            let line = line.replace("\\\\", "").replace("\\\"", "").replace("b'\"'", "").replace("'\"'", "");
            literals.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
        }
        literals
    }

    fn check_sources(directory: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("sources") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("below the root").to_str().expect("UTF-8");
            let is_table = name.starts_with("src/command/options") || ASKING.contains(&name);
            let is_test = ["/tests.rs", "/tests", "/fuzz.rs"].iter().any(|end| name.ends_with(end));
            if is_table || is_test {
                continue;
            }
            if path.is_dir() {
                check_sources(&path, found);
                continue;
            }
            let literals = literals(&std::fs::read_to_string(&path).expect("a source"));
            let spelled = literals.iter().filter(|literal| spells_flag(literal));
            let strange = spelled.filter(|literal| !OTHERS.contains(&(name, literal.as_str())));
            found.extend(strange.map(|literal| format!("{name}: {literal}")));
        }
    }

    #[test]
    fn no_other_module_spells_a_flag() {
        for literal in ["-I", "-Wp,", "-fplugin=x", "-march=native", "-fno-lto", "--sysroot=", "-m32"] {
            assert!(spells_flag(literal), "{literal}");
        }
        for literal in ["--remote", "-as", "-header", "-x {}", "-dumpbase with outputs", "objcopy"] {
            assert!(!spells_flag(literal), "{literal}");
        }
        let text = "let a = \"-I\"; // \"-c\"\n// \"-S\"\nb\"-o\"\n#[cfg(test)]\nmod tests { \"-E\" }";
        assert_eq!(literals(text), ["-I", "-c", "-o"]);
        let mut found = Vec::new();
        check_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.is_empty(), "these belong to src/command/options: {found:#?}");
    }
}
