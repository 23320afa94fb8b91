//! Runs a real compiler on a case, locally or in a replica, and keeps everything that it says.

use crate::scan_oracle::depfile;
use crate::scan_oracle::tree::quote;
use anyhow::{Context, Result};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One compile: everything but what is to be produced of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The driver, absolute.
    pub compiler: PathBuf,
    /// The arguments with the source and without `-c`, `-E`, `-o` and `-M…`.
    pub arguments: Vec<OsString>,
    /// The environment variables besides `PATH` and `PWD`.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory, absolute, as the user spells it.
    pub directory: PathBuf,
}

/// What is asked of the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `-E`
    Preprocessed,
    /// `-c -g3`: the object, with every macro in its debug information.
    Object,
    /// `-c -g`
    PlainObject,
}

/// What a compiler answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The exit code; `None` where a signal or the time limit ended it.
    pub code: Option<i32>,
    /// What it said.
    pub stderr: Vec<u8>,
    /// The bytes that it wrote; empty where there are none.
    pub output: Vec<u8>,
    /// The files that it listed, as it spelled them.
    pub listed: Vec<PathBuf>,
}

impl Invocation {
    /// The arguments of the compile that Pumphouse would be given.
    pub fn compile_arguments(&self, output: &Path) -> Vec<OsString> {
        let mut arguments = vec![self.compiler.clone().into_os_string()];
        arguments.extend(self.arguments.iter().cloned());
        arguments.extend([OsString::from("-c"), "-o".into(), output.into()]);
        arguments
    }

    /// Runs the compiler where the files are. The output and the dependency file go to `scratch`, which both the local
    /// run and the one in the replica see under the same path.
    ///
    /// # Errors
    /// Where the compiler can't be started.
    pub fn run(&self, product: Product, scratch: &Path, prefix: &[OsString]) -> Result<Answer> {
        let output = scratch.join("output");
        let depfile = scratch.join("depfile");
        let _ = (fs::remove_file(&output), fs::remove_file(&depfile));
        let mut line: Vec<&OsStr> = prefix.iter().map(OsString::as_os_str).collect();
        line.push(self.compiler.as_os_str());
        line.extend(self.arguments.iter().map(OsString::as_os_str));
        line.extend(match product {
            Product::Preprocessed => ["-E"].iter().map(OsStr::new),
            Product::Object => ["-c", "-g3"].iter().map(OsStr::new),
            Product::PlainObject => ["-c", "-g"].iter().map(OsStr::new),
        });
        line.extend(["-MD", "-MF"].map(OsStr::new));
        line.extend([depfile.as_os_str(), "-o".as_ref(), output.as_os_str()]);
        let mut command = Command::new(line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PWD", &self.directory)
            .env("LC_ALL", "C");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if prefix.is_empty() {
            command.current_dir(&self.directory);
        }
        let done =
            command.stdin(Stdio::null()).output().with_context(|| format!("run {}", Path::new(line[0]).display()))?;
        let rules = depfile::parse(&fs::read(&depfile).unwrap_or_default());
        Ok(Answer {
            code: done.status.code(),
            stderr: done.stderr,
            output: fs::read(&output).unwrap_or_default(),
            listed: rules.into_iter().flat_map(|rule| rule.prerequisites).collect(),
        })
    }

    /// The line of a shell that runs it with `rest` as its last arguments.
    pub fn to_shell(&self, rest: &str) -> String {
        let mut text = format!("cd {} && ", quote(self.directory.as_os_str().as_bytes()));
        for (name, value) in &self.environment {
            text += &[&name.to_string_lossy(), "=", &quote(value.as_bytes()), " "].concat();
        }
        text += &quote(self.compiler.as_os_str().as_bytes());
        for argument in &self.arguments {
            text += " ";
            text += &quote(argument.as_bytes());
        }
        text + " " + rest
    }
}
