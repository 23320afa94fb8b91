//! Compilers that draw random numbers or measure time: the first result is as good as a second, so it is kept, whole.

use anyhow::{Context as _, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::succeed;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::path::Path;
use std::process::Command;

const FILES: &[(&str, &str)] = &[
    ("a.c", "int b(int);\nint main(void) { return b(41) == 42 ? 0 : 1; }\n"),
    ("b.c", "int b(int x) { return x > 0 ? x + 1 : 0; }\n"),
    ("c.cc", "namespace { struct S { S(); int v; }; S::S() : v(1) {} S s; }\nint c() { return s.v; }\n"),
];

/// Command lines whose compiler writes other bytes each time, with an output besides the object where there is one.
const LINES: &[(&str, Option<&str>)] = &[
    ("gcc -flto -O2 -c b.c -o b.o", None),
    ("g++ -flto=auto -ffat-lto-objects -c c.cc -o c.o", None),
    ("gcc --coverage -c b.c -o b.o", Some("b.gcno")),
    ("gcc -fprofile-arcs -ftest-coverage -g -c b.c -o b.o", Some("b.gcno")),
    ("gcc -fprofile-generate -O2 -c b.c -o b.o", None),
    ("gcc -fprofile-generate=profiles -c b.c -o b.o", None),
    ("clang -ftime-trace -c b.c -o b.o", Some("b.json")),
];

fn compile(client: &Client, directory: &Path, line: &str) -> Result<()> {
    let output = client.compile(directory, line)?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Compiles each of `lines` as its first compile, and then again once its outputs are gone: all must be hits.
fn twice(client: &Client, workspace: &Workspace, lines: &[&str]) -> Result<()> {
    for line in lines {
        let first = workspace.through(client, line)?;
        ensure!(first.code == Some(0), "{line}: {first:?}");
        client.zero()?;
        compile(client, workspace.path(), line)?;
        let stats = client.stats()?;
        ensure!(stats.local_hits == 1, "{line}: {stats:?}");
    }
    Ok(())
}

#[test]
fn the_second_compile_is_a_hit_of_the_first_whole() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(FILES)?;
    for (line, other) in LINES {
        let [one, two] = [workspace.plainly(line)?, workspace.plainly(line)?];
        ensure!(one != two, "{line}: the compiler writes the same twice, which shows nothing");
        let first = workspace.through(&client, line)?;
        ensure!(first.code == Some(0) && first.files() == one.files(), "{line}: {first:?}");
        ensure!(other.is_none_or(|other| first.files().contains(&Path::new(other))), "{line}: {first:?}");
        client.zero()?;
        ensure!(workspace.through(&client, line)? == first, "{line}: not the first result");
        let stats = client.stats()?;
        ensure!((stats.compiles, stats.local_hits) == (1, 1), "{line}: {stats:?}");
    }
    Ok(())
}

#[test]
fn a_workers_first_result_is_the_next_developers() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    let line = "gcc -flto --coverage -c b.c -o b.o";
    let first = workspace.through(&site.client, line)?;
    let other = site.another_client("other")?;
    ensure!(workspace.through(&other, line)? == first);
    let stats = other.stats()?;
    ensure!((stats.compiles, stats.remote_hits) == (1, 1), "{stats:?}");
    Ok(())
}

#[test]
fn hits_link_with_link_time_optimisation_and_run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    for compiler in ["gcc", "clang"] {
        let workspace = Workspace::new(FILES)?;
        let lines = ["a", "b"].map(|unit| format!("{compiler} -flto -O2 -c {unit}.c -o {unit}.o"));
        twice(&client, &workspace, &lines.each_ref().map(String::as_str))?;
        // Not every machine has a linker that takes clang's bitcode; clang makes objects of it itself.
        let mut link = Command::new(compiler);
        if compiler == "clang" {
            for unit in ["a", "b"] {
                let names = [format!("{unit}.o"), "-o".into(), format!("{unit}-plain.o")];
                succeed(Command::new("clang").args(["-c", "-x", "ir"]).args(names).current_dir(workspace.path()))?;
            }
            link.args(["a-plain.o", "b-plain.o"]);
        } else {
            link.args(["-flto", "-O2", "a.o", "b.o"]);
        }
        succeed(link.args(["-o", "program"]).current_dir(workspace.path()))?;
        succeed(Command::new("./program").current_dir(workspace.path()))?;
    }
    Ok(())
}

#[test]
fn gcov_reads_what_hits_of_coverage_compiles_count() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(FILES)?;
    twice(&client, &workspace, &["gcc --coverage -c a.c -o a.o", "gcc --coverage -c b.c -o b.o"])?;
    let in_place = |program: &str, arguments: &[&str]| {
        succeed(Command::new(program).args(arguments).current_dir(workspace.path()))
    };
    in_place("gcc", &["--coverage", "a.o", "b.o", "-o", "program"])?;
    in_place("./program", &[])?;
    let said = in_place("gcov", &["b.o"])?;
    ensure!(said.contains("Lines executed:100.00% of 1"), "{said}");
    let counted = String::from_utf8(workspace.read("b.c.gcov")?)?;
    let line = counted.lines().find(|line| line.contains("int b(int x)")).context("the line is in the report")?;
    ensure!(line.trim_start().starts_with("1:") || line.trim_start().starts_with("1*:"), "{line}");
    Ok(())
}

#[test]
fn a_profile_from_hits_is_used_by_the_next_compile() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(FILES)?;
    let lines = ["a", "b"].map(|unit| format!("gcc -fprofile-generate -O2 -c {unit}.c -o {unit}.o"));
    twice(&client, &workspace, &lines.each_ref().map(String::as_str))?;
    let in_place = |program: &str, arguments: &[&str]| {
        succeed(Command::new(program).args(arguments).current_dir(workspace.path()))
    };
    in_place("gcc", &["-fprofile-generate", "a.o", "b.o", "-o", "program"])?;
    in_place("./program", &[])?;
    workspace.check(&client, "gcc -fprofile-use -Werror=missing-profile -O2 -c b.c -o b.o")?;
    Ok(())
}

#[test]
fn coverage_in_another_directory_is_another_compile() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    for _ in 0..2 {
        let workspace = Workspace::new(FILES)?;
        compile(&client, workspace.path(), "gcc --coverage -c b.c -o b.o")?;
        let counts = workspace.path().join("b.gcda").display().to_string();
        let object = workspace.read("b.o")?;
        ensure!(
            object.windows(counts.len()).any(|window| window == counts.as_bytes()),
            "{counts} is not in the object"
        );
    }
    Ok(())
}
