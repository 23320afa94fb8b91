//! The compilers' own lists of their flags against ours: whatever flag takes a path by its help has to be one in the table
//! as well, or to keep the compile local.

use pumphouse::command::{Family, Flag, Names, Operand, flags, parse};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

const ANOTHER_LANGUAGE: &str = "a flag for D, Fortran, Go or Modula-2, of which gcc only warns";

/// Flags whose help speaks of a path that no compile reads or writes, and why.
const NO_PATHS: &[(&str, &str)] = &[
    ("-fcallgraph-info=", "the operand is a list of words"),
    ("-fdiagnostics-path-format=", "the operand is a word: a path of execution is meant"),
    ("-fprofile-prefix-path=", "a beginning of names, which is cut off as text"),
    ("-fopt-info", "the file stands behind a further `=`, and is refused"),
    ("-L", "searched when programs are linked"),
    ("-fcrash-diagnostics-dir=", "what a compiler says that crashes, which is never kept"),
    ("-fprofile-generate=", "a text in the object: the program that is made writes there"),
    ("-fcs-profile-generate=", "as -fprofile-generate="),
    ("-fprofile-instr-generate=", "as -fprofile-generate="),
    ("-fmemory-profile=", "as -fprofile-generate="),
    ("-fmodules-cache-path=", "of no use without the flags for modules, which are refused"),
    ("-fprofile-exclude-files=", "a list of patterns of names"),
    ("-fprofile-filter-files=", "a list of patterns of names"),
    ("-fprofile-info-section=", "the name of a section"),
    ("-main-file-name", "a name for debug information"),
    ("-object-file-name=", "a name for debug information"),
    ("-fdoc-dir=", ANOTHER_LANGUAGE),
    ("-fdoc-file=", ANOTHER_LANGUAGE),
    ("-fdoc-inc=", ANOTHER_LANGUAGE),
    ("-fgo-c-header=", ANOTHER_LANGUAGE),
    ("-fgo-embedcfg=", ANOTHER_LANGUAGE),
    ("-fgo-relative-import-path=", ANOTHER_LANGUAGE),
    ("-flang-info-module-cmi=", "gcc says where a module is that it reads or writes, and modules are refused"),
    ("-fmodule-file=", ANOTHER_LANGUAGE),
    ("-fobject-path=", ANOTHER_LANGUAGE),
    ("-fpre-include=", ANOTHER_LANGUAGE),
    ("-fsave-mixins=", ANOTHER_LANGUAGE),
    ("-ftarget-ar=", ANOTHER_LANGUAGE),
    ("-ftarget-ranlib=", ANOTHER_LANGUAGE),
    ("-imultiarch", "a part of the names of directories, and none by itself"),
    ("-imultilib", "a part of the names of directories, and none by itself"),
];

/// What the help of `program` under each of `questions` says.
fn help(program: &str, questions: &[&str]) -> String {
    let answer = |question: &&str| {
        let output = Command::new(program).args(question.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    questions.iter().map(answer).collect()
}

/// The flags in `help` that take a path, by what they call their operand: as they are written, without the operand.
fn flags_with_paths(help: &str) -> BTreeSet<String> {
    const WORDS: [&str; 5] = ["file", "dir", "path", "root", "dso"];
    let mut found = BTreeSet::new();
    for line in help.lines() {
        let line = line.trim_start();
        let Some(flag) = line.split_whitespace().next().filter(|first| first.starts_with('-') && first.len() > 1)
        else {
            continue;
        };
        let operand = match flag.find(['=', '<']) {
            Some(at) => flag[at..].trim_start_matches('=').to_owned(),
            None => line[flag.len()..].strip_prefix(' ').unwrap_or("").split("  ").next().unwrap_or("").to_owned(),
        };
        let is_placeholder = operand.starts_with('<') || operand.chars().all(|letter| letter.is_ascii_uppercase());
        let describes = line.split_once("  ").map_or("", |(_, words)| words).to_lowercase();
        let is_path = is_placeholder && WORDS.iter().any(|word| operand.to_lowercase().contains(word));
        // gcc leaves out what an operand is called.
        let takes_some =
            flag.ends_with('=') && ["file", "directory", "path"].iter().any(|word| describes.contains(word));
        if is_path || takes_some {
            let end = flag.find('<').unwrap_or_else(|| flag.find('=').map_or(flag.len(), |at| at + 1));
            // Brackets stand around what may be left out.
            let end = flag.find('[').map_or(end, |at| at.min(end));
            found.insert(flag[..end].to_owned());
        }
    }
    found
}

/// The row that `argument` falls under.
fn row(argument: &str, family: Family) -> Option<&'static Flag> {
    let fits = |flag: &&Flag| {
        flag.families.include(family)
            && match flag.operand {
                Operand::None | Operand::Separate => argument == flag.spelling,
                Operand::Joined | Operand::Either => argument.starts_with(flag.spelling),
            }
    };
    flags().filter(fits).max_by_key(|flag| flag.spelling.len())
}

/// Whether the compile of `words` is kept local as it stands.
fn is_refused(words: &[&str]) -> bool {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    parse(&words, Path::new("/"), &[("PATH".into(), "/usr/bin".into())]).is_err()
}

/// The ways to write `spelling` with a bare name, which doesn't look like a path.
fn forms(family: Family, spelling: &str) -> Vec<Vec<String>> {
    let joined = vec![format!("{spelling}input")];
    let separate = vec![spelling.to_owned(), "input".to_owned()];
    match row(spelling, family) {
        _ if spelling.ends_with('=') => vec![joined],
        Some(flag) if flag.spelling == spelling && flag.operand == Operand::Separate => vec![separate],
        _ => vec![joined, separate],
    }
}

/// Whether `spelling` with a path is refused or known to name one: to the driver, and where `handed_on` stands before each
/// word.
fn is_known(program: &str, family: Family, handed_on: Option<&str>, spelling: &str) -> bool {
    let is_path = |flag: &Flag| matches!(flag.names, Names::Path(_)) || flag.spelling == "-o";
    forms(family, spelling).iter().all(|words| {
        let words = words.iter().flat_map(|word| handed_on.into_iter().chain([word.as_str()]));
        let line: Vec<&str> = [program, "-c", "a.c"].into_iter().chain(words).collect();
        is_refused(&line) || row(spelling, family).is_some_and(is_path)
    })
}

#[test]
fn every_flag_that_takes_a_path_by_its_help_is_known_to() {
    let gcc = help(
        "gcc",
        &[
            "--help=common",
            "--help=target",
            "--help=c",
            "--help=c++",
            "--help=driver",
            "--help=separate",
            "--help=joined",
            "--help=undocumented",
            "--help=optimizers",
            "--help=warnings",
            "--help",
        ],
    );
    let clang = help("clang", &["--help", "--help-hidden"]);
    let mut unknown = Vec::new();
    for (program, family, help) in [("/usr/bin/gcc", Family::Gcc, gcc), ("/usr/bin/clang", Family::Clang, clang)] {
        let flags = flags_with_paths(&help);
        assert!(flags.len() > 15, "{program} says little: {flags:?}");
        unknown.extend(
            flags.into_iter().filter(|flag| {
                !NO_PATHS.iter().any(|(other, _)| other == flag) && !is_known(program, family, None, flag)
            }),
        );
    }
    let front_end = flags_with_paths(&help("clang", &["-cc1 --help", "-cc1 --help-hidden"]));
    let is_unknown = |flag: &&String| {
        !NO_PATHS.iter().any(|(other, _)| other == *flag)
            && !is_known("/usr/bin/clang", Family::Clang, Some("-Xclang"), flag)
    };
    let handed_on: Vec<&String> = front_end.iter().filter(is_unknown).collect();
    assert!(
        unknown.is_empty() && handed_on.is_empty(),
        "not known to name paths: {unknown:?}; by -Xclang {handed_on:?}"
    );
    assert!(is_refused(&["/usr/bin/gcc", "-c", "a.c", "-fopt-info-vec=input"]));
}
