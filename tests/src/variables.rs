//! Which environment variables programs ask for, found by recording: every `getenv`, those within the C library too.
//!
//! The dynamic linker asks before any library of ours is there, so its names are read from the program itself.

use crate::process::{run, succeed};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A library that records, compiled, with the directory that it records in.
#[derive(Debug)]
pub struct Recorder {
    directory: TempDir,
    library: PathBuf,
}

/// The recording library's source.
const SOURCE: &str = include_str!("variables/recorder.c");

impl Recorder {
    /// Compiles the library.
    ///
    /// # Errors
    /// When there is no compiler.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("recorder-").tempdir()?;
        let (source, library) = (directory.path().join("recorder.c"), directory.path().join("recorder.so"));
        fs::write(&source, SOURCE)?;
        succeed(Command::new("gcc").args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl"))?;
        Ok(Self { directory, library })
    }

    /// Runs `command`, whatever its end, and gives what it and all that it started asked for.
    ///
    /// # Errors
    /// When it can't be started, or nothing was recorded.
    pub fn record(&self, command: &mut Command) -> Result<BTreeSet<String>> {
        let record = self.directory.path().join("record");
        let _ = fs::remove_file(&record);
        run(command.env("LD_PRELOAD", &self.library).env("RECORD_VARIABLES_IN", &record))?;
        let names = fs::read_to_string(&record).with_context(|| format!("{command:?} recorded nothing"))?;
        ensure!(!names.is_empty(), "{command:?} asked for nothing");
        Ok(names.lines().map(str::to_owned).collect())
    }
}

/// The variables that the dynamic linker at `path` knows: its own, those of the C library's memory, and all that it drops
/// for programs with more rights than their users.
///
/// # Errors
/// When it can't be read.
pub fn of_dynamic_linker(path: &Path) -> Result<BTreeSet<String>> {
    const BEGINNINGS: [&str; 3] = ["LD_", "MALLOC_", "GLIBC_TUNABLES"];
    let program = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let texts: Vec<&str> = program.split(|&byte| byte == 0).map(|text| str::from_utf8(text).unwrap_or("")).collect();
    let is_name = |text: &str| text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let is_own = |text: &str| is_name(text) && BEGINNINGS.iter().any(|beginning| text.starts_with(beginning));
    // The list of what is dropped stands in one piece, in which LD_AUDIT is.
    let middle = texts.iter().position(|text| *text == "LD_AUDIT").context("the dynamic linker drops no LD_AUDIT")?;
    let before = texts[..middle].iter().rev().take_while(|text| is_name(text));
    let after = texts[middle..].iter().take_while(|text| is_name(text));
    let dropped = before.chain(after).copied();
    Ok(texts.iter().copied().filter(|text| is_own(text)).chain(dropped).map(str::to_owned).collect())
}
