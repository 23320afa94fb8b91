//! The public conformance suite against our own server, all of it.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::process::run;
use pumphouse_tests::pumphouse::Pumphouse;
use std::process::Command;

/// How many cases there are at least: none may get lost.
const CASES: usize = 360;

#[test]
fn every_case_of_the_conformance_suite_is_right() -> Result<()> {
    let site = Pumphouse::up()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let output = run(command.args(["--json", "--execute", "--http"]).arg(site.remote()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let read = |line| serde_json::from_str::<serde_json::Value>(line).with_context(|| format!("{line:?}"));
    let lines: Vec<_> = said.lines().map(read).collect::<Result<_>>()?;
    let others: Vec<_> = lines.iter().filter(|line| line["case"].is_string() && line["outcome"] != "right").collect();
    ensure!(others.is_empty() && output.status.success(), "{others:#?}\n{}", site.server.log());
    let right = lines.last().map(|sum| sum["right"].clone()).unwrap_or_default();
    ensure!(right.as_u64() >= Some(CASES as u64), "{right} cases are right");
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_no_failure_of_a_case() -> Result<()> {
    let output = run(Command::new(env!("CARGO_BIN_EXE_conformance")).arg("grpc://127.0.0.1:1"))?;
    ensure!(output.status.code() == Some(2), "{:?}", output.status);
    Ok(())
}
