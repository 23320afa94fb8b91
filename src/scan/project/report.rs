//! What `pumphouse scan --compile-commands` says, for people and as JSON.
//!
//! Times are in milliseconds of processor time or elapsed time, as their names say; sizes are in bytes.

use super::cost::Cost;
use super::show;
use super::verify::Difference;
use crate::fallback::Fallback;
use crate::scan::closure::Closure;
use crate::scan::work::Work;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How many units of a kind the human form names.
const MAX_NAMED_UNITS: usize = 20;

/// A unit and its answer.
pub(super) struct Unit<'a> {
    pub(super) source: PathBuf,
    pub(super) answer: Result<&'a Arc<Closure>, &'a Fallback>,
}

/// The figures of a project.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How many commands the list has.
    pub translation_units: usize,
    /// The units that the scanner does not answer.
    pub refused: Vec<Refusal>,
    /// How many files a closure has.
    pub files_per_unit: Spread,
    /// How large a closure's files are together.
    pub bytes_per_unit: Spread,
    /// How many files all closures have together, each counted once.
    pub distinct_files: usize,
    /// How large those are together.
    pub distinct_bytes: u64,
    /// The passes, the first one cold.
    pub passes: Vec<Pass>,
    /// The comparison with the compiler's lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// A unit that was refused.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// The source.
    pub file: String,
    /// The reason's name.
    pub reason: &'static str,
    /// The reason with its place and detail.
    pub message: String,
}

/// Mean and maximum over the units.
#[derive(Debug, Default, Serialize)]
pub struct Spread {
    /// The sum over the number of units; 0 without units.
    pub mean: f64,
    /// The largest.
    pub max: u64,
}

/// What one pass over all units cost.
#[derive(Debug, Serialize)]
pub struct Pass {
    /// Processor time of everything: this process and the compilers that it asked.
    pub cpu_ms: f64,
    /// The compilers' part of that.
    pub compilers_cpu_ms: f64,
    /// Elapsed time.
    pub wall_ms: f64,
    /// Processor time by unit.
    pub cpu_ms_per_unit: f64,
    /// What was not known from earlier passes.
    #[serde(flatten)]
    pub work: Work,
}

/// The comparison with the compiler's lists.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// How many units were compared.
    pub units: usize,
    /// In how many of those closure and list are equal.
    pub equal_units: usize,
    /// How many files the compiler listed over all units.
    pub listed_files: usize,
    /// How many files the closures have over all units, without probed ones that the compiler does not list.
    pub closure_files: usize,
    /// The units that lack files, with the files.
    pub misses: BTreeMap<String, Vec<String>>,
    /// The units that have more files, with the files.
    pub surplus: BTreeMap<String, Vec<String>>,
    /// The units that the compiler did not list, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Processor time of the comparison, the compilers' included. Not part of any pass.
    pub cpu_ms: f64,
    /// Elapsed time of the comparison.
    pub wall_ms: f64,
}

impl Report {
    pub(super) fn new(units: &[Unit<'_>], passes: Vec<Pass>, verification: Option<Verification>) -> Self {
        let closures: Vec<&Closure> =
            units.iter().filter_map(|unit| unit.answer.ok()).map(|closure| &**closure).collect();
        let mut distinct = HashMap::new();
        for file in closures.iter().flat_map(|closure| &closure.files) {
            distinct.insert(&file.path, file.digest.size_bytes());
        }
        let refusal = |unit: &Unit<'_>| {
            let fallback = unit.answer.err()?;
            Some(Refusal { file: show(&unit.source), reason: fallback.reason.name(), message: fallback.to_string() })
        };
        let bytes = |closure: &&Closure| closure.files.iter().map(|file| file.digest.size_bytes()).sum();
        Self {
            translation_units: units.len(),
            refused: units.iter().filter_map(refusal).collect(),
            files_per_unit: Spread::of(closures.iter().map(|closure| closure.files.len() as u64)),
            bytes_per_unit: Spread::of(closures.iter().map(bytes)),
            distinct_files: distinct.len(),
            distinct_bytes: distinct.values().sum(),
            passes,
            verification,
        }
    }

    /// Whether the compiler lists a file that a closure lacks.
    pub fn has_misses(&self) -> bool {
        self.verification.as_ref().is_some_and(|verification| !verification.misses.is_empty())
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = u64>) -> Self {
        let (mut count, mut sum, mut max) = (0u64, 0u64, 0);
        for value in values {
            count += 1;
            sum += value;
            max = value.max(max);
        }
        Self { mean: if count == 0 { 0.0 } else { sum as f64 / count as f64 }, max }
    }
}

impl Pass {
    pub(super) fn new(cost: &Cost, work: Work, units: usize) -> Self {
        let cpu_ms = milliseconds(cost.own + cost.children);
        Self {
            cpu_ms,
            compilers_cpu_ms: milliseconds(cost.children),
            wall_ms: milliseconds(cost.wall),
            cpu_ms_per_unit: if units == 0 { 0.0 } else { cpu_ms / units as f64 },
            work,
        }
    }
}

impl Verification {
    pub(super) fn new(compared: Vec<(PathBuf, Result<Difference>)>, cost: &Cost) -> Self {
        let mut verification = Self {
            units: 0,
            equal_units: 0,
            listed_files: 0,
            closure_files: 0,
            misses: BTreeMap::new(),
            surplus: BTreeMap::new(),
            failed: BTreeMap::new(),
            cpu_ms: milliseconds(cost.own + cost.children),
            wall_ms: milliseconds(cost.wall),
        };
        for (source, difference) in compared {
            let source = show(&source);
            match difference {
                Ok(difference) => verification.count(source, difference),
                Err(error) => {
                    verification.failed.insert(source, format!("{error:#}"));
                }
            }
        }
        verification
    }

    fn count(&mut self, source: String, difference: Difference) {
        self.units += 1;
        self.listed_files += difference.listed;
        self.closure_files += difference.listed + difference.surplus.len() - difference.misses.len();
        if difference.misses.is_empty() && difference.surplus.is_empty() {
            self.equal_units += 1;
        }
        if !difference.misses.is_empty() {
            self.misses.entry(source.clone()).or_default().extend(difference.misses);
        }
        if !difference.surplus.is_empty() {
            self.surplus.entry(source).or_default().extend(difference.surplus);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} translation units, {} refused", self.translation_units, self.refused.len())?;
        for refusal in self.refused.iter().take(MAX_NAMED_UNITS) {
            writeln!(formatter, "  {}: {}", refusal.file, refusal.message)?;
        }
        more(formatter, self.refused.len())?;
        let (files, bytes) = (&self.files_per_unit, &self.bytes_per_unit);
        writeln!(
            formatter,
            "files a unit: {:.1} mean, {} largest, {} distinct",
            files.mean, files.max, self.distinct_files
        )?;
        writeln!(
            formatter,
            "bytes a unit: {:.0} mean, {} largest, {} distinct",
            bytes.mean, bytes.max, self.distinct_bytes
        )?;
        for (index, pass) in self.passes.iter().enumerate() {
            writeln!(
                formatter,
                "pass {} ({}): {:.1} ms of processor ({:.1} of them the compilers'), {:.3} a unit; {:.1} ms elapsed; {} units and {} files replayed, {} files lexed",
                index + 1,
                if index == 0 { "cold" } else { "warm" },
                pass.cpu_ms,
                pass.compilers_cpu_ms,
                pass.cpu_ms_per_unit,
                pass.wall_ms,
                pass.work.replayed_units,
                pass.work.replayed_files,
                pass.work.lexed_files
            )?;
        }
        self.verification.as_ref().map_or(Ok(()), |verification| verification.fmt(formatter))
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "verified {} units: {} equal to the compiler's list; {} files, the compiler {}",
            self.units, self.equal_units, self.closure_files, self.listed_files
        )?;
        for (title, units) in [("misses", &self.misses), ("surplus", &self.surplus)] {
            writeln!(
                formatter,
                "{title}: {} files in {} units",
                units.values().map(Vec::len).sum::<usize>(),
                units.len()
            )?;
            for (unit, files) in units.iter().take(MAX_NAMED_UNITS) {
                writeln!(formatter, "  {unit}: {}", files.join(" "))?;
            }
            more(formatter, units.len())?;
        }
        if !self.failed.is_empty() {
            writeln!(formatter, "not verified: {} units", self.failed.len())?;
            for (unit, message) in self.failed.iter().take(MAX_NAMED_UNITS) {
                writeln!(formatter, "  {unit}: {message}")?;
            }
            more(formatter, self.failed.len())?;
        }
        writeln!(formatter, "verification took {:.1} ms of processor, {:.1} ms elapsed", self.cpu_ms, self.wall_ms)
    }
}

fn more(formatter: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count.checked_sub(MAX_NAMED_UNITS) {
        Some(more @ 1..) => writeln!(formatter, "  … and {more} more"),
        _ => Ok(()),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
