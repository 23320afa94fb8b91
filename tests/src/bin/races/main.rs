//! Races, coarse time stamps and views of the file system: does each compile through a launcher give what its compiler gives?
//!
//!     races --seed N --cases N [--first-case N] [--together N] [--world hands|seconds|two-seconds|views]
//!
//! In the world of `hands`, which is the first one, a case is a source of its own with two headers' directories and two
//! contents of the header. Two to four hands are at work at once: some compile, with commands that may share outputs and under
//! variables drawn from the table, others edit and undo, write into the output, or kill a launcher. Afterwards every command
//! is run with every content of the header, through the same client and plainly, and exit code, messages and outputs have to
//! be equal. In the other worlds a case is a series of edits of equal size, each followed at once by a compile: on a disk whose
//! time stamps are whole seconds, or every other one, and in three views of the file system that see other headers by turns.
//!
//! Several cases are in flight at once, through one client. A failure is told with its case. Exit code: 0 if nothing was wrong.
//! Timing is random, so a case that was wrong once may be right when it is made again.

mod compile;
mod edits;
mod hand;
mod race;
mod tally;
mod view;

use crate::edits::{Edits, Site};
use crate::race::Race;
use crate::tally::Tally;
use anyhow::{Context, Result, bail};
use pumphouse_tests::client::Client;
use pumphouse_tests::environments;
use pumphouse_tests::nfs::on_a_machine_with_nfs;
use pumphouse_tests::program::program;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many wrong cases are told before the run ends.
const MAX_FAILURES: u64 = 8;

/// How long a run on another machine may take.
const MACHINE_DEADLINE: Duration = Duration::from_secs(24 * 3600);

struct Options {
    seed: u64,
    cases: u64,
    first_case: u64,
    together: u64,
    world: World,
}

/// What cases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    Hands,
    Seconds,
    TwoSeconds,
    Views,
}

fn main() -> Result<ExitCode> {
    let options = read_options()?;
    if options.world == World::TwoSeconds && !knows("vfat")? {
        // Another kernel does.
        let own = [std::env::current_exe()?.display().to_string()].into_iter().chain(std::env::args().skip(1));
        let variable = format!("PUMPHOUSE_PROGRAM={}", program()?.display());
        let words: Vec<String> = ["/usr/bin/env".to_owned(), variable].into_iter().chain(own).collect();
        print!("{}", on_a_machine_with_nfs(&words, MACHINE_DEADLINE)?);
        return Ok(ExitCode::SUCCESS);
    }
    let directory = tempfile::Builder::new().prefix("races-").tempdir()?;
    let place = directory.path();
    let client = Client::new(&place.join("client"), None)?;
    let site = match options.world {
        World::Hands => None,
        World::Seconds => Some(Site::coarse(place, 1)?),
        World::TwoSeconds => Some(Site::coarse(place, 2)?),
        World::Views => Some(Site::of_views(place)?),
    };
    let (tally, names, next) = (Tally::default(), environments::names(), AtomicU64::new(options.first_case));
    std::thread::scope(|scope| {
        let run = || -> Result<()> {
            while tally.wrong() < MAX_FAILURES {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= options.first_case + options.cases {
                    break;
                }
                let (told, failures) = match &site {
                    None => race(place, options.seed, number, &names, (&client, &tally))?,
                    Some(site) => edits(site, options.seed, number, (&client, &tally))?,
                };
                if !failures.is_empty() {
                    println!("case {number} of seed {}: {told}\n{failures}", options.seed);
                }
                if tally.ended(&failures) % 100 == 0 {
                    eprintln!("{tally}, so far");
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..options.together).map(|_| scope.spawn(run)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a case panicked"))?)
    })?;
    let stats = client.stats()?;
    println!(
        "{:?}: {tally}; {} compiles, {} hits, waiting for equal compiles {:.0} ms in all",
        options.world,
        stats.compiles,
        stats.hits(),
        stats.stage_ms.get("follow").copied().unwrap_or_default()
    );
    Ok(if tally.wrong() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One race: what it was, and what was wrong.
fn race(
    place: &Path,
    seed: u64,
    number: u64,
    names: &[&'static str],
    (client, tally): (&Client, &Tally),
) -> Result<(String, String)> {
    let directory = place.join(format!("case-{number}"));
    let race = Race::new(&directory, seed, number, names)?;
    let failures = race.run(client, tally)?;
    std::fs::remove_dir_all(&directory)?;
    Ok((race.told(), failures))
}

/// One series of edits: what it was, and what was wrong.
fn edits(site: &Site, seed: u64, number: u64, (client, tally): (&Client, &Tally)) -> Result<(String, String)> {
    let mut edits = Edits::new(site, seed, number)?;
    let failures = edits.run(client, tally)?;
    edits.remove()?;
    Ok((edits.told(), failures))
}

/// Whether this kernel knows `file_system`.
fn knows(file_system: &str) -> Result<bool> {
    Ok(std::fs::read_to_string("/proc/filesystems")?.split_whitespace().any(|known| known == file_system))
}

fn read_options() -> Result<Options> {
    let mut options = Options { seed: 1, cases: 1000, first_case: 0, together: 6, world: World::Hands };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument}: lacks its value"))?;
        match argument.as_str() {
            "--seed" => options.seed = value.parse().context("--seed")?,
            "--cases" => options.cases = value.parse().context("--cases")?,
            "--first-case" => options.first_case = value.parse().context("--first-case")?,
            "--together" => options.together = value.parse().context("--together")?,
            "--world" => {
                options.world = match value.as_str() {
                    "hands" => World::Hands,
                    "seconds" => World::Seconds,
                    "two-seconds" => World::TwoSeconds,
                    "views" => World::Views,
                    _ => bail!("{value}: no world"),
                }
            }
            _ => bail!("{argument}: not an option"),
        }
    }
    Ok(options)
}
