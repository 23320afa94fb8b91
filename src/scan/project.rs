//! `pumphouse scan --compile-commands`: every unit of a project through the scanner, measured, and compared with the
//! compiler's own lists where that is asked for.
//!
//! One pass scans each unit once. The first pass starts with what was remembered on disk at most; later ones are warm, and
//! revalidate everything. What verification costs is not part of any pass.

mod compile_commands;
mod cost;
mod report;
mod verify;

pub use report::Report;

use crate::command;
use crate::fallback::Fallback;
use crate::scan::Scanner;
use crate::scan::closure::Closure;
use anyhow::{Context, Result, ensure};
use compile_commands::Entry;
use cost::Stopwatch;
use parking_lot::Mutex;
use report::{Pass, Unit};
use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What is to be done with a project.
#[derive(Debug, Clone)]
pub struct ProjectOptions {
    /// The `compile_commands.json`.
    pub compile_commands: PathBuf,
    /// How many units are scanned at the same time.
    pub jobs: NonZeroUsize,
    /// How many passes are made.
    pub repeat: NonZeroUsize,
    /// A command for the shell to be run before each pass, with the pass's number in [`PASS_VARIABLE`].
    pub prepare: Option<OsString>,
    /// Whether each unit is asked for by itself, as the compiles of a build are; otherwise a pass asks for all at once, and
    /// what was checked for one unit is not checked again for the next.
    pub separately: bool,
    /// Whether each closure is compared with what the compiler lists.
    pub verify: bool,
}

/// The variable that tells a pass's preparation the pass's number, from 1.
pub const PASS_VARIABLE: &str = "PUMPHOUSE_PASS";

/// A unit's last answer.
type Answer = Result<Arc<Closure>, Fallback>;

/// Scans all units of a project as often as the options say.
///
/// Units are parsed and scanned on `jobs` threads. Runs the compiler once for each unit if `verify` is set, and as often as
/// `scanner` does.
///
/// # Errors
/// Where the list of commands can't be read or is malformed, or a preparation fails.
pub fn scan_project(options: &ProjectOptions, scanner: &Scanner) -> Result<Report> {
    let entries = compile_commands::read(&options.compile_commands)?;
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let answer = |entry: &Entry, asked: Instant| -> Answer {
        let command = command::parse(&entry.arguments, &entry.directory, &environment)?;
        scanner.scan_since(&command, asked)
    };
    let mut passes = Vec::new();
    let mut answers = Vec::new();
    for number in 1..=options.repeat.get() {
        if let Some(command) = &options.prepare {
            prepare(command, number)?;
        }
        let before = scanner.work();
        let stopwatch = Stopwatch::start();
        let together = Instant::now();
        let asked = || if options.separately { Instant::now() } else { together };
        answers = in_parallel(&entries, options.jobs, &|entry| answer(entry, asked()));
        passes.push(Pass::new(&stopwatch.stop(), scanner.work() - before, entries.len()));
    }
    let verification = options.verify.then(|| verify(&entries, &answers, &environment, options.jobs));
    let units: Vec<Unit<'_>> = entries
        .iter()
        .zip(&answers)
        .map(|(entry, answer)| Unit { source: entry.source(), answer: answer.as_ref() })
        .collect();
    Ok(Report::new(&units, passes, verification))
}

/// Runs the preparation of the pass `number`, with standard error for all that it writes.
fn prepare(command: &OsStr, number: usize) -> Result<()> {
    let status = process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .env(PASS_VARIABLE, number.to_string())
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .context("sh")?;
    ensure!(status.success(), "the preparation of pass {number} failed: {status}");
    Ok(())
}

/// Compares every closure with the compiler's list.
fn verify(
    entries: &[Entry],
    answers: &[Answer],
    environment: &[(OsString, OsString)],
    jobs: NonZeroUsize,
) -> report::Verification {
    let stopwatch = Stopwatch::start();
    let both: Vec<_> = entries.iter().zip(answers).collect();
    let compared = in_parallel(&both, jobs, &|(entry, answer)| {
        let closure = answer.as_ref().ok()?;
        let command = command::parse(&entry.arguments, &entry.directory, environment).ok()?;
        Some((entry.source(), verify::compare(&command, closure)))
    });
    report::Verification::new(compared.into_iter().flatten().collect(), &stopwatch.stop())
}

/// Does `work` for each item on `jobs` threads, and gives the results in the items' order.
fn in_parallel<T: Sync, R: Send>(items: &[T], jobs: NonZeroUsize, work: &(dyn Fn(&T) -> R + Sync)) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.get().min(items.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    results.lock().push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

impl Entry {
    /// The source's path, absolute.
    fn source(&self) -> PathBuf {
        self.directory.join(&self.file)
    }
}

/// How a path is shown in a report.
fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
