//! Races on outputs and inputs: several hands at work at once, and then the question whether each command, run alone, gives
//! what its compiler gives.

use crate::compile::{Compile, Left};
use crate::hand::{Hand, Work};
use crate::tally::Tally;
use anyhow::Result;
use pumphouse_tests::client::Client;
use pumphouse_tests::environments;
use pumphouse_tests::random::Random;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What the header may say: equally long, so that a size tells nothing.
pub(crate) const CONTENTS: [&str; 2] = ["#define V 1\n", "#define V 2\n"];

/// How old a file must be for its time stamp to tell the next change, with a margin.
const SETTLING_TIME: Duration = Duration::from_millis(60);

/// One race, and the directory in which it takes place.
pub(crate) struct Race {
    directory: PathBuf,
    hands: Vec<Hand>,
}

impl Race {
    /// The race of `number`, in `directory`, which is made. Its compiles have variables out of `names`.
    pub(crate) fn new(directory: &Path, seed: u64, number: u64, names: &[&'static str]) -> Result<Self> {
        let mut random = Random::of_case(seed, number);
        for part in ["early", "late"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        let mut source = format!("#include <h.h>\nint v{number} = V + W;\nstatic int unused{number} = V;\n");
        // Compiles take from a moment to as long as hands pause.
        for function in 0..20 << random.below(5) {
            writeln!(source, "int f{number}_{function}(int a) {{ return a * {function} + V; }}")?;
        }
        std::fs::write(directory.join("a.c"), source)?;
        std::fs::write(directory.join("late/h.h"), CONTENTS[0])?;
        // Hands that work under the same variables have more to race for.
        let common = if random.chance(40) { environments::draw(&mut random, names, 3) } else { Vec::new() };
        let mut variables = |random: &mut Random| {
            if random.chance(15) { environments::draw(random, names, 3) } else { common.clone() }
        };
        let mut hands: Vec<Hand> =
            (0..2 + random.below(3)).map(|place| Hand::new(place, &mut random, &mut variables)).collect();
        if random.chance(35) {
            // Equal compiles at the same time are one run.
            let first = hands[0].work.clone();
            hands
                .iter_mut()
                .filter(|hand| matches!(hand.work, Work::Compile(_)))
                .for_each(|hand| hand.work = first.clone());
        }
        Ok(Self { directory: directory.to_owned(), hands })
    }

    /// What every hand does.
    pub(crate) fn told(&self) -> String {
        let mut told = String::new();
        for hand in &self.hands {
            let _ = write!(told, "\n  {hand}");
        }
        told
    }

    /// Has the race take place, and then looks at what each command gives: what is wrong, or nothing.
    pub(crate) fn run(&self, client: &Client, tally: &Tally) -> Result<String> {
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
            for compile in self.compiles() {
                let plainly = || Left::by(compile.plainly().current_dir(&self.directory), &self.directory);
                let expected = plainly()?;
                let actual = Left::by(compile.launched(client).current_dir(&self.directory), &self.directory)?;
                tally.checked();
                if expected == actual {
                    continue;
                }
                // Some variables have compilers print times and addresses.
                if plainly()? == expected {
                    writeln!(wrong, "  {compile} with {content:?}: {}", expected.difference(&actual))?;
                } else {
                    tally.differed_plainly();
                }
            }
        }
        Ok(wrong)
    }

    /// The commands, each once.
    fn compiles(&self) -> Vec<&Compile> {
        let mut compiles = Vec::new();
        for hand in &self.hands {
            if let Work::Compile(compile) = &hand.work
                && !compiles.contains(&compile)
            {
                compiles.push(compile);
            }
        }
        compiles
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
