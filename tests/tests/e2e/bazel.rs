//! A foreign client of the API: Bazel builds through the same server, and finds in it what it built before.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::process::run;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::process::Command;

const SOURCES: &[(&str, &str)] = &[
    ("WORKSPACE", ""),
    (
        "BUILD",
        "cc_library(name = \"greeting\", srcs = [\"greeting.cc\"], hdrs = [\"greeting.h\"])\n\
         cc_binary(name = \"hello\", srcs = [\"hello.cc\"], deps = [\":greeting\"])\n",
    ),
    ("greeting.h", "#pragma once\n#include <string>\nstd::string greeting();\n"),
    ("greeting.cc", "#include \"greeting.h\"\nstd::string greeting() { return \"hello\"; }\n"),
    (
        "hello.cc",
        "#include <iostream>\n#include \"greeting.h\"\nint main() { std::cout << greeting() << std::endl; }\n",
    ),
];

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

/// A workspace with Bazel's own directories below it, so that nothing of the user's is read or left.
struct Bazel {
    workspace: Workspace,
    remote: String,
}

impl Bazel {
    fn new(remote: String) -> Result<Self> {
        let workspace = Workspace::new(&[])?;
        for (path, text) in SOURCES {
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
        Ok(Self { workspace, remote })
    }

    /// Runs `bazel ARGUMENTS…` (without leaving its server behind) and gives all that it printed.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let top = self.workspace.path();
        let mut command = Command::new("bazel");
        command.arg(format!("--output_user_root={}", top.join("out").display())).arg("--batch");
        command.args(arguments).current_dir(top.join("main"));
        if arguments[0] != "clean" {
            for (repository, ..) in RULES {
                command.arg(format!("--override_repository={repository}={}", top.join(repository).display()));
            }
            command.arg(format!("--remote_executor={}", self.remote));
            command.args(["--jobs=50", "--spawn_strategy=remote", "--color=no", "--curses=no"]);
        }
        let output = run(&mut command).context("bazel is Debian's package bazel-bootstrap")?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
        Ok(said)
    }
}

/// The summary of a build: how many actions ran where.
fn processes(said: &str) -> &str {
    said.lines().find(|line| line.contains("process")).unwrap_or("no summary")
}

#[test]
fn bazel_builds_remotely_and_finds_all_of_it_again() -> Result<()> {
    let site = Pumphouse::up()?;
    let bazel = Bazel::new(site.remote())?;
    let said = bazel.run(&["build", "//..."])?;
    let summary = processes(&said);
    ensure!(summary.contains(" remote.") || summary.contains(" remote,"), "{said}\n{}", site.server.log());
    ensure!(!summary.contains("local") && !summary.contains("sandbox"), "{said}");
    let hello = bazel.workspace.path().join("main/bazel-bin/hello");
    assert_eq!(pumphouse_tests::process::succeed(&mut Command::new(&hello))?, "hello\n");

    bazel.run(&["clean"])?;
    let said = bazel.run(&["build", "//..."])?;
    let summary = processes(&said);
    ensure!(summary.contains("remote cache hit") && !summary.contains(" remote."), "{said}");
    ensure!(!summary.contains(" remote,") && !summary.contains("local"), "{said}");
    Ok(())
}
