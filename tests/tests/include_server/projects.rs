//! Real projects through distcc's pump mode: every compile is covered, and gives what a plain compiler gives.
//!
//! `distccd` writes the names of its own directories over in `.debug_info` and `.debug_str`, and not in the sections that
//! DWARF 5 has beside them; so debug information is left out of the comparison, as it is different with any include server.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::distcc::Distcc;
use pumphouse_tests::objects::{Objects, compare};
use pumphouse_tests::process::succeed;
use pumphouse_tests::project::{GOOGLETEST, LUA, Project, REDIS};
use std::process::Command;

/// The objects without their debug information.
fn stripped(objects: Objects) -> Result<Objects> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("object");
    let strip = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes)?;
        succeed(Command::new("objcopy").arg("--strip-debug").arg(&path)).context("binutils is not installed")?;
        anyhow::Ok(std::fs::read(&path)?)
    };
    objects.into_iter().map(|(name, bytes)| Ok((name, strip(bytes)?))).collect()
}

fn check(project: &Project) -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let directory = farm.root().join(project.name);
    let expected = stripped(project.build(&directory, None)?.objects)?;
    let actual = stripped(project.build_with_distcc(&directory, &server)?.objects)?;
    let comparison = compare(&expected, &actual);
    ensure!(comparison.is_identical(), "{}: {comparison:?}\n{}", project.name, server.errors());
    ensure!(server.local_compiles().is_empty(), "{:?}\n{}", server.local_compiles(), server.errors());
    // Not an object is left that no server compiled.
    ensure!(server.remote_compiles() >= expected.len(), "{} of {}", server.remote_compiles(), expected.len());
    server.terminate()
}

#[test]
fn lua() -> Result<()> {
    check(&LUA)
}

#[test]
fn redis() -> Result<()> {
    check(&REDIS)
}

/// C++, and everything by absolute paths.
#[test]
fn googletest() -> Result<()> {
    check(&GOOGLETEST)
}
