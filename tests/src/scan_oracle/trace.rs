//! What a compiler asks of the file system, as `strace` sees it: the part that `-M` does not list.

use crate::scan_oracle::compiler::Invocation;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

/// The paths below a case's root that a compile touched, resolved as the kernel resolved them.
#[derive(Debug, Default)]
pub struct Trace {
    /// Regular files that were opened for reading.
    pub opened: BTreeSet<PathBuf>,
    /// Paths that were looked for and are not there, absolute, otherwise as asked for.
    pub absent: BTreeSet<PathBuf>,
}

const CALLS: &str = "trace=open,openat,stat,lstat,newfstatat,access,faccessat,faccessat2,readlink,chdir";

/// Traces the compile of `invocation` and keeps what lies below `root`.
///
/// # Errors
/// Where `strace` (Debian: `strace`) can't be run or wrote what is not understood.
pub fn trace(invocation: &Invocation, root: &Path, scratch: &Path) -> Result<Trace> {
    let log = scratch.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-s", "4096", "-xx", "-e", CALLS, "-e", "signal=none", "-o"])
        .arg(&log)
        .arg(&invocation.compiler)
        .args(&invocation.arguments)
        .args(["-c", "-o"])
        .arg(scratch.join("traced"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PWD", &invocation.directory)
        .env("LC_ALL", "C")
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&invocation.directory)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("run strace (package strace)")?;
    if status.code().is_none() {
        bail!("strace ended with {status}");
    }
    let mut trace = Trace::default();
    for line in fs::read_to_string(&log)?.lines() {
        trace.take(line, &invocation.directory, root);
    }
    Ok(trace)
}

impl Trace {
    fn take(&mut self, line: &str, directory: &Path, root: &Path) {
        let Some((path, rest)) = first_string(line) else { return };
        let path = directory.join(path);
        let resolved = fs::canonicalize(&path).ok();
        let is_within = |path: &Path| path.starts_with(root);
        if rest.contains(" = -1 ENOENT") || rest.contains(" = -1 ENOTDIR") {
            let path = tidy(&path);
            if is_within(&path) {
                self.absent.insert(path);
            }
        } else if line.contains("open")
            && !rest.contains("O_WRONLY")
            && !rest.contains("O_RDWR")
            && !rest.contains(" = -1 ")
        {
            self.opened.extend(resolved.filter(|path| is_within(path) && path.is_file()));
        }
    }
}

/// The first string of a traced call, and what follows it.
fn first_string(line: &str) -> Option<(PathBuf, &str)> {
    let (_, rest) = line.split_once('"')?;
    let (text, rest) = rest.split_once('"')?;
    let bytes = text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
    Some((OsString::from_vec(bytes).into(), rest))
}

/// Drops `.` and empty components, and resolves the longest part of the path that exists.
fn tidy(path: &Path) -> PathBuf {
    let mut done = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                done = fs::canonicalize(&done).unwrap_or(done);
                done.pop();
            }
            Component::Normal(name) => done.push(name),
            _ => {}
        }
        if let Ok(resolved) = fs::canonicalize(&done) {
            done = resolved;
        }
    }
    done
}
