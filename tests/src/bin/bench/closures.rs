//! What the closures of whole projects cost, and whether they are right: beside `clang-scan-deps`, on real code.
//!
//! `tests/corpora` prepares the projects. Each is scanned by one thread, cold and twice warm, everything counted, the
//! compilers that are asked included; every closure is compared with the compiler's own list. "Each" is a warm unit that is
//! asked for by itself, as a build does, so that all that it depends on is checked again. The same units go through
//! distcc's include server, which sends no system headers and looks at no file twice: Debian's ends at its first request,
//! so its analysis is called without the server around it, and without the compression.

use crate::corpora::{self, Corpus, Pass, Report};
use crate::table::Table;
use crate::usage::{milliseconds, ratio};
use anyhow::{Context, Result};
use pumphouse_tests::process::succeed;
use pumphouse_tests::program::repository;
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What distcc's include server did.
#[derive(Debug, Deserialize)]
struct Analysis {
    cpu_ms: f64,
    not_covered: usize,
}

/// Prints a row for each project: those that are named, or all that there are.
pub(crate) fn run(names: &[String]) -> Result<()> {
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
        "each",
        "clang-scan-deps",
        "ratio",
        "distcc's include server",
        "ratio",
    ]);
    for Corpus { name, database } in corpora::prepare(names)? {
        table.row(measure(name, &database)?);
    }
    println!(
        "processor time a unit, by one thread; clang-scan-deps -j1 minimises sources and ships nothing;\ndistcc's include server ships no system headers, here without compressing what it ships"
    );
    table.print();
    Ok(())
}

fn measure(name: String, database: &Path) -> Result<[String; 14]> {
    // The kernel has read everything before, for us as for the others, who come later.
    corpora::read(database)?;
    let report = corpora::scan(database, &["--repeat", "3", "--verify"])?;
    let separate = corpora::scan(database, &["--repeat", "3", "--separately"])?;
    let units = u32::try_from(report.translation_units)?;
    let peer = corpora::clang_scan_deps(database)? / units.max(1);
    let mut include_server = Command::new("python3");
    include_server.arg(repository().join("tests/src/bin/bench/distcc_include_server.py")).arg(database);
    let analysis: Analysis =
        serde_json::from_str(&succeed(&mut include_server)?).context("the include server's cost")?;
    let include_server = Duration::from_secs_f64(analysis.cpu_ms / 1e3) / units.max(1);
    let pass = |report: &Report, at: usize| report.passes.get(at).map(Pass::cpu).unwrap_or_default() / units.max(1);
    let cold = pass(&report, 0);
    let verification = &report.verification;
    Ok([
        name,
        units.to_string(),
        (report.refused.len() + verification.failed.len()).to_string(),
        format!("{}/{}", verification.equal_units, verification.units),
        verification.misses.len().to_string(),
        format!("{:.4}x", verification.closure_files as f64 / verification.listed_files.max(1) as f64),
        format!("{:.0}", report.files_per_unit.mean),
        milliseconds(cold),
        milliseconds(pass(&report, 2)),
        milliseconds(pass(&separate, 2)),
        milliseconds(peer),
        ratio(cold, peer),
        match analysis.not_covered {
            0 => milliseconds(include_server),
            count => format!("{} ({count} not covered)", milliseconds(include_server)),
        },
        ratio(cold, include_server),
    ])
}
