//! `bgd`, the client of `BuildGrid`: files and directories to and from the CAS, commands, and lists of operations.

use anyhow::{Context as _, Result, ensure};
use pumphouse_tests::process::run;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::process::Command;

/// Runs `bgd GROUP --remote=SERVER ARGUMENTS…`, which has to succeed, and gives what it printed.
fn bgd(site: &Pumphouse, workspace: &Workspace, group: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("bgd");
    command.args([group, "--remote", &format!("http://{}", site.address())]).args(arguments);
    let output = run(command.current_dir(workspace.path()));
    let output = output.context("bgd is installed by tests/tools; tests/run has it on PATH")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{said}\n{}", output.status, site.server.log());
    Ok(said)
}

/// The digest that is told of `path`.
fn digest<'a>(said: &'a str, path: &str) -> Result<&'a str> {
    let told = said.split_once(&format!("path=[{path}] with digest=[")).and_then(|(_, rest)| rest.split_once(']'));
    Ok(told.with_context(|| format!("no digest of {path} in {said}"))?.0)
}

#[test]
fn bgd_stores_directories_and_gets_them_back() -> Result<()> {
    let site = Pumphouse::server()?;
    let workspace = Workspace::new(&[("in/a", "hello\n"), ("in/sub/b", "world\n")])?;
    let said = bgd(&site, &workspace, "cas", &["upload-dir", "--verify", "in"])?;
    bgd(&site, &workspace, "cas", &["download-dir", "--verify", digest(&said, "in")?, "out"])?;
    bgd(&site, &workspace, "cas", &["download-file", "--verify", digest(&said, "in/a")?, "file"])?;
    for (path, expect) in [("out/a", "hello\n"), ("out/sub/b", "world\n"), ("file", "hello\n")] {
        ensure!(workspace.read(path)? == expect.as_bytes(), "{path}");
    }
    Ok(())
}

#[test]
fn bgd_has_commands_run_and_lists_how_they_ended() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(&[("in/a", "hello\n"), ("in/sub/b", "world\n")])?;
    let command = ["command", "--output-file", "out", "--output-directory", "result", "in", "--", "/bin/sh", "-c"];
    bgd(&site, &workspace, "execute", &[&command[..], &["cat a sub/b > out; exit 3"]].concat())?;
    ensure!(workspace.read("result/out")? == b"hello\nworld\n");
    let said = bgd(&site, &workspace, "operation", &["list"])?;
    ensure!(said.contains("Completed with failure (stage=4, exit_code=3)"), "{said}");
    Ok(())
}
