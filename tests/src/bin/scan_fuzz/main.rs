//! The scanner's differential fuzzer: makes trees of headers, command lines and changes to them, and compares every
//! closure with the compilers' own answers.
//!
//!     scan_fuzz --seed N --cases N [--first-world N] [--strict] [--keep DIRECTORY]
//!
//! One world is a tree at a path that all worlds share, so that a scanner that remembers too much is found out; it is
//! changed a few times, and in each state many command lines are tried, with gcc and with clang. For a sample, the output
//! and the object in a replica that holds nothing but the closure have to be those of the local run, and the answer of
//! the long-lived scanner that of a new one. A failure is minimised and printed as shell commands, with the seed and the
//! world that make it again. Surplus and refusals are counted; with `--strict` they are failures too. Exit code: 0 if nothing was wrong, 1 otherwise.

mod command_line;
mod expression;
mod judge;
mod minimise;
mod mutation;
mod tally;
mod text;
mod world;

use crate::command_line::Compiler;
use crate::judge::{Court, Depth, Wrong};
use crate::minimise::{Case, Minimiser};
use crate::random::Random;
use crate::tally::Tally;
use anyhow::{Context, Result, bail};
use pumphouse_tests::random;
use pumphouse_tests::scan_oracle::Scanner;
use pumphouse_tests::scan_oracle::compiler::Invocation;
use pumphouse_tests::scan_oracle::replica::Replica;
use pumphouse_tests::scan_oracle::tree::Tree;
use std::path::PathBuf;
use std::process::ExitCode;

/// How many states a world goes through.
const STATES: usize = 4;
/// How many command lines each compiler gets in one state.
const CASES_PER_STATE: usize = 12;
/// How many worlds one scanner sees.
const WORLDS_PER_SCANNER: u64 = 40;
/// How many failures are minimised and printed before the run ends.
const MAX_FAILURES: u64 = 8;

struct Options {
    seed: u64,
    cases: u64,
    first_world: u64,
    strict: bool,
    keep: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let options = read_options()?;
    let directory = tempfile::Builder::new().prefix("scan-fuzz-").tempdir()?;
    let root = directory.path().join("case");
    let scratch = directory.path().join("scratch");
    std::fs::create_dir_all(&root)?;
    std::fs::create_dir_all(&scratch)?;
    let replica = Replica::new(&directory.path().join("replica"), &scratch, &root)?;
    let court = Court { scratch, replica, strict: options.strict };
    let mut fuzzer = Fuzzer {
        options,
        root,
        court,
        scanner: Scanner::new(),
        tally: Tally::default(),
        on_disk: Tree::default(),
        earlier: Tree::default(),
    };
    fuzzer.run()?;
    println!("{}", fuzzer.tally);
    Ok(if fuzzer.tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_options() -> Result<Options> {
    let mut options = Options { seed: 1, cases: 1000, first_world: 0, strict: false, keep: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--strict" {
            options.strict = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("{argument}: lacks its value"))?;
        match argument.as_str() {
            "--seed" => options.seed = value.parse().context("--seed")?,
            "--cases" => options.cases = value.parse().context("--cases")?,
            "--first-world" => options.first_world = value.parse().context("--first-world")?,
            "--keep" => options.keep = Some(value.into()),
            _ => bail!("{argument}: not an option"),
        }
    }
    Ok(options)
}

struct Fuzzer {
    options: Options,
    root: PathBuf,
    court: Court,
    scanner: Scanner,
    tally: Tally,
    on_disk: Tree,
    /// The state before the one on disk.
    earlier: Tree,
}

impl Fuzzer {
    fn run(&mut self) -> Result<()> {
        for world in self.options.first_world.. {
            if self.tally.cases >= self.options.cases || self.tally.wrong >= MAX_FAILURES {
                return Ok(());
            }
            if world % WORLDS_PER_SCANNER == 0 {
                self.scanner = Scanner::new();
                // Lines on standard output are what is wrong, and the end.
                eprintln!("world {world}: {} cases so far, {} wrong", self.tally.cases, self.tally.wrong);
            }
            let mut random = Random::of_case(self.options.seed, world);
            let mut tree = world::generate(&mut random, &self.root);
            for state in 0..STATES {
                if state > 0 {
                    mutation::mutate(&mut random, &self.root, &mut tree);
                }
                self.put(&tree)?;
                self.try_state(&mut random, &tree, world)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, tree: &Tree) -> Result<()> {
        tree.write(&self.root, &self.on_disk)?;
        self.earlier = std::mem::replace(&mut self.on_disk, tree.clone());
        Ok(())
    }

    fn try_state(&mut self, random: &mut Random, tree: &Tree, world: u64) -> Result<()> {
        for compiler in [Compiler::Gcc, Compiler::Clang] {
            let invocations: Vec<Invocation> =
                (0..CASES_PER_STATE).map(|_| command_line::generate(random, &self.root, compiler)).collect();
            let lists = if compiler == Compiler::Clang {
                judge::clang_lists(&invocations, &self.court.scratch)?
            } else {
                vec![None; invocations.len()]
            };
            for (invocation, list) in invocations.iter().zip(lists) {
                let depth = Depth { replica: random.chance(8), object: random.chance(4), fresh: random.chance(5) };
                if self.tally.wrong >= MAX_FAILURES {
                    return Ok(());
                }
                self.tally.cases += 1;
                let in_batch = judge::fits_batch(invocation, compiler);
                if in_batch && list.is_none() {
                    // Clang rejects it: only its messages in the replica can be compared.
                    self.tally.failing += 1;
                    if !depth.replica {
                        continue;
                    }
                }
                let list = if in_batch { list } else { None };
                let mut wrong = self.court.judge(&self.scanner, invocation, list.as_deref(), depth, &mut self.tally)?;
                if in_batch && matches!(wrong, Some(Wrong::Misses(_))) {
                    // The batch also lists what clang read before an error; clang itself decides.
                    wrong = self.court.judge(&self.scanner, invocation, None, depth, &mut self.tally)?;
                }
                if let Some(wrong) = wrong {
                    self.report(&wrong, tree, invocation, world)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a failure small and prints it.
    fn report(&mut self, wrong: &Wrong, tree: &Tree, invocation: &Invocation, world: u64) -> Result<()> {
        let mut minimiser =
            Minimiser { court: &self.court, root: &self.root, on_disk: self.on_disk.clone(), attempts: 0 };
        let mut case = Case { before: None, tree: tree.clone(), invocation: invocation.clone() };
        let mut kind = wrong.clone();
        let again = minimiser.judge(&case)?;
        if again.as_ref().is_none_or(|again| !again.is_like(wrong)) {
            // Not from nothing, so it takes memory: what the state before left behind, if that is enough.
            case.before = Some(self.earlier.clone());
            kind = Wrong::Stale(String::new());
        }
        if case.before.is_none() && matches!(wrong, Wrong::Surplus(_)) && !self.court.strict {
            return Ok(());
        }
        self.tally.wrong += 1;
        println!("== seed {} world {world}: {wrong}", self.options.seed);
        let (case, is_small) = match minimiser.judge(&case)? {
            Some(found) if found.is_like(&kind) => (minimiser.minimise(case, &kind)?, true),
            _ => (case, false),
        };
        if let Some(found) = minimiser.judge(&case)? {
            println!("   minimised: {found}");
        }
        let before =
            case.before.as_ref().map(|tree| format!("# the tree that the scanner saw before\n{}", tree.to_shell()));
        let text = format!(
            "{}# in {}\n{}{}\n",
            before.unwrap_or_default(),
            self.root.display(),
            case.tree.to_shell(),
            case.invocation.to_shell("-E -M")
        );
        if is_small {
            println!("{text}");
        } else {
            let path =
                std::env::temp_dir().join(format!("scan-fuzz-{}-{world}-{}.sh", self.options.seed, self.tally.wrong));
            std::fs::write(&path, text)?;
            println!("   not again from nothing or from the state before; whole in {}", path.display());
        }
        if let Some(keep) = &self.options.keep {
            case.tree.write(keep, &Tree::default())?;
        }
        let on_disk = minimiser.on_disk.clone();
        tree.write(&self.root, &on_disk)?;
        self.on_disk = tree.clone();
        Ok(())
    }
}
