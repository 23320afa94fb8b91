//! Results that hold the time of day, or a file's, are not remembered: which those are, the compilers themselves say.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::succeed;
use pumphouse_tests::workspace::Workspace;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Ways to say the time, and what a compiler must be told besides.
const TELLING: &[(&str, &str)] = &[
    ("const char *t = __TIME__;\n", ""),
    ("const char *t = B;\n", "-DB=__TIME__"),
    ("const char *t = B;\n", "-DB=__TIMESTAMP__"),
    ("const char *t = B;\n", "-Wp,-DB=__DATE__"),
    ("const char *t = B(TIME);\n", "-DB(n)=__##n##__"),
    ("#define X(n) __##n##__\nconst char *t = X(DATE) X(TIME);\n", ""),
    ("#define X(n) __##n##__\nconst char *t = X(TIMESTAMP);\n", ""),
    ("#define X(a, b) a##b\nconst char *t = X(__TI, ME__);\n", ""),
    ("#define X(a, b) a##b\nconst char *t = X(__, TIME__);\n", ""),
    ("#define X(a, b) a##b\nconst char *t = X(__TIME_, _);\n", ""),
    ("#define X(a, b) a ## b\n#define Y __TIM\nconst char *t = X(__DATE, __), *u = X(__TIM, E__);\n", ""),
    ("#define X(a, b, c) a %:%: b %:%: c\nconst char *t = X(__, TIME, __);\n", ""),
    ("const char *t = __TI\\\nME__;\n", ""),
    ("const char *t = __TIME\\\nSTAMP\\\n__;\n", ""),
    ("#define T __TI\\\n\\\nME__\nconst char *t = T;\n", ""),
    ("#include \"time.h\"\nconst char *t = NOW;\n", ""),
    ("const char *t = NOW;\n", "-include time.h"),
    ("#include <system.h>\nconst char *t = NOW;\n", "-isystem system"),
];

const HEADERS: &[(&str, &str)] = &[
    ("time.h", "#define NOW __TIME__\n"),
    ("system/system.h", "#pragma GCC system_header\n#define JOIN(a, b) a##b\n#define NOW JOIN(__TI, ME__)\n"),
];

/// What looks like the time and is not.
const SILENT: &[(&str, &str)] = &[
    ("enum { DATE, TIME, TIMESTAMP };\n", ""),
    ("#define X(a, b) a##b\nenum { X(DA, TE), X(TI, ME) };\n", ""),
    ("// __TIME__\nconst char *t = \"__TIME__\";\n", "-DNAME=\"__TIMESTAMP\""),
    ("#define _(text) text\n#define TIME _(\"TIME\")\nconst char *t = TIME;\n", ""),
    ("#ifndef __TIME\n#define __TIME\n#define A(x) \\\n  x\nint A(a);\n#endif\n", ""),
];

fn sources(list: &[(&str, &str)]) -> Result<Workspace> {
    let workspace = Workspace::new(HEADERS)?;
    for (at, (text, _)) in list.iter().enumerate() {
        workspace.write(&format!("{at}.c"), text)?;
    }
    Ok(workspace)
}

#[test]
fn what_tells_the_time_is_not_remembered_and_what_does_not_is() -> Result<()> {
    for (list, are_hits) in [(TELLING, false), (SILENT, true)] {
        let workspace = sources(list)?;
        let directory = tempfile::tempdir()?;
        let client = Client::new(directory.path(), None)?;
        for (at, (text, flags)) in list.iter().enumerate() {
            for compiler in ["gcc", "clang"] {
                client.zero()?;
                for _ in 0..2 {
                    let output =
                        client.compile(workspace.path(), &format!("{compiler} {flags} -c {at}.c -o {at}.o"))?;
                    ensure!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
                }
                let stats = client.stats()?;
                let as_expected = if are_hits { stats.local_hits == 1 } else { stats.local_hits == 0 };
                ensure!(as_expected, "{compiler} {flags}, {text}: {stats:?}");
            }
        }
    }
    Ok(())
}

/// Systems whose forms of objects, and whose ways to write them, differ.
const SYSTEMS: &[&str] = &["linux-gnu", "apple-darwin", "pc-windows-msvc", "pc-windows-gnu"];

/// Targets besides.
const TARGETS: &[&str] = &[
    "x86_64-pc-windows-msvc",
    "i686-pc-windows-msvc",
    "x86_64-pc-windows-coff",
    "x86_64-pc-windows-macho",
    "x86_64-apple-darwin",
    "i686-pc-cygwin",
    "x86_64-unknown-freebsd",
    "x86_64-unknown-uefi",
    "powerpc64-ibm-aix",
    "powerpc-ibm-aix",
    "s390x-ibm-zos",
    "wasm32-wasi",
    "wasm32-unknown-emscripten",
];

/// Lines of gcc, and of clang with what changes the writer of the object.
const LINES: &[&str] = &[
    "gcc -c a.c",
    "gcc -g -c a.c",
    "gcc -g -gsplit-dwarf -c a.c",
    "gcc -Wa,-al=a.lst -c a.c",
    "g++ -x c++ -g -c a.c",
    "aarch64-linux-gnu-gcc -g -c a.c",
    "clang -flto -c a.c",
    "clang -g -gsplit-dwarf -c a.c",
    "clang -fprofile-instr-generate -fcoverage-mapping -c a.c",
    "clang -target x86_64-pc-windows-msvc -g -gcodeview -c a.c",
    "clang -target x86_64-pc-windows-msvc -mno-incremental-linker-compatible -c a.c",
    "clang -target x86_64-pc-windows-gnu -mincremental-linker-compatible -c a.c",
    "clang -target x86_64-pc-windows-gnu -Xclang -mincremental-linker-compatible -c a.c",
    "clang -target x86_64-pc-windows-msvc -flto -c a.c",
    "clang -target x86_64-pc-windows-msvc -c s.s",
];

fn second() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

#[test]
fn every_target_whose_objects_change_with_the_time_is_known() -> Result<()> {
    let workspace =
        Workspace::new(&[("a.c", "int x = 1;\nint f(int a) { return a + x; }\n"), ("s.s", "\t.text\nf:\n\tnop\n")])?;
    let printed = succeed(Command::new("clang").arg("--print-targets"))?;
    let machines: Vec<&str> = printed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(machines.len() > 20, "{printed}");
    let systems = machines.iter().flat_map(|machine| SYSTEMS.iter().map(move |system| format!("{machine}-{system}")));
    let targets = systems.chain(TARGETS.iter().map(|target| (*target).to_owned()));
    let mut lines: Vec<String> = targets.map(|target| format!("clang -target {target} -c a.c")).collect();
    lines.extend(LINES.iter().map(|line| (*line).to_owned()));
    // All of them once, then all again: whatever the clock shows in the object has gone on by then.
    let all = |pass: &str| -> Result<(u64, Vec<Option<Vec<u8>>>)> {
        let commands = lines.iter().enumerate();
        let script: Vec<String> =
            commands.map(|(at, line)| format!("{line} -o {at}.o 2>/dev/null && mv {at}.o {pass}{at}.o\n")).collect();
        workspace.write("all.sh", &script.concat())?;
        let begin = second()?;
        // A compile that fails has nothing to compare.
        pumphouse_tests::process::run(Command::new("sh").arg("all.sh").current_dir(workspace.path()))?;
        Ok((begin, (0..lines.len()).map(|at| workspace.read(&format!("{pass}{at}.o")).ok()).collect()))
    };
    let (first_began, first) = all("first")?;
    let (second_began, again) = all("again")?;
    ensure!(second_began > first_began, "all of that took less than a second");
    let compiled = first.iter().flatten().count();
    ensure!(compiled > lines.len() / 2, "only {compiled} of {} targets compile", lines.len());
    let changing: BTreeSet<usize> = (0..lines.len()).filter(|at| first[*at] != again[*at]).collect();
    ensure!(changing.iter().any(|at| lines[*at].contains("windows-msvc")), "nothing holds the time: {changing:?}");
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let mut wrong = Vec::new();
    for at in changing {
        client.zero()?;
        for _ in 0..2 {
            client.compile(workspace.path(), &format!("{} -o a.o", lines[at])).context("compiling")?;
        }
        if client.stats()?.local_hits > 0 {
            wrong.push(&lines[at]);
        }
    }
    ensure!(wrong.is_empty(), "remembered, though they change: {wrong:#?}");
    Ok(())
}
