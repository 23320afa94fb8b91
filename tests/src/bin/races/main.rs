//! Races on outputs and inputs: launchers, plain compilers, edits and kills with random timing, and then the question
//! whether each command, run alone, gives its own object.
//!
//!     races --seed N --cases N [--first-case N]
//!
//! A case is a source of its own with two headers' directories and two contents of the header. Two to four hands are at work
//! at once: some compile, with commands that may share outputs, others edit and undo, write into the output, or kill a
//! launcher. Afterwards every command is run with every content of the header, through the same client and plainly, and
//! all that is left has to be equal. A failure is told with its case and its hands. Exit code: 0 if nothing was wrong.
//!
//! Timing is random, so a case that was wrong once may be right when it is made again.

mod hand;

use crate::hand::{Hand, Work};
use anyhow::{Context, Result, bail};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::random::Random;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

/// What the header may say: equally long, so that a size tells nothing.
const CONTENTS: [&str; 2] = ["#define V 1\n", "#define V 2\n"];

/// Everything that the commands write.
const OUTPUTS: [&str; 6] = ["a.o", "b.o", "a.s", "a.d", "a.dwo", "b.dwo"];

/// How old a file must be for its time stamp to tell the next change, with a margin.
const SETTLING_TIME: Duration = Duration::from_millis(60);

/// How many wrong cases are told before the run ends.
const MAX_FAILURES: u64 = 8;

struct Options {
    seed: u64,
    cases: u64,
    first_case: u64,
}

#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    checks: u64,
    wrong: u64,
}

fn main() -> Result<ExitCode> {
    let options = read_options()?;
    let directory = tempfile::Builder::new().prefix("races-").tempdir()?;
    let client = Client::new(&directory.path().join("client"), None)?;
    let mut tally = Tally::default();
    for number in options.first_case..options.first_case + options.cases {
        let case = Case::new(&directory.path().join(format!("case-{number}")), options.seed, number)?;
        let failures = case.run(&client, &mut tally)?;
        tally.cases += 1;
        if !failures.is_empty() {
            tally.wrong += 1;
            println!("case {number} of seed {}: {}\n{failures}", options.seed, case.told());
        }
        std::fs::remove_dir_all(&case.directory)?;
        if tally.wrong >= MAX_FAILURES {
            break;
        }
        if tally.cases % 100 == 0 {
            eprintln!("{} races so far, {} wrong", tally.cases, tally.wrong);
        }
    }
    let stats = client.stats()?;
    println!(
        "{} races, {} checks, {} wrong; {} compiles, {} hits, waiting for equal compiles {:.0} ms in all",
        tally.cases,
        tally.checks,
        tally.wrong,
        stats.compiles,
        stats.hits(),
        stats.stage_ms.get("follow").copied().unwrap_or_default()
    );
    Ok(if tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_options() -> Result<Options> {
    let mut options = Options { seed: 1, cases: 1000, first_case: 0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument}: lacks its value"))?;
        match argument.as_str() {
            "--seed" => options.seed = value.parse().context("--seed")?,
            "--cases" => options.cases = value.parse().context("--cases")?,
            "--first-case" => options.first_case = value.parse().context("--first-case")?,
            _ => bail!("{argument}: not an option"),
        }
    }
    Ok(options)
}

/// One race, and the directory in which it takes place.
struct Case {
    directory: PathBuf,
    hands: Vec<Hand>,
}

impl Case {
    fn new(directory: &Path, seed: u64, number: u64) -> Result<Self> {
        let mut random = Random::new(seed, number);
        for part in ["early", "late"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        let mut source = format!("#include <h.h>\nint v{number} = V + W;\n");
        for function in 0..20 << random.below(5) {
            writeln!(source, "int f{number}_{function}(int a) {{ return a * {function} + V; }}")?;
        }
        std::fs::write(directory.join("a.c"), source)?;
        std::fs::write(directory.join("late/h.h"), CONTENTS[0])?;
        let hands = (0..2 + random.below(3)).map(|place| Hand::new(place, &mut random)).collect();
        Ok(Self { directory: directory.to_owned(), hands })
    }

    /// What every hand does.
    fn told(&self) -> String {
        let mut told = String::new();
        for hand in &self.hands {
            let _ = write!(told, "\n  {hand}");
        }
        told
    }

    /// Has the race take place, and then looks at what each command gives: what is wrong, or nothing.
    fn run(&self, client: &Client, tally: &mut Tally) -> Result<String> {
        self.settle()?;
        std::thread::scope(|scope| {
            let works: Vec<_> =
                self.hands.iter().map(|hand| scope.spawn(|| hand.work(client, &self.directory))).collect();
            works.into_iter().try_for_each(|work| work.join().map_err(|_| anyhow::anyhow!("a hand panicked"))?)
        })?;
        self.clear_up()?;
        let mut wrong = String::new();
        for content in CONTENTS {
            std::fs::write(self.directory.join("late/h.h"), content)?;
            self.settle()?;
            for hand in &self.hands {
                let Work::Compile(command) = &hand.work else { continue };
                let expected = self.outputs(Command::new(&command[0]).args(&command[1..]))?;
                let actual = self.outputs(&mut client.pumphouse(command))?;
                tally.checks += 1;
                if expected != actual {
                    let names: Vec<_> =
                        expected.keys().filter(|name| expected.get(*name) != actual.get(*name)).collect();
                    writeln!(wrong, "  {} with {content:?}: wrong are {names:?}", command.join(" "))?;
                }
            }
        }
        Ok(wrong)
    }

    /// Puts the directories back that hands may have left anywhere, where they came in each other's way.
    fn clear_up(&self) -> Result<()> {
        for part in ["early", "kept", "other"] {
            let path = self.directory.join(part);
            if path.exists() {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(std::fs::create_dir(self.directory.join("early"))?)
    }

    /// What a command leaves where none of its outputs was.
    fn outputs(&self, command: &mut Command) -> Result<BTreeMap<String, Vec<u8>>> {
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name() != "a.c" && entry.metadata()?.is_file() {
                std::fs::remove_file(entry.path())?;
            }
        }
        succeed(command.current_dir(&self.directory))?;
        let mut outputs = BTreeMap::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A compile that was killed may leave temporary files.
            if OUTPUTS.contains(&name.as_str()) {
                outputs.insert(name, std::fs::read(entry.path())?);
            }
        }
        Ok(outputs)
    }

    /// Waits until time stamps tell of the next change.
    fn settle(&self) -> Result<()> {
        for path in ["a.c", "late/h.h", "late", "early"] {
            loop {
                let changed = std::fs::metadata(self.directory.join(path))?.modified()?;
                let age = SystemTime::now().duration_since(changed).unwrap_or_default();
                let Some(rest) = SETTLING_TIME.checked_sub(age) else { break };
                std::thread::sleep(rest);
            }
        }
        Ok(())
    }
}

/// Runs a command of which it does not matter how it ends.
fn try_to_run(command: &mut Command) -> Result<()> {
    run(command).map(drop)
}
