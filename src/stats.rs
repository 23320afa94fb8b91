//! What happened to the compiles: outcomes, bytes and the time of each stage.
//!
//! The daemon counts in memory and adds what it counted to a file, under a lock, so that the figures outlive daemons and
//! add up over several. The sum rule: `compiles` = `local_hits` + `remote_hits` + `remote_runs` + `plain_runs` + the sum of
//! `local_runs`. `failed` counts, among all of them, the compiles that did not end with exit code 0.

mod problems;
mod table;

pub(crate) use problems::Problems;
pub(crate) use problems::Recorder;
pub(crate) use table::render;

use crate::fallback::Reason;
use crate::ipc::socket::Directories;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The file of the statistics in the state directory.
const FILE: &str = "stats.json";

/// The file whose lock is held while [`FILE`] is replaced.
const LOCK: &str = "stats.lock";

/// How long another process's writing is waited for.
const LOCK_LIMIT: Duration = Duration::from_millis(100);

/// The counters, as `pumphouse stats --json` prints them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Compiles that reached the daemon.
    pub compiles: u64,
    /// Answered from the local cache.
    pub local_hits: u64,
    /// Answered from the server's action cache.
    pub remote_hits: u64,
    /// Run by a worker.
    pub remote_runs: u64,
    /// Preprocessed here and compiled by a worker.
    pub plain_runs: u64,
    /// Run here, by reason.
    pub local_runs: BTreeMap<String, u64>,
    /// Compiles of all outcomes that did not end with exit code 0.
    pub failed: u64,
    /// Bytes of blobs sent to the server.
    pub bytes_uploaded: u64,
    /// Bytes of blobs received from the server.
    pub bytes_downloaded: u64,
    /// Milliseconds spent in each stage, summed over compiles; many compiles run at a time.
    pub stage_ms: BTreeMap<String, f64>,
    /// Remote compiles that failed where the local one succeeded.
    pub discrepancies: u64,
    /// Entries of the local cache that were corrupt, and were removed.
    pub corrupt_entries: u64,
    /// Hits that were compiled again, with a verdict.
    pub audits: u64,
    /// Second compiles that showed nothing: an input changed, or the compiler differs from itself.
    pub audits_open: u64,
    /// Hits that a second compile showed to be wrong.
    pub audit_differences: u64,
    /// Launchers that ran without the daemon, by reason: in none of the figures above, and not in the file.
    pub without_daemon: BTreeMap<String, u64>,
    /// What went wrong lately.
    pub problems: Problems,
}

/// How a compile was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// From the local cache.
    LocalHit,
    /// From the server's action cache.
    RemoteHit,
    /// Run by a worker.
    RemoteRun,
    /// Here.
    LocalRun(Reason),
}

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A stage of a compile's journey.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Stage { $($(#[$doc])* $name,)* }

        impl Stage {
            const NAMES: &[&str] = &[$($text,)*];
        }
    };
}

stages! {
    /// Understanding the command line.
    Parse = "parse",
    /// Identifying the compiler.
    Toolchain = "toolchain",
    /// Finding what the compile reads.
    Scan = "scan",
    /// Building the Merkle tree and the action.
    InputRoot = "input_root",
    /// Looking into the local cache, and storing into it.
    LocalCache = "local_cache",
    /// Waiting for the result of an equal compile.
    Follow = "follow",
    /// Asking the server's action cache.
    ActionCache = "action_cache",
    /// Asking which inputs are missing, and sending them.
    Upload = "upload",
    /// Waiting for a worker.
    Execute = "execute",
    /// Receiving the outputs.
    Download = "download",
    /// Writing the outputs.
    Outputs = "outputs",
    /// Waiting for a place to compile locally, and compiling.
    LocalRun = "local_run",
}

/// The time that one compile spent in each stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageTimes([Duration; Stage::NAMES.len()]);

impl StageTimes {
    /// Runs `work` and adds its time to `stage`.
    pub(crate) fn time<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(stage, start.elapsed());
        result
    }

    /// Awaits `work` and adds its time to `stage`; nothing is added where it is dropped before its end.
    pub(crate) async fn time_async<T>(&mut self, stage: Stage, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.add(stage, start.elapsed());
        result
    }

    /// Adds the times of `other`.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (sum, time) in self.0.iter_mut().zip(other.0) {
            *sum += time;
        }
    }

    /// Adds `time` to `stage`.
    pub(crate) fn add(&mut self, stage: Stage, time: Duration) {
        self.0[stage as usize] += time;
    }
}

impl Counters {
    /// Adds what `other` counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.compiles += other.compiles;
        self.local_hits += other.local_hits;
        self.remote_hits += other.remote_hits;
        self.remote_runs += other.remote_runs;
        self.plain_runs += other.plain_runs;
        self.failed += other.failed;
        self.bytes_uploaded += other.bytes_uploaded;
        self.bytes_downloaded += other.bytes_downloaded;
        self.discrepancies += other.discrepancies;
        self.corrupt_entries += other.corrupt_entries;
        self.audits += other.audits;
        self.audits_open += other.audits_open;
        self.audit_differences += other.audit_differences;
        self.problems.add_all(&other.problems);
        for (reason, count) in &other.local_runs {
            *self.local_runs.entry(reason.clone()).or_default() += count;
        }
        for (stage, milliseconds) in &other.stage_ms {
            *self.stage_ms.entry(stage.clone()).or_default() += milliseconds;
        }
    }

    /// The counters as JSON, times to the microsecond.
    ///
    /// # Panics
    /// Never: the counters are plain data.
    pub(crate) fn to_json(&self) -> String {
        let mut rounded = self.clone();
        for milliseconds in rounded.stage_ms.values_mut() {
            *milliseconds = (*milliseconds * 1000.0).round() / 1000.0;
        }
        serde_json::to_string_pretty(&rounded).expect("plain data has a JSON form")
    }

    fn record(&mut self, outcome: Outcome, succeeded: Success, times: &StageTimes) {
        self.compiles += 1;
        match outcome {
            Outcome::LocalHit => self.local_hits += 1,
            Outcome::RemoteHit => self.remote_hits += 1,
            Outcome::RemoteRun => self.remote_runs += 1,
            Outcome::LocalRun(reason) => *self.local_runs.entry(reason.name().to_owned()).or_default() += 1,
        }
        self.failed += u64::from(succeeded == Success::No);
        for (name, time) in Stage::NAMES.iter().zip(times.0) {
            if time.is_zero() {
                continue;
            }
            match self.stage_ms.get_mut(*name) {
                Some(milliseconds) => *milliseconds += time.as_secs_f64() * 1000.0,
                None => drop(self.stage_ms.insert((*name).to_owned(), time.as_secs_f64() * 1000.0)),
            }
        }
    }
}

/// Whether a compile ended with exit code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Success {
    /// It did.
    Yes,
    /// It did not.
    No,
}

/// The daemon's counters. Recording takes a short lock and does no I/O.
#[derive(Debug)]
pub(crate) struct Statistics {
    directory: PathBuf,
    unwritten: Mutex<Counters>,
    /// Apart, so that what is logged while the counters change can be counted.
    problems: Mutex<Problems>,
}

impl Statistics {
    /// Counters that are kept in `directories`.
    pub(crate) fn new(directories: &Directories) -> Self {
        Self { directory: directories.state.clone(), unwritten: Mutex::default(), problems: Mutex::default() }
    }

    /// Counts a compile.
    pub(crate) fn record(&self, outcome: Outcome, succeeded: Success, times: &StageTimes) {
        self.update(|counters| counters.record(outcome, succeeded, times));
    }

    /// Changes the counters.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.unwritten.lock());
    }

    /// Counts something that went wrong.
    pub(crate) fn problem(&self, words: &str) {
        self.problems.lock().add(words, SystemTime::now());
    }

    /// Adds what was counted since the last time to the file.
    ///
    /// # Errors
    /// The file can't be written; nothing is lost.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut counted = std::mem::take(&mut *self.unwritten.lock());
        let problems = std::mem::take(&mut *self.problems.lock());
        counted.problems.add_all(&problems);
        if counted == Counters::default() {
            return Ok(());
        }
        let written = rewrite(&self.directory, |counters| counters.add(&counted));
        if written.is_err() {
            self.update(|counters| counters.add(&counted));
        }
        written
    }

    /// Sets everything to zero, in memory and in the file.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn zero(&self) -> io::Result<()> {
        self.update(|counters| *counters = Counters::default());
        *self.problems.lock() = Problems::default();
        zero(&self.directory)
    }
}

/// Reads the counters that are kept in `directory`: zero where there is no file, or one that can't be understood.
///
/// # Errors
/// The file is there and can't be read.
pub(crate) fn read(directory: &Path) -> io::Result<Counters> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let path = directory.join(FILE);
    match std::fs::read(&path) {
        Ok(content) => Ok(serde_json::from_slice(&content).unwrap_or_default()),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(Counters::default()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Sets the counters in `directory` to zero.
///
/// # Errors
/// The file can't be written.
pub(crate) fn zero(directory: &Path) -> io::Result<()> {
    rewrite(directory, |counters| *counters = Counters::default())
}

/// Takes the lock of the file. Whoever holds it writes a page, so one that holds it for long is stopped.
fn lock(directory: &Path) -> io::Result<File> {
    let end = Instant::now() + LOCK_LIMIT;
    loop {
        if let Some(lock) = crate::ipc::socket::try_lock(directory, LOCK)? {
            return Ok(lock);
        }
        if Instant::now() >= end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{LOCK} is held by another process")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn rewrite(directory: &Path, change: impl FnOnce(&mut Counters)) -> io::Result<()> {
    let _lock = lock(directory)?;
    let mut counters = read(directory)?;
    change(&mut counters);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, counters.to_json().as_bytes())?;
    file.persist(directory.join(FILE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(directory: &Path) -> Statistics {
        let vantage = crate::ipc::vantage::Vantage::own().expect("known");
        Statistics::new(&Directories { state: directory.to_owned(), socket: directory.to_owned(), vantage })
    }

    #[test]
    fn compiles_are_the_sum_of_their_outcomes() {
        let scratch = tempfile::tempdir().expect("scratch");
        let statistics = statistics(scratch.path());
        let outcomes = [
            (Outcome::LocalHit, Success::Yes),
            (Outcome::RemoteHit, Success::Yes),
            (Outcome::RemoteRun, Success::Yes),
            (Outcome::LocalRun(Reason::RemoteFailed), Success::No),
            (Outcome::LocalRun(Reason::RemoteFailed), Success::Yes),
            (Outcome::LocalRun(Reason::NoServer), Success::Yes),
        ];
        for (outcome, success) in outcomes {
            statistics.record(outcome, success, &StageTimes::default());
        }
        statistics.flush().expect("written");
        let counters = read(scratch.path()).expect("read");
        assert_eq!(counters.compiles, 6);
        assert_eq!(
            counters.local_hits
                + counters.remote_hits
                + counters.remote_runs
                + counters.plain_runs
                + counters.local_runs.values().sum::<u64>(),
            6
        );
        assert_eq!(counters.local_runs["remote-failed"], 2);
        assert_eq!(counters.failed, 1);
    }

    #[test]
    fn figures_outlive_the_daemon_and_add_up_over_two() {
        let scratch = tempfile::tempdir().expect("scratch");
        let [first, second] = [statistics(scratch.path()), statistics(scratch.path())];
        let mut times = StageTimes::default();
        times.add(Stage::Scan, Duration::from_micros(1500));
        for statistics in [&first, &second, &first] {
            statistics.record(Outcome::LocalHit, Success::Yes, &times);
            statistics.flush().expect("written");
        }
        let counters = read(scratch.path()).expect("read");
        assert_eq!(counters.local_hits, 3);
        assert!((counters.stage_ms["scan"] - 4.5).abs() < 1e-9);
        first.zero().expect("zeroed");
        assert_eq!(read(scratch.path()).expect("read"), Counters::default());
    }

    #[test]
    fn a_file_that_is_not_understood_counts_as_zero() {
        let scratch = tempfile::tempdir().expect("scratch");
        std::fs::write(scratch.path().join(FILE), "{ torn").expect("written");
        assert_eq!(read(scratch.path()).expect("read"), Counters::default());
    }

    #[test]
    fn the_json_form_has_every_field() {
        let json: serde_json::Value = serde_json::from_str(&Counters::default().to_json()).expect("JSON");
        for field in [
            "compiles",
            "local_hits",
            "remote_hits",
            "remote_runs",
            "plain_runs",
            "local_runs",
            "failed",
            "bytes_uploaded",
            "bytes_downloaded",
            "stage_ms",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
    }
}
