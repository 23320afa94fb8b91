//! moon, whose tasks find each other's outputs by either face of the cache: a second clone runs nothing.

use anyhow::{Context as _, Result, ensure};
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::path::Path;
use std::process::Command;

const TASK: &str = "language: bash
tasks:
  made:
    script: 'tr a-z A-Z < input > output; echo it says so'
    inputs: ['input']
    outputs: ['output']
";

fn git(directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments).current_dir(directory);
    succeed(&mut command).map(drop)
}

/// Runs the task in a clone; what moon has of its own stands in `home`.
fn made(clone: &Path, home: &Path) -> Result<String> {
    let mut command = Command::new("moon");
    command.args(["run", "app:made", "--color"]).env("HOME", home).env("NO_COLOR", "1").current_dir(clone);
    let output = run(&mut command).context("moon is installed by tests/tools; tests/run has it on PATH")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{said}", output.status);
    ensure!(std::fs::read(clone.join("app/output"))? == b"WHAT IS MADE OF IT\n", "{said}");
    Ok(said)
}

#[test]
fn a_second_clone_finds_what_the_first_one_made() -> Result<()> {
    let site = Pumphouse::server()?;
    let home = tempfile::tempdir()?;
    for (api, host) in [("grpc", site.remote()), ("http", format!("http://{}", site.address()))] {
        let settings = format!("projects: ['app']\ntelemetry: false\nremote:\n  api: {api}\n  host: '{host}'\n");
        let first = Workspace::new(&[
            (".moon/workspace.yml", &settings),
            ("app/moon.yml", TASK),
            ("app/input", "what is made of it\n"),
        ])?;
        for arguments in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message=all"]] {
            git(first.path(), arguments)?;
        }
        let clones = tempfile::tempdir()?;
        let second = clones.path().join("second");
        git(first.path(), &["clone", "--quiet", ".", &second.display().to_string()])?;
        let said = made(first.path(), home.path())?;
        ensure!(!said.contains("cached"), "{api}: {said}");
        let said = made(&second, home.path())?;
        ensure!(said.contains("cached from remote") && said.contains("it says so"), "{api}: {said}");
    }
    Ok(())
}
