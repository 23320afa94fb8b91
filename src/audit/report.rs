//! What is kept of a result that a second compile did not confirm: both results, and all that they were made of.
//!
//! Each stands in a directory of its own, named by the action, whose presence is also what keeps that action out of the
//! caches for good: a user who removes it trusts the action again.

use super::apart::Made;
use crate::state_file;
use anyhow::Context as _;
use pumphouse_proto::digest::Digest;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of the reports in the state directory.
const DIRECTORY: &str = "audits";

/// The file in a report that names the toolchain.
const TOOLCHAIN: &str = "toolchain";

/// How many reports are kept; with more, the oldest are removed.
const REPORT_LIMIT: usize = 32;

/// How much of the inputs a report keeps, in bytes.
const INPUTS_SIZE_LIMIT_BYTES: u64 = 256 * 1024 * 1024;

/// Both results of an action, and where they come from.
#[derive(Debug)]
pub(crate) struct Discrepancy {
    pub(crate) action: Digest,
    /// The toolchain's identity.
    pub(crate) toolchain: Digest,
    /// Command, directory, environment and inputs, for people.
    pub(crate) description: String,
    /// The outputs' names.
    pub(crate) names: Vec<String>,
    pub(crate) stored: Made,
    pub(crate) fresh: Made,
    pub(crate) inputs: Vec<PathBuf>,
}

impl Discrepancy {
    /// What differs, in few words.
    pub(crate) fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.stored.code != self.fresh.code {
            parts.push(format!("exit code {}, not {}", self.stored.code, self.fresh.code));
        }
        for (name, (stored, fresh)) in self.names.iter().zip(self.stored.outputs.iter().zip(&self.fresh.outputs)) {
            if stored != fresh {
                parts.push(name.clone());
            }
        }
        for (name, (stored, fresh)) in
            ["standard output", "standard error"].into_iter().zip(self.stored.streams.iter().zip(&self.fresh.streams))
        {
            if stored != fresh {
                parts.push(name.to_owned());
            }
        }
        parts.join(", ")
    }

    /// Writes the report below `state`, and gives its directory.
    ///
    /// # Errors
    /// The file system's; what was written until then stays.
    pub(crate) fn keep(&self, state: &Path) -> anyhow::Result<PathBuf> {
        let directory = begin(state, &self.action, &self.toolchain)?;
        for (name, made) in [("stored", &self.stored), ("fresh", &self.fresh)] {
            let place = directory.join(name);
            state_file::create_private(&place)?;
            fs::write(place.join("stdout"), &made.streams[0])?;
            fs::write(place.join("stderr"), &made.streams[1])?;
            for (number, content) in made.outputs.iter().enumerate() {
                if let Some(content) = content {
                    fs::write(place.join(number.to_string()), content)?;
                }
            }
        }
        let mut left = INPUTS_SIZE_LIMIT_BYTES;
        for input in &self.inputs {
            let Ok(relative) = input.strip_prefix("/") else { continue };
            let size_bytes = fs::metadata(input).map_or(0, |metadata| metadata.len());
            let Some(rest) = left.checked_sub(size_bytes) else { break };
            left = rest;
            let place = directory.join("inputs").join(relative);
            place.parent().map_or(Ok(()), state_file::create_private)?;
            fs::copy(input, &place).with_context(|| input.display().to_string())?;
        }
        let outputs = self.names.iter().enumerate().map(|(number, name)| format!("output {number}: {name}\n"));
        let text = format!("differs: {}\n{}{}", self.summary(), outputs.collect::<String>(), self.description);
        fs::write(directory.join("report.txt"), text)?;
        remove_oldest(&self::directory(state));
        Ok(directory)
    }
}

/// Makes a report's directory, in which nothing stands yet but what others must know.
///
/// # Errors
/// The file system's.
pub(super) fn begin(state: &Path, action: &Digest, toolchain: &Digest) -> anyhow::Result<PathBuf> {
    let directory = directory(state).join(action.hash_hex());
    state_file::create_private(&self::directory(state)).with_context(|| directory.display().to_string())?;
    // Whoever sees the directory finds the verdict whole.
    let unnamed = tempfile::Builder::new().prefix("audit-").tempdir_in(state)?;
    fs::write(unnamed.path().join(TOOLCHAIN), toolchain.hash_hex())?;
    if !directory.is_dir() {
        fs::rename(unnamed.path(), &directory).with_context(|| directory.display().to_string())?;
    }
    Ok(directory)
}

/// Where the reports below `state` stand.
pub(super) fn directory(state: &Path) -> PathBuf {
    state.join(DIRECTORY)
}

/// The actions whose results were wrong, with their toolchains, as hashes; a toolchain that isn't known is empty.
pub(super) fn verdicts(state: &Path) -> impl Iterator<Item = (String, String)> + use<> {
    reports(state).into_iter().filter_map(|path| {
        let toolchain = fs::read_to_string(path.join(TOOLCHAIN)).unwrap_or_default();
        Some((path.file_name()?.to_str()?.to_owned(), toolchain))
    })
}

/// The reports below `state`.
pub(crate) fn reports(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory(state)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn remove_oldest(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut reports: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    reports.sort();
    for (_, path) in &reports[..reports.len().saturating_sub(REPORT_LIMIT)] {
        let _ = fs::remove_dir_all(path);
    }
}
