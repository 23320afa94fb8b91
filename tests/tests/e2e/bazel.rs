//! Foreign clients of the API: two Bazels build through the same server, and find in it what they built before.

mod failures;
mod losses;

use anyhow::{Result, ensure};
use pumphouse_tests::bazel::{Bazel, Version};
use pumphouse_tests::process::succeed;
use pumphouse_tests::pumphouse::Pumphouse;
use std::process::Command;

/// A program of two units.
const PROGRAM: &[(&str, &str)] = &[
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

/// Two actions, of which the second reads what the first makes.
const CHAIN: &[(&str, &str)] = &[
    (
        "BUILD",
        "genrule(name = \"one\", srcs = [\"a\"], outs = [\"b\"], cmd = \"tr a-z A-Z < $< > $@\")\n\
         genrule(name = \"two\", srcs = [\"b\", \"x\"], outs = [\"c\"], cmd = \"cat $(SRCS) > $@\")\n",
    ),
    ("a", "what is made of it\n"),
    ("x", "first\n"),
];

#[test]
fn bazel_builds_remotely_and_finds_all_of_it_again() -> Result<()> {
    for version in Version::ALL {
        let site = Pumphouse::up()?;
        let bazel = Bazel::remote(version, PROGRAM, &site.remote())?;
        let built = bazel.succeed(&["build", "//..."])?;
        ensure!(built.ran_remotely(), "{version:?}: {built}\n{}", site.server.log());
        let hello = bazel.workspace.path().join("main/bazel-bin/hello");
        ensure!(succeed(&mut Command::new(&hello))? == "hello\n", "{version:?}");

        bazel.succeed(&["clean"])?;
        let again = bazel.succeed(&["build", "//..."])?;
        ensure!(again.was_cached(), "{version:?}: {again}");
    }
    Ok(())
}

/// What a build that leaves outputs where they are also needs to be told.
const IN_MEMORY: [&str; 2] = ["--experimental_inmemory_jdeps_files", "--experimental_inmemory_dotd_files"];

#[test]
fn bazel_leaves_outputs_where_they_are_and_brings_those_that_are_asked_for() -> Result<()> {
    for version in Version::ALL {
        let site = Pumphouse::up()?;
        let bazel = Bazel::remote(version, CHAIN, &site.remote())?;
        let build = |outputs: &str| {
            let outputs = format!("--experimental_remote_download_outputs={outputs}");
            bazel.succeed(&["build", "//:two", &outputs, IN_MEMORY[0], IN_MEMORY[1]])
        };
        let made = build("minimal")?;
        ensure!(made.ran_remotely(), "{version:?}: {made}");
        let here = (bazel.output("b"), bazel.output("c"));
        ensure!(here == (None, None), "{version:?}: nothing is brought: {here:?}");

        // The first one's output, which was never here, is an input now.
        bazel.workspace.write("main/x", "second\n")?;
        let made = build("toplevel")?;
        ensure!(made.ran_remotely(), "{version:?}: {made}");
        let here = (bazel.output("b"), bazel.output("c"));
        let expect = b"WHAT IS MADE OF IT\nsecond\n".to_vec();
        ensure!(here == (None, Some(expect)), "{version:?}: what was asked for is: {here:?}");
    }
    Ok(())
}
