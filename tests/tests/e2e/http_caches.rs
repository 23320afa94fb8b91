//! Foreign caches by plain HTTP: Bazel and ccache keep their results in the same server, and find them again.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\"); }\n";

/// ccache with `storage` behind a cache of its own in `directory`.
fn ccache(directory: &Path, storage: &str) -> Command {
    let mut command = Command::new("ccache");
    command.env("CCACHE_DIR", directory).env("CCACHE_REMOTE_STORAGE", storage).env("CCACHE_CONFIGPATH", "/dev/null");
    command
}

/// The number after `name` among ccache's counters.
fn counter(directory: &Path, storage: &str, name: &str) -> Result<u64> {
    let said = succeed(ccache(directory, storage).arg("--print-stats"))?;
    let value = said.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.with_context(|| format!("no {name} in\n{said}"))
}

#[test]
fn ccache_keeps_its_results_in_each_of_its_layouts() -> Result<()> {
    let site = Pumphouse::server()?;
    for (number, layout) in ["bazel", "flat", "subdirs"].into_iter().enumerate() {
        let source = format!("{SOURCE}int number{number};\n");
        let workspace = Workspace::new(&[("a.c", &source)])?;
        let storage = format!("http://{}/{layout}|layout={layout}", site.address());
        let expected = workspace.plainly("gcc -c a.c -o a.o")?;
        // A developer who compiles, and another one, with nothing of his own, who finds it.
        for (developer, hits) in [("one", 0), ("other", 1)] {
            let own = site.root().join(format!("{developer}-{layout}"));
            let mut command = ccache(&own, &storage);
            command.args(["gcc", "-c", "a.c", "-o", "a.o"]).current_dir(workspace.path());
            let actual = workspace.effect(|| run(&mut command))?;
            ensure!(actual == expected, "{layout}: {:?} {}", actual.code, actual.stderr);
            ensure!(counter(&own, &storage, "remote_storage_hit")? == hits, "{layout} {developer}");
            ensure!(counter(&own, &storage, "remote_storage_error")? == 0, "{layout} {developer}");
        }
    }
    Ok(())
}

#[test]
fn ccache_shows_its_password() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let identities = directory.path().join("identities.toml");
    let roles = "roles = [\"read\", \"write-cas\", \"write-action-cache\"]";
    std::fs::write(&identities, format!("[[identity]]\nname = \"ci\"\ntoken = \"a-secret-of-ccache\"\n{roles}\n"))?;
    let site = Pumphouse::start("server", &["--identities", &identities.display().to_string()])?;
    let workspace = Workspace::new(&[("a.c", SOURCE)])?;
    for (user, errors) in [("ci:a-secret-of-ccache@", 0), ("ci:wrong@", 1), ("", 1)] {
        let own = tempfile::tempdir()?;
        let storage = format!("http://{user}{}/cache", site.address());
        let mut command = ccache(own.path(), &storage);
        succeed(command.args(["gcc", "-c", "a.c", "-o", "a.o"]).current_dir(workspace.path()))?;
        let error = counter(own.path(), &storage, "remote_storage_error")?;
        ensure!(error == errors, "{user:?}: {error} errors");
    }
    Ok(())
}

#[test]
fn bazel_keeps_its_results_by_http_and_finds_those_of_grpc() -> Result<()> {
    let site = Pumphouse::server()?;
    let workspace = Workspace::new(&[
        ("WORKSPACE", ""),
        ("BUILD", "genrule(name = \"made\", srcs = [\"a\"], outs = [\"b\"], cmd = \"tr a-z A-Z < $< > $@\")\n"),
        ("a", "what is made of it\n"),
    ])?;
    let (http, grpc) = (format!("http://{}", site.address()), site.remote());
    let build = |output: &str, cache: &str| -> Result<String> {
        let mut command = Command::new("bazel");
        command.arg(format!("--output_user_root={}", workspace.path().join(output).display())).arg("--batch");
        command.args(["build", "//:made", "--color=no", "--curses=no"]).arg(format!("--remote_cache={cache}"));
        let output = run(command.current_dir(workspace.path())).context("bazel is Debian's package bazel-bootstrap")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{said}");
        ensure!(workspace.read("bazel-bin/b")? == b"WHAT IS MADE OF IT\n", "{said}");
        Ok(said)
    };
    let said = build("one", &http)?;
    ensure!(!said.contains("remote cache hit"), "{said}");
    for (output, cache) in [("two", &http), ("three", &grpc)] {
        let said = build(output, cache)?;
        ensure!(said.contains("1 remote cache hit"), "{cache}: {said}");
    }
    Ok(())
}
