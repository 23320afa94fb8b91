//! A developer's source directory, and the question that most suites ask: does `pumphouse` leave what the compiler leaves?

use crate::client::Client;
use crate::process::{run, variables_and_words};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A temporary source directory.
#[derive(Debug)]
pub struct Workspace {
    root: TempDir,
}

/// Contents and permissions by path below the directory.
type Snapshot = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// All that a compile does to the world.
#[derive(Debug, PartialEq, Eq)]
pub struct Effect {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Files that were made or changed.
    written: Snapshot,
}

impl Effect {
    /// The files that were made or changed, below the workspace.
    pub fn files(&self) -> Vec<&Path> {
        self.written.keys().map(PathBuf::as_path).collect()
    }

    /// Whether both leave the same but for what they say on standard error.
    pub fn leaves_the_same(&self, other: &Self) -> bool {
        (self.code, &self.stdout, &self.written) == (other.code, &other.stdout, &other.written)
    }
}

impl Workspace {
    /// A workspace with these files.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn new(files: &[(&str, &str)]) -> Result<Self> {
        let workspace = Self { root: tempfile::Builder::new().prefix("workspace-").tempdir()? };
        for (path, text) in files {
            workspace.write(path, text)?;
        }
        Ok(workspace)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file, with the directories on its way.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// A file's contents.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.path().join(path);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// What the plain command line does. The workspace is as before afterwards.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn plainly(&self, command_line: &str) -> Result<Effect> {
        let (variables, words) = variables_and_words(command_line);
        let (program, arguments) = words.split_first().context("an empty command line")?;
        self.effect(|| run(Command::new(program).args(arguments).envs(variables).current_dir(self.path())))
    }

    /// What it does through `client`. The workspace is as before afterwards.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn through(&self, client: &Client, command_line: &str) -> Result<Effect> {
        self.effect(|| client.compile(self.path(), command_line))
    }

    /// Requires that `command_line` does the same through `client` as it does plainly. The workspace is as before
    /// afterwards.
    ///
    /// # Errors
    /// When anything differs: exit code, output, files, permissions.
    pub fn check(&self, client: &Client, command_line: &str) -> Result<Effect> {
        let expected = self.plainly(command_line)?;
        let actual = self.through(client, command_line)?;
        ensure!(
            (expected.code, &expected.stdout, &expected.stderr) == (actual.code, &actual.stdout, &actual.stderr),
            "{command_line}: expected {:?}\n{}{}\ngot {:?}\n{}{}",
            expected.code,
            expected.stdout,
            expected.stderr,
            actual.code,
            actual.stdout,
            actual.stderr
        );
        ensure!(expected.files() == actual.files(), "{command_line}: {:?} != {:?}", expected.files(), actual.files());
        for (path, (mode, bytes)) in &expected.written {
            let (actual_mode, actual_bytes) = &actual.written[path];
            ensure!(mode == actual_mode, "{command_line}: {} has mode {actual_mode:o}, not {mode:o}", path.display());
            ensure!(
                bytes == actual_bytes,
                "{command_line}: {} differs ({} and {} bytes): {:?} … {:?}",
                path.display(),
                bytes.len(),
                actual_bytes.len(),
                excerpt(bytes),
                excerpt(actual_bytes)
            );
        }
        Ok(actual)
    }

    /// What `run` does to the workspace, which is as before afterwards.
    ///
    /// # Errors
    /// When it fails, or files are gone.
    pub fn effect(&self, run: impl FnOnce() -> Result<Output>) -> Result<Effect> {
        let before = self.snapshot()?;
        let output = run()?;
        let mut written = self.snapshot()?;
        let gone: Vec<_> = before.keys().filter(|path| !written.contains_key(*path)).collect();
        ensure!(gone.is_empty(), "gone: {gone:?}");
        written.retain(|path, contents| before.get(path) != Some(contents));
        for path in written.keys() {
            match before.get(path) {
                Some((_, bytes)) => std::fs::write(self.path().join(path), bytes)?,
                None => std::fs::remove_file(self.path().join(path))?,
            }
        }
        Ok(Effect {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            written,
        })
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let mut found = Snapshot::new();
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            for entry in std::fs::read_dir(self.path().join(&below))? {
                let entry = entry?;
                let path = below.join(entry.file_name());
                let metadata = entry.metadata()?;
                if metadata.is_dir() {
                    open.push(path);
                } else if metadata.is_file() {
                    found.insert(path, (metadata.permissions().mode(), std::fs::read(entry.path())?));
                }
            }
        }
        Ok(found)
    }
}

/// The first bytes, as text, for messages.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
