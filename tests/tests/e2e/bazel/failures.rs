//! Actions that end badly: they fail, take too long, or are given up.

use anyhow::{Context as _, Result, ensure};
use pumphouse_tests::bazel::{Bazel, Version};
use pumphouse_tests::processes::{Process, descends, until, until_ended};
use pumphouse_tests::pumphouse::Pumphouse;
use rustix::process::Signal;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

/// Bazel's exit codes.
const BUILD_FAILED: i32 = 1;
const TESTS_FAILED: i32 = 3;
const INTERRUPTED: i32 = 8;

#[test]
fn a_failure_is_told_in_the_actions_own_words_and_never_remembered() -> Result<()> {
    let build = "genrule(name = \"bad\", outs = [\"b\"], cmd = \"echo told >&2; echo also; exit 7\")\n";
    for version in Version::ALL {
        let site = Pumphouse::up()?;
        let bazel = Bazel::remote(version, &[("BUILD", build)], &site.remote())?;
        for attempt in ["first", "second"] {
            let failed = bazel.run(&["build", "//:bad"])?;
            ensure!(failed.code == BUILD_FAILED, "{version:?} {attempt}: {failed}");
            for words in ["told\n", "also\n", "Exit 7"] {
                ensure!(failed.said.contains(words), "{version:?} {attempt}: no {words:?} in {failed}");
            }
            ensure!(!failed.said.contains("cache hit"), "{version:?} {attempt}: {failed}");
        }
        // What is mended is built.
        bazel.workspace.write("main/BUILD", &build.replace("exit 7", "echo good > $@"))?;
        let mended = bazel.succeed(&["build", "//:bad"])?;
        ensure!(bazel.output("b").as_deref() == Some(b"good\n"), "{version:?}: {mended}");
    }
    Ok(())
}

#[test]
fn a_test_that_takes_too_long_ends_as_one_with_what_it_said() -> Result<()> {
    let sources = [
        ("BUILD", "sh_test(name = \"slow\", srcs = [\"slow.sh\"])\n"),
        ("slow.sh", "#!/bin/sh\necho begun\nsleep 987654\n"),
    ];
    let site = Pumphouse::up()?;
    let bazel = Bazel::remote(Version::Debian, &sources, &site.remote())?;
    std::fs::set_permissions(bazel.workspace.path().join("main/slow.sh"), Permissions::from_mode(0o755))?;
    let ended = bazel.run(&["test", "//:slow", "--test_timeout=1", "--test_output=all"])?;
    ensure!(ended.code == TESTS_FAILED, "{ended}\n{}", site.server.log());
    ensure!(ended.said.contains("TIMEOUT") && ended.said.contains("begun\n"), "{ended}");
    Ok(())
}

#[test]
fn an_interrupted_builds_action_is_ended() -> Result<()> {
    const SLEEP: &str = "sleep 765432";
    let build = format!("genrule(name = \"long\", outs = [\"b\"], cmd = \"{SLEEP}\")\n");
    let root = tempfile::tempdir()?;
    // Nobody comes back for it, so there is nothing to wait for.
    let configuration = root.path().join("pumphouse.toml");
    std::fs::write(&configuration, "[execution]\nclient-grace = 0\n")?;
    let site = Pumphouse::start("up", &["--slots", "2", "--config", &configuration.display().to_string()])?;
    let bazel = Bazel::remote(Version::Debian, &[("BUILD", &build)], &site.remote())?;
    let mut running = bazel.start(&["build", "//:long"])?;
    let server = site.server.id();
    let is_action =
        |process: &Process, all: &[Process]| process.command_line.trim() == SLEEP && descends(process, server, all);
    let action = until(is_action).with_context(|| running.log())?;
    running.signal(Signal::INT)?;
    until_ended(action.id).with_context(|| site.server.log())?;
    let status = running.wait()?;
    ensure!(status.code() == Some(INTERRUPTED), "{status}\n{}", running.log());
    Ok(())
}
