//! Every flag of the table that names a path, with a relative one, in two directories: what a compiler says of itself, what
//! it runs and what it reads may differ there, though the command line is the same.
//!
//! The suite goes over the table itself, so that a flag which is added later is covered. A path of a new kind wants a
//! fixture here.

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use pumphouse::command::{Families, Family, Flag, Names, Operand, PathKind, flags};
use pumphouse_tests::client::Client;
use pumphouse_tests::workspace::Workspace;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A source whose object shows which `VALUE` it got, if any.
const SOURCE: &str = "#if !defined(VALUE) && __has_include(<h.h>)\n#include <h.h>\n#endif\n\
    #if !defined(VALUE) && __has_include(\"h.h\")\n#include \"h.h\"\n#endif\n\
    #ifndef VALUE\n#define VALUE 0\n#endif\nint value = VALUE;\nint at(int *p) { return p[VALUE]; }\n";

/// A flag with an operand, and what makes it show.
struct Case {
    /// A driver, its language, the flag under test, and further flags.
    line: String,
    kind: PathKind,
    /// The path that the flag names.
    operand: &'static str,
}

/// Where a path of `kind` may be.
const fn operands(kind: PathKind) -> &'static [&'static str] {
    match kind {
        PathKind::HeaderDirectory
        | PathKind::Root
        | PathKind::GccPrefix
        | PathKind::ResourceDirectory
        | PathKind::ToolDirectory
        | PathKind::EmbedDirectory => &["sub"],
        PathKind::HeaderPrefix => &["sub/"],
        PathKind::Header
        | PathKind::Specs
        | PathKind::Plugin
        | PathKind::Profile
        | PathKind::List
        | PathKind::Bitcode => &["input"],
        // clang looks for a bare name in directories of its own.
        PathKind::Configuration => &["sub/input"],
        PathKind::Output => &["sub/output"],
    }
}

/// What makes a path of `kind` show.
const fn further(kind: PathKind, family: Family) -> &'static str {
    match (kind, family) {
        (PathKind::HeaderPrefix, _) => "-iwithprefix include",
        (PathKind::List, Family::Clang) => "-fsanitize=address",
        (PathKind::Output, _) => "-MD",
        // Some of these draw random numbers.
        (PathKind::Profile, Family::Gcc) => "-frandom-seed=x",
        _ => "",
    }
}

/// Writes what stands at `operand` in a directory where the value is to be `value`.
fn furnish(workspace: &Workspace, kind: PathKind, operand: &str, value: u32) -> Result<()> {
    let header = format!("#define VALUE {value}\n");
    let places: &[&str] = match kind {
        PathKind::HeaderDirectory | PathKind::EmbedDirectory => &["sub/h.h"],
        PathKind::HeaderPrefix | PathKind::ResourceDirectory | PathKind::ToolDirectory => &["sub/include/h.h"],
        PathKind::Root => &["sub/usr/include/h.h"],
        PathKind::GccPrefix => {
            workspace.write("sub/lib/gcc/x86_64-linux-gnu/99/crtbegin.o", "")?;
            &["sub/include/c++/99/h.h"]
        }
        PathKind::Header => return workspace.write(operand, &header),
        PathKind::Specs => return workspace.write(operand, &format!("*cpp:\n+ -DVALUE={value}\n\n")),
        PathKind::Configuration => return workspace.write(operand, &format!("-DVALUE={value}\n")),
        PathKind::List => {
            let function = if value.is_multiple_of(2) { "*at*" } else { "nothing" };
            return workspace.write(operand, &format!("fun:{function}\n"));
        }
        // No real one: the compilers refuse it, each in its own words.
        PathKind::Plugin | PathKind::Profile | PathKind::Bitcode => return workspace.write(operand, &header),
        PathKind::Output => return workspace.write("sub/h.h", &header),
    };
    places.iter().try_for_each(|place| workspace.write(place, &header))
}

/// Whether a directory of `kind` may be empty: what a compiler tells of itself in one that is, is wrong in the other.
const fn is_optional(kind: PathKind) -> bool {
    match kind {
        PathKind::HeaderDirectory
        | PathKind::HeaderPrefix
        | PathKind::Root
        | PathKind::GccPrefix
        | PathKind::ResourceDirectory
        | PathKind::ToolDirectory
        | PathKind::EmbedDirectory => true,
        PathKind::Header
        | PathKind::Specs
        | PathKind::Configuration
        | PathKind::Plugin
        | PathKind::Profile
        | PathKind::List
        | PathKind::Bitcode
        | PathKind::Output => false,
    }
}

/// Every case that the table holds for `family`.
fn cases(family: Family) -> Vec<Case> {
    let known = flags().filter(|flag| flag.families.include(family));
    known.flat_map(|flag| cases_of(flag, family)).collect()
}

fn cases_of(flag: &Flag, family: Family) -> Vec<Case> {
    let Names::Path(kind) = flag.names else { return Vec::new() };
    let languages: &[(&str, &str)] = match (family, kind) {
        // It has flags for the one and for the other.
        (Family::Clang, PathKind::HeaderDirectory) if flag.families == Families::Clang => {
            &[("clang", "a.c"), ("clang++", "a.cc")]
        }
        (Family::Clang, _) => &[("clang++", "a.cc")],
        (Family::Gcc, _) => &[("gcc", "a.c")],
    };
    let mut cases = Vec::new();
    for &operand in operands(kind) {
        let written = match flag.operand {
            Operand::Separate => format!("{} {operand}", flag.spelling),
            Operand::Joined | Operand::Either => format!("{}{operand}", flag.spelling),
            Operand::None => continue,
        };
        for (driver, source) in languages {
            let line = format!("{driver} -c {source} -o a.o {written} {}", further(kind, family));
            cases.push(Case { line, kind, operand });
        }
    }
    cases
}

/// Compiles in two directories, twice each, and once more after an edit in the second: each time as the compiler does.
fn check(case: &Case, client: &Client) -> Result<()> {
    let mut directories = Vec::new();
    for value in 1..=2 {
        let workspace = Workspace::new(&[("a.c", SOURCE), ("a.cc", SOURCE)])?;
        if value == 1 && is_optional(case.kind) {
            std::fs::create_dir(workspace.path().join("sub"))?;
        } else {
            furnish(&workspace, case.kind, case.operand, value)?;
        }
        let expected = workspace.plainly(&case.line)?;
        directories.push((workspace, expected));
    }
    for (number, (workspace, expected)) in directories.iter().enumerate() {
        for time in ["first", "second"] {
            let actual = workspace.through(client, &case.line)?;
            ensure!(actual == *expected, "{time} time in directory {number}: {actual:?}\nnot {expected:?}");
        }
    }
    let (second, before) = &directories[1];
    furnish(second, case.kind, case.operand, 3)?;
    let expected = second.plainly(&case.line)?;
    let actual = second.through(client, &case.line)?;
    let seen = if expected == *before { "which changes nothing" } else { "which shows" };
    ensure!(actual == expected, "after an edit, {seen}: {actual:?}\nnot {expected:?}");
    let (first, expected) = &directories[0];
    let actual = first.through(client, &case.line)?;
    ensure!(actual == *expected, "in the first directory after an edit in the second: {actual:?}\nnot {expected:?}");
    Ok(())
}

/// Checks every case of `family`, two at a time, and tells of all that fail.
fn check_all(family: Family) -> Result<()> {
    let cases = cases(family);
    // Whether the table is reached at all.
    ensure!(cases.len() > 40, "only {} cases", cases.len());
    let scratch = tempfile::tempdir()?;
    let client = Client::new(scratch.path(), None)?;
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = check(case, &client) {
                        wrong.lock().push(format!("{}: {error:#}", case.line));
                    }
                }
            });
        }
    });
    let stats = client.stats().context("a daemon served")?;
    client.stop()?;
    let wrong = wrong.into_inner();
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    ensure!(stats.hits() > 0, "nothing was ever a hit: {stats:?}");
    Ok(())
}

#[test]
fn gccs_flags_mean_paths_of_the_directory_that_the_compile_is_in() -> Result<()> {
    check_all(Family::Gcc)
}

#[test]
fn clangs_flags_mean_paths_of_the_directory_that_the_compile_is_in() -> Result<()> {
    check_all(Family::Clang)
}

#[test]
fn every_kind_of_path_shows_where_the_compiler_takes_it() -> Result<()> {
    // Where a fixture shows nothing, the suite would prove nothing: of each kind, one flag at the least must show an edit.
    const SHOWN: [PathKind; 10] = [
        PathKind::HeaderDirectory,
        PathKind::HeaderPrefix,
        PathKind::Root,
        PathKind::GccPrefix,
        PathKind::ResourceDirectory,
        PathKind::ToolDirectory,
        PathKind::Header,
        PathKind::Specs,
        PathKind::Configuration,
        PathKind::List,
    ];
    for kind in SHOWN {
        let both = cases(Family::Gcc).into_iter().chain(cases(Family::Clang));
        let mut of_kind = both.filter(|case| case.kind == kind);
        let shows = of_kind.try_fold(false, |shows, case| -> Result<bool> {
            if shows {
                return Ok(true);
            }
            let workspace = Workspace::new(&[("a.c", SOURCE), ("a.cc", SOURCE)])?;
            furnish(&workspace, kind, case.operand, 1)?;
            let before = workspace.plainly(&case.line)?;
            furnish(&workspace, kind, case.operand, 2)?;
            Ok(before.code == Some(0) && workspace.plainly(&case.line)? != before)
        })?;
        ensure!(shows, "no flag shows what is at a path of the kind {kind:?}");
    }
    ensure!(flags().any(|flag| flag.families == Families::Clang), "the table tells families apart");
    Ok(())
}
