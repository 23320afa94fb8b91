//! Bazel as its users run it, in a workspace and with directories of its own.

use crate::process::{Service, run};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, ensure};
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// Bazel fetches these rules from the network even for workspaces that don't name them; these stand in.
const RULES: &[(&str, &str, &[&str])] = &[
    (
        "rules_cc",
        "cc",
        &[
            "cc_binary",
            "cc_import",
            "cc_library",
            "cc_proto_library",
            "cc_test",
            "cc_toolchain",
            "cc_toolchain_suite",
            "fdo_prefetch_hints",
            "fdo_profile",
            "objc_import",
            "objc_library",
        ],
    ),
    (
        "rules_java",
        "java",
        &[
            "java_binary",
            "java_import",
            "java_library",
            "java_lite_proto_library",
            "java_package_configuration",
            "java_plugin",
            "java_proto_library",
            "java_runtime",
            "java_test",
            "java_toolchain",
        ],
    ),
];

/// What tests depend on, and is fetched from the network as well.
const COVERAGE_TOOLS: &str = "remote_coverage_tools";

/// Which Bazel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Debian's: 4.2.3.
    Debian,
    /// The oldest one that speaks version 2 of the API as it is now: 2.1, from npm.
    Old,
}

impl Version {
    /// Every one that there is.
    pub const ALL: [Self; 2] = [Self::Debian, Self::Old];

    /// The program, and where it comes from.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Debian => ("bazel", "bazel is Debian's package bazel-bootstrap"),
            Self::Old => ("bazel-2.1", "bazel-2.1 is installed by tests/tools; tests/run has it on PATH"),
        }
    }
}

/// A workspace, and Bazel's own directories beside it, so that nothing of the user's is read or left.
#[derive(Debug)]
pub struct Bazel {
    /// `main/` is Bazel's workspace.
    pub workspace: Workspace,
    version: Version,
    flags: Vec<String>,
}

/// How a run of Bazel ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; that of a shell where a signal ended it.
    pub code: i32,
    /// All that it printed.
    pub said: String,
}

impl Run {
    /// The summary of a build: how many actions ran where.
    pub fn processes(&self) -> &str {
        self.said.lines().find(|line| line.contains("process")).unwrap_or("no summary")
    }

    /// Whether actions ran remotely, and none here.
    pub fn ran_remotely(&self) -> bool {
        let summary = self.processes();
        let is_here = ["local", "sandbox", "worker"].iter().any(|place| summary.contains(place));
        (summary.contains(" remote.") || summary.contains(" remote,")) && !is_here
    }

    /// Whether every result was found.
    pub fn was_cached(&self) -> bool {
        self.processes().contains("remote cache hit") && !self.ran_remotely() && !self.processes().contains("local")
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "exit code {}\n{}", self.code, self.said)
    }
}

impl Bazel {
    /// A workspace of these files for this Bazel, which is told `flags` with every build.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn new(version: Version, sources: &[(&str, &str)], flags: &[&str]) -> Result<Self> {
        let workspace = Workspace::new(&[("main/WORKSPACE", "")])?;
        for (path, text) in sources {
            workspace.write(&format!("main/{path}"), text)?;
        }
        for (repository, package, rules) in RULES {
            let definitions: Vec<_> = rules
                .iter()
                .map(|rule| format!("def {rule}(**arguments):\n    native.{rule}(**arguments)\n"))
                .collect();
            workspace.write(&format!("{repository}/WORKSPACE"), &format!("workspace(name = \"{repository}\")\n"))?;
            workspace.write(&format!("{repository}/{package}/BUILD"), "")?;
            workspace.write(&format!("{repository}/{package}/defs.bzl"), &definitions.concat())?;
        }
        workspace
            .write(&format!("{COVERAGE_TOOLS}/WORKSPACE"), &format!("workspace(name = \"{COVERAGE_TOOLS}\")\n"))?;
        let tools = "package(default_visibility = [\"//visibility:public\"])\n\
                     [filegroup(name = name) for name in [\"coverage_report_generator\", \"lcov_merger\"]]\n";
        workspace.write(&format!("{COVERAGE_TOOLS}/BUILD"), tools)?;
        Ok(Self { workspace, version, flags: flags.iter().map(|flag| (*flag).to_owned()).collect() })
    }

    /// A workspace with these sources, every action of which runs at `remote`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn remote(version: Version, sources: &[(&str, &str)], remote: &str) -> Result<Self> {
        Self::new(version, sources, &[&format!("--remote_executor={remote}"), "--spawn_strategy=remote"])
    }

    /// `bazel ARGUMENTS…`. A server of Bazel's stays, as users have it, until this is dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let top = self.workspace.path();
        let mut command = Command::new(self.version.program().0);
        command.arg(format!("--output_user_root={}", top.join("out").display())).arg("--max_idle_secs=60");
        command.args(arguments).current_dir(top.join("main"));
        if !matches!(arguments[0], "clean" | "shutdown") {
            for repository in RULES.iter().map(|(repository, ..)| *repository).chain([COVERAGE_TOOLS]) {
                command.arg(format!("--override_repository={repository}={}", top.join(repository).display()));
            }
            command.args(&self.flags).args(["--jobs=50", "--color=no", "--curses=no"]);
        }
        command
    }

    /// Runs `bazel ARGUMENTS…` to its end, whatever that is.
    ///
    /// # Errors
    /// It can't be started, or doesn't end.
    pub fn run(&self, arguments: &[&str]) -> Result<Run> {
        let output = run(&mut self.command(arguments)).context(self.version.program().1)?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().unwrap_or(128 + output.status.signal().unwrap_or(0));
        Ok(Run { code, said })
    }

    /// Runs `bazel ARGUMENTS…`, which has to succeed.
    ///
    /// # Errors
    /// It doesn't; with all that it printed.
    pub fn succeed(&self, arguments: &[&str]) -> Result<Run> {
        let run = self.run(arguments)?;
        ensure!(run.code == 0, "bazel {arguments:?}: {run}");
        Ok(run)
    }

    /// Starts `bazel ARGUMENTS…`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Service> {
        let log = self.workspace.path().join("bazel.log");
        Service::start(&mut self.command(arguments), &log).context(self.version.program().1)
    }

    /// What stands in an output, below `bazel-bin`; nothing where the file isn't here.
    pub fn output(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.workspace.path().join("main/bazel-bin").join(path)).ok()
    }
}

impl Drop for Bazel {
    fn drop(&mut self) {
        let _ = self.run(&["shutdown"]);
    }
}
