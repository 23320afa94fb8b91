//! Environment variables: each value has its own result, or none is stored; what no compiler asks for changes nothing.

use anyhow::{Context as _, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::succeed;
use pumphouse_tests::program::program;
use pumphouse_tests::workspace::Workspace;
use std::process::Command;

/// A library that has every program read `other.h` where it asks for `one.h`.
const PRELOADED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
int open(const char *path, int flags, ...) {
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return next(strcmp(path, "one.h") ? path : "other.h", flags, mode);
}
"#;

fn workspace() -> Result<Workspace> {
    let workspace = Workspace::new(&[
        ("preloaded.c", PRELOADED),
        ("a.c", "#include \"one.h\"\nint one = ONE;\n"),
        ("one.h", "#define ONE 1\n"),
        ("other.h", "#define ONE 2\n"),
        ("version.c", "int v = __ENVIRONMENT_MAC_OS_X_VERSION_MIN_REQUIRED__;\n"),
        (
            "os.c",
            "#ifdef __ENVIRONMENT_IPHONE_OS_VERSION_MIN_REQUIRED__\nint v = __ENVIRONMENT_IPHONE_OS_VERSION_MIN_REQUIRED__;\n#endif\n",
        ),
        ("searched.c", "#include <searched.h>\nint s = S;\n"),
        ("first/searched.h", "#define S 1\n"),
        ("second/searched.h", "#define S 2\n"),
    ])?;
    let library = workspace.path().join("preloaded.so");
    succeed(
        Command::new("gcc")
            .args(["-shared", "-fPIC", "preloaded.c", "-ldl", "-o"])
            .arg(library)
            .current_dir(workspace.path()),
    )?;
    Ok(workspace)
}

#[test]
fn each_value_of_a_variable_that_counts_has_its_own_result() -> Result<()> {
    let workspace = workspace()?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let apple = "clang -target x86_64-apple-darwin -c version.c";
    let lines = [
        format!("MACOSX_DEPLOYMENT_TARGET=10.9 {apple}"),
        format!("MACOSX_DEPLOYMENT_TARGET=11.0 {apple}"),
        apple.replace("version.c", "os.c"),
        "IPHONEOS_DEPLOYMENT_TARGET=9.0 clang -target arm64-apple-ios -c os.c".to_owned(),
        "IPHONEOS_DEPLOYMENT_TARGET=13.1 clang -target arm64-apple-ios -c os.c".to_owned(),
        "CPATH=first gcc -c searched.c".to_owned(),
        "CPATH=second gcc -c searched.c".to_owned(),
        "CPATH=second:first clang -c searched.c".to_owned(),
        "INCLUDE=first clang -target x86_64-pc-windows-msvc -mno-incremental-linker-compatible -c searched.c"
            .to_owned(),
        "INCLUDE=second;first clang -target x86_64-pc-windows-msvc -mno-incremental-linker-compatible -c searched.c"
            .to_owned(),
    ];
    for _ in 0..2 {
        for line in &lines {
            workspace.check(&client, line)?;
        }
    }
    let stats = client.stats()?;
    ensure!(stats.local_hits == lines.len() as u64, "{stats:?}");
    Ok(())
}

#[test]
fn what_changes_programs_themselves_is_neither_stored_nor_answered() -> Result<()> {
    let workspace = workspace()?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let preload = format!("LD_PRELOAD={}/preloaded.so", workspace.path().display());
    for compiler in ["gcc", "clang"] {
        for flag in ["-O0", "-O1"] {
            let plain = format!("{compiler} {flag} -c a.c");
            let preloaded = format!("{preload} {plain}");
            for line in if flag == "-O0" { [&preloaded, &plain, &preloaded] } else { [&plain, &preloaded, &plain] } {
                workspace.check(&client, line)?;
            }
        }
    }
    for variable in
        ["LD_AUDIT=absent.so", "GLIBC_TUNABLES=glibc.malloc.check=3", "MALLOC_PERTURB_=85", "LOCPATH=/", "SDKROOT=/"]
    {
        workspace.check(&client, &format!("{variable} clang -O1 -c a.c"))?;
    }
    let stats = client.stats()?;
    ensure!(stats.local_runs.get("unsupported-flag") == Some(&11), "{stats:?}");
    // An empty value is none, and other variables are nobody's business.
    client.zero()?;
    for variable in
        ["LD_PRELOAD=", "GLIBC_TUNABLES=", "PUMPHOUSE_DEPTH=3", "MALLOC_ARENA_MAX=1", "EDITOR=vi", "INCLUDE=first"]
    {
        workspace.check(&client, &format!("{variable} gcc -O1 -c a.c"))?;
    }
    let stats = client.stats()?;
    ensure!(stats.local_hits == 6, "{stats:?}");
    Ok(())
}

#[test]
fn results_that_name_temporary_files_name_those_of_whoever_compiles() -> Result<()> {
    let workspace = workspace()?;
    workspace.write("own/keep", "")?;
    workspace.write("f.c", "int f(void) { return 1; }\n")?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let place = format!("{}/own", workspace.path().display());
    for (flag, output) in [("-Wa,-al=a.out", "a.out"), ("-Wa,--MD,a.out", "a.out"), ("-Wa,-g", "f.o")] {
        let line = format!("gcc {flag} -c f.c");
        for _ in 0..2 {
            ensure!(workspace.through(&client, &line)?.code == Some(0), "{line}");
        }
        let compiled = client.compile(workspace.path(), &format!("TMPDIR={place} {line}"))?;
        ensure!(compiled.status.success(), "{line}");
        let text = String::from_utf8_lossy(&workspace.read(output)?).into_owned();
        ensure!(text.contains(&format!("{place}/cc")), "{line}: {text}");
    }
    let stats = client.stats()?;
    ensure!((stats.local_hits, stats.local_runs.get("host-dependent")) == (3, Some(&3)), "{stats:?}");
    Ok(())
}

#[test]
fn libraries_that_the_machine_preloads_keep_compiles_local() -> Result<()> {
    let workspace = workspace()?;
    let directory = tempfile::tempdir()?;
    // In a mount namespace with an `/etc` of its own. The list appears while the daemon runs, and goes again.
    let script = "set -e
        cp -a /etc \"$T/etc\"; mount --bind \"$T/etc\" /etc
        check() { rm -f a.o; gcc -c a.c -o plain.o; \"$P\" gcc -c a.c; cmp a.o plain.o; }
        check; check
        echo \"$PWD/preloaded.so\" >/etc/ld.so.preload; check; check
        echo >/etc/ld.so.preload; check
        rm /etc/ld.so.preload; check
        \"$P\" stop";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).current_dir(workspace.path());
    command.env("T", directory.path()).env("P", program()?);
    command.env("PUMPHOUSE_DIR", directory.path().join("state")).env_remove("PUMPHOUSE_REMOTE");
    succeed(&mut command).map(drop)
}

#[test]
fn the_working_directory_is_quoted_as_it_is_spelled() -> Result<()> {
    let workspace = workspace()?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let whole = workspace.path().to_str().context("a path that is text")?;
    let (above, name) = whole.rsplit_once('/').context("an absolute path")?;
    let spellings = [
        whole.to_owned(),
        format!("{whole}/"),
        format!("/{whole}"),
        format!("{above}/./{name}"),
        format!("{above}//{name}"),
        format!("{above}/{name}/../{name}"),
        format!("{whole}/first"),
        name.to_owned(),
    ];
    for compiler in ["gcc", "clang"] {
        for _ in 0..2 {
            for spelled in &spellings {
                workspace.check(&client, &format!("PWD={spelled} {compiler} -g -c a.c"))?;
            }
        }
    }
    let stats = client.stats()?;
    // The last two are no spellings of it: they are the first one's object.
    ensure!(stats.local() == 12 && stats.local_hits == 20, "{stats:?}");
    Ok(())
}

#[test]
fn what_is_each_process_s_own_is_left_to_the_compiler() -> Result<()> {
    let workspace = workspace()?;
    workspace.write("own.c", "#include \"/proc/self/cwd/first/searched.h\"\nint s = S;\n")?;
    std::os::unix::fs::symlink("/proc/self/cwd", workspace.path().join("here"))?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let lines = [
        "gcc -I/proc/self/cwd/first -c searched.c",
        "clang -isystem /proc/thread-self/cwd/first -c searched.c",
        "gcc -I/dev/fd/../cwd/first -c searched.c",
        "gcc -Ihere/first -c searched.c",
        "CPATH=/proc/self/cwd/first clang -c searched.c",
        "PWD=/proc/self/cwd gcc -g -c a.c",
        "gcc -c own.c",
        "clang -c /proc/self/cwd/a.c",
        "gcc -c a.c -o /proc/self/cwd/b.o",
        "gcc -c a.c -o here/b.o",
        "gcc -c a.c -MD -MF here/b.d",
        "gcc -c here/a.c",
    ];
    for value in 3..5 {
        workspace.write("first/searched.h", &format!("#define S {value}\n"))?;
        for line in lines {
            for _ in 0..2 {
                workspace.check(&client, line)?;
            }
        }
    }
    let stats = client.stats()?;
    ensure!(stats.local_hits == 0 && stats.local() == 4 * lines.len() as u64, "{stats:?}");
    let here = format!("PWD={}/here gcc -g -c a.c", workspace.path().display());
    workspace.check(&client, &here)?;
    workspace.check(&client, &here)?;
    ensure!(client.stats()?.local_hits == 0, "{here}");
    Ok(())
}

#[test]
fn texts_may_name_what_is_each_process_s_own() -> Result<()> {
    let workspace = workspace()?;
    workspace
        .write("text.c", "#ifdef HEADER\n#include HEADER\n#endif\nconst char *text = TEXT, *file = __FILE__;\n")?;
    workspace.write("here.h", "int h = 1;\n")?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    // git's own makefile defines such a macro for all of its files.
    let lines = [
        r#"gcc -DTEXT="/proc/self/exe" -c text.c"#,
        r#"clang -D TEXT="/dev/fd/0" -c text.c"#,
        r#"gcc -Wp,-DTEXT="/proc/self/exe" -c text.c"#,
        r#"gcc -DTEXT="" -ffile-prefix-map=/proc/self/cwd=. -g -c text.c"#,
        r#"gcc -DTEXT="" -MD -MT /proc/self/x.o -c text.c"#,
    ];
    for line in lines {
        workspace.check(&client, line)?;
        workspace.check(&client, line)?;
    }
    let stats = client.stats()?;
    ensure!(stats.local_hits == lines.len() as u64 && stats.failed == 0, "{stats:?}");
    for value in 1..3 {
        workspace.write("here.h", &format!("int h = {value};\n"))?;
        let line = r#"gcc -DTEXT="" -DHEADER="/proc/self/cwd/here.h" -c text.c"#;
        workspace.check(&client, line)?;
        workspace.check(&client, line)?;
    }
    ensure!(client.stats()?.local_hits == lines.len() as u64, "a header is no text");
    Ok(())
}
