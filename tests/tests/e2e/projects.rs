//! Real projects: every object identical to a local build's, nearly all from a worker, and nothing compiled twice.
//!
//! `tests/bench/projects` does the same with all five projects, and prints the times.

use anyhow::{Result, ensure};
use pumphouse_tests::project::{GOOGLETEST, LUA, Project, Trial, ZSTD};
use pumphouse_tests::pumphouse::Pumphouse;

fn check(project: &Project) -> Result<()> {
    let site = Pumphouse::up()?;
    let trial = project.trial(&site.root().join(project.name), &site.client)?;
    judge(&trial)
}

fn judge(trial: &Trial) -> Result<()> {
    ensure!(trial.first.is_identical(), "first build: {:?}\n{:?}", trial.first, trial.first_stats);
    ensure!(trial.second.is_identical(), "second build: {:?}\n{:?}", trial.second, trial.second_stats);
    ensure!(trial.remote_share() >= 0.95, "only {:.3} remote: {:?}", trial.remote_share(), trial.first_stats);
    ensure!(trial.is_all_hits(), "the second build compiled: {:?}", trial.second_stats);
    Ok(())
}

#[test]
fn lua_with_make() -> Result<()> {
    check(&LUA)
}

#[test]
fn zstd_with_make() -> Result<()> {
    check(&ZSTD)
}

#[test]
fn googletest_with_cmake_and_ninja() -> Result<()> {
    check(&GOOGLETEST)
}
