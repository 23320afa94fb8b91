//! Single compiles: objects, depfiles, diagnostics and exit codes are the compiler's own, from a worker and from the cache.

use anyhow::{Result, ensure};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;

const FILES: &[(&str, &str)] = &[
    (
        "hello.c",
        "#include <stdio.h>\n#include \"include/name.h\"\nint main(void) { return printf(\"hello %s\\n\", NAME) < 0; }\n",
    ),
    ("include/name.h", "#pragma once\n#define NAME \"world\"\n"),
    (
        "hello.cc",
        "#include <iostream>\n#include <map>\n#include <name.h>\nint main() { std::map<int, const char*> m{{1, NAME}}; std::cout << m[1] << __FILE__; }\n",
    ),
    ("src/deep.c", "#include \"../include/name.h\"\nconst char *deep(void) { return NAME __FILE__; }\n"),
    (
        "warning.c",
        "#include \"include/name.h\"\nint f(void) { int unused; return sizeof NAME; }\nstatic int g(int x) { if (x = 1) return 2; return 3; }\n",
    ),
    ("error.c", "#include \"include/name.h\"\nint f(void) { return undeclared + NAME; }\n"),
    ("missing.c", "#include \"include/absent.h\"\nint f;\n"),
    (
        "start.S",
        "#include \"include/name.h\"\n\t.text\n\t.globl start\nstart:\tret\n\t.section .rodata\n\t.asciz NAME\n\t.incbin \"blob.bin\"\n",
    ),
    ("blob.bin", "binary\n"),
    ("config.h", "#define CONFIGURED 1\n"),
    ("arguments.rsp", "-O2 -g -Iinclude -DFROM_FILE=2\n"),
    ("out/keep", ""),
];

/// Compiles that must leave the machine, and whose second time must be a hit.
const REMOTE: &[&str] = &[
    "gcc -c hello.c",
    "gcc -g -O2 -c hello.c -o hello.o",
    "gcc -g3 -O0 -c hello.c -o out/hello.o",
    "gcc -O2 -S hello.c",
    "gcc -c -O2 src/deep.c -o out/deep.o",
    "gcc -g -c -Iinclude -iquote src -isystem include -DX=1 -UX -include config.h hello.c",
    "gcc -c @arguments.rsp hello.c -o out/hello.o",
    "gcc -c start.S -o start.o",
    "gcc -c -fPIC -pthread -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2 -O2 hello.c",
    "gcc -c -g -fdebug-prefix-map=/=./ hello.c",
    "gcc -c -x c -std=gnu11 hello.c -ohello.o",
    "g++ -g -O2 -Iinclude -c hello.cc -o hello.o",
    "g++ -std=c++20 -Iinclude -c hello.cc",
    "clang-14 -g -O2 -c hello.c -o hello.o",
    "clang++-14 -g -Iinclude -c hello.cc -o hello.o",
    // Dependency files of all kinds.
    "gcc -MD -c hello.c",
    "gcc -MMD -c hello.c -o out/hello.o",
    "gcc -MD -MF out/hello.d -c hello.c -o hello.o",
    "gcc -MMD -MP -MF out/hello.d -MT hello.o -c hello.c -o out/x.o",
    "gcc -MD -MT one -MT two -MQ $(three) -MFdeps -c hello.c",
    "gcc -Wp,-MD,out/hello.d -c hello.c -o hello.o",
    "gcc -Wp,-MMD,out/hello.d -Wp,-MT,name -c hello.c -o hello.o",
    "g++ -MD -MT CMakeFiles/x.dir/hello.cc.o -MF CMakeFiles.d -Iinclude -o hello.cc.o -c hello.cc",
    "clang-14 -MMD -MF out/hello.d -c hello.c -o hello.o",
    // Diagnostics are part of the answer.
    "gcc -Wall -Wextra -c warning.c",
    "gcc -Wall -fdiagnostics-color=always -c warning.c",
    "gcc -Wall -fdiagnostics-format=json -c warning.c",
    "clang-14 -Wall -c warning.c",
];

/// Compiles that fail, which is nothing that a cache remembers.
const FAILING: &[&str] = &[
    "gcc -c error.c",
    "gcc -c error.c -MD -MF out/error.d -o out/error.o",
    "gcc -c missing.c",
    "gcc -c missing.c -MD -o out/missing.o",
    "gcc -Werror -Wall -c warning.c",
    "g++ -c absent.cc",
    "clang-14 -c error.c",
];

#[test]
fn remote_compiles_leave_what_local_ones_leave_and_hit_the_second_time() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    let mut wrong = Vec::new();
    for command_line in REMOTE {
        site.client.zero()?;
        let first = workspace.check(&site.client, command_line);
        let after_first = site.client.stats()?;
        let second = workspace.check(&site.client, command_line);
        let after_second = site.client.stats()?;
        for error in [first, second].into_iter().filter_map(Result::err) {
            wrong.push(format!("{error:#}"));
        }
        // Two command lines of the list may be one action.
        if after_first.remote_runs + after_first.hits() != 1 || after_second.hits() != after_first.hits() + 1 {
            wrong.push(format!("{command_line}: {after_first:?}, then {after_second:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), site.server.log());
    Ok(())
}

#[test]
fn failing_compiles_fail_as_they_do_locally() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    for command_line in FAILING {
        for _ in 0..2 {
            let effect = workspace.check(&site.client, command_line)?;
            ensure!(effect.code != Some(0), "{command_line} does not fail");
        }
    }
    let stats = site.client.stats()?;
    ensure!(stats.failed == 2 * FAILING.len() as u64 && stats.hits() == 0, "{stats:?}");
    Ok(())
}

#[test]
fn a_failing_compile_leaves_the_old_object_as_the_compiler_does() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    for command_line in
        ["gcc -c error.c -o old.o", "gcc -c error.c -MMD -MF old.d -o old.o", "gcc -c error.c -S -o old.s"]
    {
        let mut left = Vec::new();
        for client in [None, Some(&site.client)] {
            for name in ["old.o", "old.d", "old.s"] {
                workspace.write(name, "old")?;
            }
            let mut words = command_line.split_whitespace();
            match client {
                None => {
                    let mut command = std::process::Command::new(words.next().unwrap_or_default());
                    pumphouse_tests::process::run(command.args(words).current_dir(workspace.path()))?;
                }
                Some(client) => drop(client.compile(workspace.path(), command_line)?),
            }
            left.push(["old.o", "old.d", "old.s"].map(|name| workspace.read(name).ok()));
        }
        ensure!(left[0] == left[1], "{command_line}: {left:?}");
    }
    Ok(())
}

#[test]
fn objects_link_and_run() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    for command_line in ["gcc -c hello.c -o hello.o", "gcc hello.o -o hello"] {
        let output = site.client.compile(workspace.path(), command_line)?;
        ensure!(output.status.success(), "{command_line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let printed = pumphouse_tests::process::succeed(&mut std::process::Command::new(workspace.path().join("hello")))?;
    assert_eq!(printed, "hello world\n");
    Ok(())
}

#[test]
fn the_launcher_is_whatever_compiler_it_is_called_as() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    let links = tempfile::tempdir()?;
    std::os::unix::fs::symlink(pumphouse_tests::program::program()?, links.path().join("gcc"))?;
    let path = format!("{}:{}", links.path().display(), std::env::var("PATH")?);
    let mut command = std::process::Command::new("make");
    site.client.equip(command.env("PATH", path).args(["hello.o", "CC=gcc"]).current_dir(workspace.path()));
    pumphouse_tests::process::succeed(&mut command)?;
    let stats = site.client.stats()?;
    ensure!(stats.remote_runs == 1, "{stats:?}");
    Ok(())
}
