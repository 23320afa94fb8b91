//! What the closures of whole projects cost, and whether they are right: beside `clang-scan-deps`, on real code.
//!
//! `tests/corpora` prepares the projects. Each is scanned by one thread, cold and twice warm, everything counted, the
//! compilers that are asked included; every closure is compared with the compiler's own list. The same units go through
//! distcc's include server, which sends no system headers and looks at no file twice: Debian's ends at its first request,
//! so its analysis is called without the server around it, and without the compression.

use crate::table::Table;
use crate::usage::{children, milliseconds, ratio};
use anyhow::{Context, Result};
use pumphouse_tests::process::{run as run_command, succeed};
use pumphouse_tests::program::{program, repository};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The part of the program's report that is shown.
#[derive(Debug, Deserialize)]
struct Report {
    translation_units: usize,
    refused: Vec<serde_json::Value>,
    files_per_unit: Spread,
    passes: Vec<Pass>,
    verification: Verification,
}

#[derive(Debug, Deserialize)]
struct Spread {
    mean: f64,
}

#[derive(Debug, Deserialize)]
struct Pass {
    cpu_ms_per_unit: f64,
}

#[derive(Debug, Deserialize)]
struct Verification {
    units: usize,
    equal_units: usize,
    listed_files: usize,
    closure_files: usize,
    misses: BTreeMap<String, Vec<String>>,
    failed: BTreeMap<String, String>,
}

/// What distcc's include server did.
#[derive(Debug, Deserialize)]
struct Analysis {
    cpu_ms: f64,
    not_covered: usize,
}

/// Prints a row for each project: those that are named, or all that there are.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let corpora = program()?.parent().context("the program has a directory")?.with_file_name("corpora");
    succeed(Command::new(repository().join("tests/corpora")).arg(&corpora).args(names))?;
    let mut projects: Vec<_> = std::fs::read_dir(&corpora)?.collect::<Result<_, _>>()?;
    projects.sort_by_key(std::fs::DirEntry::file_name);
    let mut table = Table::new(&[
        "",
        "units",
        "refused",
        "equal",
        "misses",
        "surplus",
        "files",
        "cold",
        "warm",
        "clang-scan-deps",
        "ratio",
        "distcc's include server",
        "ratio",
    ]);
    for project in projects {
        let name = project.file_name().to_string_lossy().into_owned();
        let database = project.path().join("compile_commands.json");
        if database.exists() && (names.is_empty() || names.contains(&name)) {
            table.row(measure(name, &database)?);
        }
    }
    println!(
        "processor time a unit, by one thread; clang-scan-deps -j1 minimises sources and ships nothing;\ndistcc's include server ships no system headers, here without compressing what it ships"
    );
    table.print();
    Ok(())
}

fn measure(name: String, database: &Path) -> Result<[String; 13]> {
    let mut scan = Command::new(program()?);
    scan.args(["scan", "--repeat", "3", "--verify", "--json", "--compile-commands"]).arg(database);
    // It exits with 1 where a closure lacks a file; the row tells.
    let report: Report = serde_json::from_slice(&run_command(&mut scan)?.stdout).context("the report")?;
    let before = children()?;
    let mut peer = Command::new("clang-scan-deps-14");
    peer.args(["-j", "1", "-mode=preprocess-minimized-sources", "-compilation-database"]).arg(database);
    // It exits with 1 when it can't read one of the units as gcc does.
    run_command(&mut peer)?;
    let units = u32::try_from(report.translation_units)?;
    let peer = children()?.saturating_sub(before) / units.max(1);
    let mut include_server = Command::new("python3");
    include_server.arg(repository().join("tests/src/bin/bench/distcc_include_server.py")).arg(database);
    let analysis: Analysis =
        serde_json::from_str(&succeed(&mut include_server)?).context("the include server's cost")?;
    let include_server = Duration::from_secs_f64(analysis.cpu_ms / 1e3) / units.max(1);
    let pass = |at: usize| {
        let milliseconds = report.passes.get(at).map_or(0.0, |pass| pass.cpu_ms_per_unit);
        Duration::from_secs_f64(milliseconds / 1e3)
    };
    let verification = &report.verification;
    Ok([
        name,
        units.to_string(),
        (report.refused.len() + verification.failed.len()).to_string(),
        format!("{}/{}", verification.equal_units, verification.units),
        verification.misses.len().to_string(),
        format!("{:.4}x", verification.closure_files as f64 / verification.listed_files.max(1) as f64),
        format!("{:.0}", report.files_per_unit.mean),
        milliseconds(pass(0)),
        milliseconds(pass(2)),
        milliseconds(peer),
        ratio(pass(0), peer),
        match analysis.not_covered {
            0 => milliseconds(include_server),
            count => format!("{} ({count} not covered)", milliseconds(include_server)),
        },
        ratio(pass(0), include_server),
    ])
}
