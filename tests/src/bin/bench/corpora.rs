//! Whole projects, as `tests/corpora` prepares them, and what a scan of one says.

use crate::usage::children;
use anyhow::{Context, Result};
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::program::{program, repository};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A prepared project.
#[derive(Debug)]
pub(crate) struct Corpus {
    pub(crate) name: String,
    /// Its `compile_commands.json`.
    pub(crate) database: PathBuf,
}

/// The part of the program's report that is shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) translation_units: usize,
    pub(crate) refused: Vec<serde_json::Value>,
    pub(crate) files_per_unit: Spread,
    pub(crate) passes: Vec<Pass>,
    /// Empty where it was not asked for.
    #[serde(default)]
    pub(crate) verification: Verification,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pass {
    cpu_ms: f64,
    pub(crate) replayed_units: u64,
    pub(crate) replayed_files: u64,
    pub(crate) lexed_files: u64,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Verification {
    pub(crate) units: usize,
    pub(crate) equal_units: usize,
    pub(crate) listed_files: usize,
    pub(crate) closure_files: usize,
    pub(crate) misses: BTreeMap<String, Vec<String>>,
    pub(crate) failed: BTreeMap<String, String>,
}

impl Pass {
    /// Processor time of the whole pass.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_secs_f64(self.cpu_ms / 1e3)
    }
}

/// Prepares the projects that are named, or all that there are, and gives them in the order of their names.
pub(crate) fn prepare(names: &[String]) -> Result<Vec<Corpus>> {
    let corpora = program()?.parent().context("the program has a directory")?.with_file_name("corpora");
    succeed(Command::new(repository().join("tests/corpora")).arg(&corpora).args(names))?;
    let mut prepared = Vec::new();
    for project in std::fs::read_dir(&corpora)? {
        let project = project?;
        let name = project.file_name().to_string_lossy().into_owned();
        let database = project.path().join("compile_commands.json");
        if database.exists() && (names.is_empty() || names.contains(&name)) {
            prepared.push(Corpus { name, database });
        }
    }
    prepared.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(prepared)
}

/// Has the kernel read all files of `database`.
pub(crate) fn read(database: &Path) -> Result<()> {
    run(Command::new(program()?).args(["scan", "--compile-commands"]).arg(database)).map(drop)
}

/// Scans all units of `database` on one thread.
pub(crate) fn scan(database: &Path, arguments: &[&str]) -> Result<Report> {
    let mut scan = Command::new(program()?);
    scan.args(["scan", "--json", "--compile-commands"]).arg(database).args(arguments);
    // It exits with 1 where a closure lacks a file; the report tells.
    serde_json::from_slice(&run(&mut scan)?.stdout).context("the report")
}

/// Processor time that `clang-scan-deps` needs for all units of `database`.
pub(crate) fn clang_scan_deps(database: &Path) -> Result<Duration> {
    let before = children()?;
    let mut command = Command::new("clang-scan-deps-14");
    command.args(["-j", "1", "-mode=preprocess-minimized-sources", "-compilation-database"]).arg(database);
    // It exits with 1 when it can't read one of the units as gcc does.
    run(&mut command)?;
    Ok(children()?.saturating_sub(before))
}
