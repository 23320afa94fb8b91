//! Whether objects are right: every unit of a project, or every Nth, compiled plainly and on a worker, in the same place.
//!
//! Unlike `projects` it needs no build of the project, so it goes where a build would take too long: git, abseil, Boost,
//! the kernel. Object, messages and exit code have to be the same.

use crate::corpora::{self, Corpus};
use crate::table::Table;
use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use pumphouse_tests::client::Client;
use pumphouse_tests::process::run as run_command;
use pumphouse_tests::program::program;
use pumphouse_tests::pumphouse::Pumphouse;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An entry of a compilation database, in one form or the other.
#[derive(Debug, Deserialize)]
struct Unit {
    directory: PathBuf,
    file: PathBuf,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    command: String,
}

/// What a compile left.
#[derive(PartialEq, Eq)]
struct Left {
    code: Option<i32>,
    messages: Vec<u8>,
    object: Option<Vec<u8>>,
}

/// Prints a row for each project: those that are named, or all that there are. `--every N` takes every Nth unit.
///
/// # Errors
/// After the table, when anything differs.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (every, names) = match arguments {
        [flag, number, names @ ..] if flag == "--every" => (number.parse::<usize>().context("--every")?.max(1), names),
        names => (1, names),
    };
    let mut table = Table::new(&["", "units", "identical", "remote", "ran here"]);
    let mut different = Vec::new();
    for Corpus { name, database } in corpora::prepare(names)? {
        let units: Vec<Unit> = serde_json::from_slice(&std::fs::read(&database)?).context("the database")?;
        let units: Vec<_> = units.iter().step_by(every).collect();
        let site = Pumphouse::up()?;
        let differ = compare(&units, &site.client)?;
        let stats = site.client.stats()?;
        table.row([
            name,
            units.len().to_string(),
            (units.len() - differ.len()).to_string(),
            stats.remote_runs.to_string(),
            stats.local_runs.iter().map(|(reason, count)| format!("{reason}: {count}")).collect::<Vec<_>>().join(", "),
        ]);
        different.extend(differ);
    }
    table.print();
    ensure!(different.is_empty(), "not the same: {}", different.join(" "));
    Ok(())
}

/// Compiles all units both ways, as many at a time as there are processors, and gives the sources of those that differ.
fn compare(units: &[&Unit], client: &Client) -> Result<Vec<String>> {
    let threads = std::thread::available_parallelism()?.get();
    let (next, different) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            let object = unit.object()?;
            let plain = left(&mut unit.compile(""), &object)?;
            let program = program()?;
            let mut command = unit.compile(&program.to_string_lossy());
            if left(client.equip(&mut command), &object)? != plain {
                different.lock().push(unit.file.display().to_string());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    Ok(different.into_inner())
}

impl Unit {
    fn words(&self) -> Vec<&str> {
        match &self.arguments[..] {
            [] => self.command.split_whitespace().collect(),
            arguments => arguments.iter().map(String::as_str).collect(),
        }
    }

    /// Where the object comes to lie.
    fn object(&self) -> Result<PathBuf> {
        let words = self.words();
        let Some(at) = words.iter().position(|word| *word == "-o").filter(|at| at + 1 < words.len()) else {
            bail!("{}: the command has no -o", self.file.display());
        };
        Ok(self.directory.join(words[at + 1]))
    }

    /// The compile with `launcher` before it, if there is one.
    fn compile(&self, launcher: &str) -> Command {
        let mut command = match &self.arguments[..] {
            [] => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("{launcher} {}", self.command));
                shell
            }
            [compiler, arguments @ ..] if launcher.is_empty() => {
                let mut plain = Command::new(compiler);
                plain.args(arguments);
                plain
            }
            arguments => {
                let mut command = Command::new(launcher);
                command.args(arguments);
                command
            }
        };
        command.current_dir(&self.directory);
        command
    }
}

/// Runs a compile and takes its object away.
fn left(command: &mut Command, object: &Path) -> Result<Left> {
    let _ = std::fs::remove_file(object);
    let output = run_command(command)?;
    Ok(Left { code: output.status.code(), messages: output.stderr, object: std::fs::read(object).ok() })
}
