//! The benches: our figure beside a peer's, measured in the same run. They judge nothing; times are no tests.
//!
//! `tests/bench NAME` builds the program, installs the peers and runs one of them.

mod blobs;
mod chaos;
mod closures;
mod corpora;
mod edits;
mod environments;
mod execute;
mod include_server;
mod launcher;
mod nfs;
mod objects;
mod projects;
mod scan;
mod table;
mod usage;

use anyhow::{Result, bail};
use pumphouse_tests::random;
use std::process::ExitCode;

const USAGE: &str = "usage: tests/bench launcher|scan|closures|edits|execute|projects|objects|include-server|nfs|environments|chaos|blobs";

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match run(&name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(2).collect();
    match name {
        "launcher" => launcher::run(),
        "scan" => scan::run(),
        "closures" => closures::run(&arguments),
        "edits" => edits::run(&arguments),
        "execute" => execute::run(),
        "projects" => projects::run(),
        "objects" => objects::run(&arguments),
        "include-server" => include_server::run(),
        "nfs" => nfs::run(&arguments),
        "blobs" => blobs::run(&arguments),
        "chaos" => chaos::run(&arguments),
        "environments" => environments::run(&arguments),
        _ => bail!("no bench {name:?}\n{USAGE}"),
    }
}
