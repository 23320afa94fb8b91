//! What finding a compile's inputs costs, cold and warm, beside `gcc -M` and `clang-scan-deps`.
//!
//! Cold: a daemon that has never seen the project, one compile at a time; every result is a hit of the server's cache,
//! so that no compiler disturbs. Warm: the same again. The figures are the daemon's own stages and its processor time,
//! which holds everything else that it does as well.

use crate::table::Table;
use crate::usage::{children, milliseconds, process, ratio};
use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::{Client, Stats};
use pumphouse_tests::process::{run as run_command, succeed};
use pumphouse_tests::program::program;
use pumphouse_tests::project::{GOOGLETEST, Project, REDIS, ZSTD};
use pumphouse_tests::pumphouse::Pumphouse;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// One entry of a compilation database.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub(crate) struct Unit {
    pub(crate) directory: PathBuf,
    pub(crate) arguments: Vec<String>,
    file: PathBuf,
}

/// Prints a table for each project.
pub(crate) fn run() -> Result<()> {
    for project in [ZSTD, REDIS, GOOGLETEST] {
        measure(&project)?;
    }
    Ok(())
}

fn measure(project: &Project) -> Result<()> {
    let site = Pumphouse::up()?;
    let directory = site.root().join(project.name);
    let units = units(project, &directory)?;
    let database = site.root().join("compile_commands.json");
    std::fs::write(&database, serde_json::to_vec(&units)?)?;
    let count = units.len() as u32;

    // One developer compiles, so that for the next one everything is in the server's cache.
    compile(&site.client, &units)?;
    let client = site.another_client("cold")?;
    // Not of the project: the compiler is known before.
    let toolchain = [
        Unit { directory: directory.clone(), arguments: words("gcc -c warm.c"), file: PathBuf::new() },
        Unit { directory: directory.clone(), arguments: words("g++ -c warm.cc"), file: PathBuf::new() },
    ];
    for name in ["warm.c", "warm.cc"] {
        std::fs::write(directory.join(name), "int warm;\n")?;
    }
    compile(&client, &toolchain)?;
    let daemon = client.daemon()?.context("the daemon does not run")?;

    let mut table = Table::new(&["", "wall a unit", "cpu a unit", "ratio"]);
    let mut rows = Vec::new();
    for name in ["pumphouse, cold", "pumphouse, warm"] {
        client.zero()?;
        let before = process(daemon)?;
        let stats = compile(&client, &units)?;
        let cpu = process(daemon)?.saturating_sub(before);
        ensure!(stats.hits() == u64::from(count), "not all were hits: {stats:?}");
        rows.push((name, stage(&stats, "scan")? / count, cpu / count));
    }
    let gcc = timed(|| units.iter().try_for_each(|unit| succeed(&mut dependencies(unit)).map(drop)))?;
    rows.push(("gcc -M", gcc.0 / count, gcc.1 / count));
    let scan_deps = timed(|| {
        let mut command = Command::new("clang-scan-deps-14");
        command.args(["-j", "1", "-mode=preprocess-minimized-sources", "-compilation-database"]).arg(&database);
        // It exits with 1 when it can't read one of the units as gcc does.
        run_command(&mut command).map(drop)
    })?;
    rows.push(("clang-scan-deps -j1", scan_deps.0 / count, scan_deps.1 / count));
    println!("{}: {count} units; pumphouse: the scan's wall time, the whole daemon's processor time", project.name);
    let own = rows[0].2;
    for (name, wall, cpu) in rows {
        table.row([name.to_owned(), milliseconds(wall), milliseconds(cpu), ratio(own, cpu)]);
    }
    table.print();
    Ok(())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The project's compiles, as its own build runs them: a build through a recording compiler.
pub(crate) fn units(project: &Project, directory: &Path) -> Result<Vec<Unit>> {
    let log = directory.with_extension("units");
    let recorded = project.record(directory, &log)?;
    let mut units = Vec::new();
    for (directory, arguments) in recorded {
        let source = arguments.iter().find(|word| {
            Path::new(word).extension().is_some_and(|suffix| suffix == "c" || suffix == "cc" || suffix == "cpp")
        });
        if let (Some(source), true) = (source, arguments.iter().any(|word| word == "-c")) {
            let file = directory.join(source);
            // What a make file only tried is gone.
            if file.is_file() {
                units.push(Unit { directory, arguments: arguments.clone(), file });
            }
        }
    }
    ensure!(!units.is_empty(), "{} has no compiles", project.name);
    Ok(units)
}

/// Compiles each unit once, one at a time, and gives the counts.
fn compile(client: &Client, units: &[Unit]) -> Result<Stats> {
    for unit in units {
        let mut command = Command::new(program()?);
        client.equip(command.args(&unit.arguments).current_dir(&unit.directory));
        succeed(&mut command)?;
    }
    client.stats()
}

/// The compiler's own answer to the same question.
fn dependencies(unit: &Unit) -> Command {
    let mut command = Command::new(&unit.arguments[0]);
    let mut skip = false;
    command.args(unit.arguments[1..].iter().filter(|word| {
        let drop = std::mem::take(&mut skip);
        skip = matches!(word.as_str(), "-o" | "-MF" | "-MT" | "-MQ");
        !drop && !skip && !matches!(word.as_str(), "-c" | "-MD" | "-MMD" | "-MP")
    }));
    command.arg("-M").current_dir(&unit.directory);
    command
}

fn stage(stats: &Stats, name: &str) -> Result<Duration> {
    let milliseconds = stats.stage_ms.get(name).with_context(|| format!("no stage {name}: {stats:?}"))?;
    Ok(Duration::from_secs_f64(milliseconds / 1000.0))
}

/// Wall and processor time of what `work` runs.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<(Duration, Duration)> {
    let (start, before) = (Instant::now(), children()?);
    work()?;
    Ok((start.elapsed(), children()?.saturating_sub(before)))
}
