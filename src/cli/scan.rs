//! `pumphouse scan -- gcc -c a.c …`: prints what a compile would read, and runs none.

use crate::command;
use crate::fallback::Fallback;
use crate::heap;
use crate::scan::Scanner;
use crate::scan::closure::Closure;
use crate::scan::project::{self, ProjectOptions};
use anyhow::Context as _;
use clap::Args;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The exit code where the scanner refuses.
const REFUSED: u8 = 3;

/// What `pumphouse scan` is asked.
#[derive(Debug, Args)]
pub(super) struct ScanArguments {
    /// The compiler and its arguments
    #[arg(last = true, required_unless_present = "compile_commands", value_name = "COMPILER")]
    command: Vec<OsString>,
    /// Scan every unit of a project instead, and say what that costs
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    compile_commands: Option<PathBuf>,
    /// Go on from what an earlier scan kept in this directory, and keep there what this one learns
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    project: ProjectArguments,
}

/// What is asked about a project.
#[derive(Debug, Args)]
struct ProjectArguments {
    /// How many units are scanned at the same time
    #[arg(long, value_name = "N", default_value = "1", requires = "compile_commands")]
    jobs: NonZeroUsize,
    /// How many passes are made: the first one is cold, the others are warm
    #[arg(long, value_name = "N", default_value = "1", requires = "compile_commands")]
    repeat: NonZeroUsize,
    /// Have the shell run this before each pass: an edit, say
    #[arg(long, value_name = "COMMAND", requires = "compile_commands")]
    prepare: Option<OsString>,
    /// Ask for each unit by itself, as a build does: what was checked for one is checked again for the next
    #[arg(long, requires = "compile_commands")]
    separately: bool,
    /// Compare each closure with what the compiler lists
    #[arg(long, requires = "compile_commands")]
    verify: bool,
    /// Print the report as JSON
    #[arg(long, requires = "compile_commands")]
    json: bool,
}

/// Prints the closure, a path a line, and gives the program's exit code: 0, or 3 with the reason on standard error where
/// the compile would not leave this machine.
///
/// # Errors
/// Where the working directory is unknown, standard output can't be written to, or a project's commands can't be read.
pub(super) fn run(arguments: &ScanArguments) -> anyhow::Result<u8> {
    heap::prepare();
    let scanner = Scanner::open(arguments.state.as_deref());
    let done = match &arguments.compile_commands {
        Some(compile_commands) => run_project(&scanner, compile_commands, &arguments.project),
        None => run_command(&scanner, &arguments.command),
    }?;
    if let Some(state) = &arguments.state {
        scanner.keep().with_context(|| format!("{}: keeping what was learned", state.display()))?;
    }
    Ok(done)
}

fn run_command(scanner: &Scanner, argv: &[OsString]) -> anyhow::Result<u8> {
    let directory = std::env::current_dir().context("the working directory")?;
    match scan(scanner, argv, &directory) {
        Ok(closure) => {
            let mut output = BufWriter::new(io::stdout().lock());
            print(&closure, &mut output).and_then(|()| output.flush()).context("standard output")?;
            Ok(0)
        }
        Err(fallback) => {
            eprintln!("{fallback}");
            Ok(REFUSED)
        }
    }
}

/// Scans a project and prints its figures; 1 if the compiler lists a file that a closure lacks.
fn run_project(scanner: &Scanner, compile_commands: &Path, arguments: &ProjectArguments) -> anyhow::Result<u8> {
    let options = ProjectOptions {
        compile_commands: compile_commands.to_path_buf(),
        jobs: arguments.jobs,
        repeat: arguments.repeat,
        prepare: arguments.prepare.clone(),
        separately: arguments.separately,
        verify: arguments.verify,
    };
    let report = project::scan_project(&options, scanner)?;
    let mut output = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut output, &report).context("standard output")?;
        writeln!(output).context("standard output")?;
    } else {
        write!(output, "{report}").context("standard output")?;
    }
    Ok(u8::from(report.has_misses()))
}

fn scan(scanner: &Scanner, argv: &[OsString], directory: &Path) -> Result<Arc<Closure>, Fallback> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let command = command::parse(argv, directory, &environment)?;
    scanner.scan(&command)
}

/// Writes a closure as lines of a kind and a path; a file that is found without being included is `PROBED` instead of
/// `FILE`.
fn print(closure: &Closure, output: &mut impl Write) -> io::Result<()> {
    for file in &closure.files {
        let kind: &[u8] = if closure.probed.binary_search(&file.path).is_ok() { b"PROBED " } else { b"FILE " };
        line(output, &[kind, bytes(&file.path)])?;
    }
    for (link, target) in &closure.symlinks {
        line(output, &[b"SYMLINK ", bytes(link), b" -> ", bytes(target)])?;
    }
    for directory in &closure.directories {
        line(output, &[b"DIRECTORY ", bytes(directory)])?;
    }
    for path in &closure.absent {
        line(output, &[b"ABSENT ", bytes(path)])?;
    }
    Ok(())
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn line(output: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    for part in parts {
        output.write_all(part)?;
    }
    output.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::closure::InputFile;
    use pumphouse_proto::digest::Digest;

    #[test]
    fn prints_a_line_for_each_path() {
        let path = |text: &str| Arc::from(Path::new(text));
        let file = |text: &str| Arc::new(InputFile { path: path(text), digest: Digest::EMPTY, is_executable: false });
        let closure = Closure {
            files: vec![file("/a.c"), file("/b.h"), file("/c.bin")],
            probed: vec![path("/b.h"), path("/c.bin")],
            symlinks: vec![(path("/lib"), path("usr/lib"))],
            directories: vec![path("/src")],
            absent: vec![path("/src/b.h")].into(),
            ..Closure::default()
        };
        let mut output = Vec::new();
        print(&closure, &mut output).expect("prints");
        let expect =
            "FILE /a.c\nPROBED /b.h\nPROBED /c.bin\nSYMLINK /lib -> usr/lib\nDIRECTORY /src\nABSENT /src/b.h\n";
        assert_eq!(String::from_utf8(output).expect("text"), expect);
    }

    #[test]
    fn scans_and_refuses() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let base = scratch.path().canonicalize().expect("canonical");
        std::fs::write(base.join("a.c"), "#include \"a.h\"\n").expect("write");
        std::fs::write(base.join("a.h"), "").expect("write");
        let scan = |line: &str| {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            super::scan(&Scanner::open(None), &argv, &base)
        };
        let closure = scan("gcc -c a.c").expect("closure");
        assert!(closure.files.iter().any(|file| *file.path == base.join("a.h")));
        assert_eq!(scan("gcc -E a.c").map(|_| ()).map_err(|fallback| fallback.reason.name()), Err("not-a-compile"));
    }
}
