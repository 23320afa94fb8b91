//! One that takes part in a race: what it does, and when.

use crate::compile::{Compile, Variables};
use crate::race::CONTENTS;
use anyhow::Result;
use pumphouse_tests::client::Client;
use pumphouse_tests::process::run;
use pumphouse_tests::random::Random;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The latest moment at which a hand begins or goes on.
const LONGEST_PAUSE_MS: usize = 60;

/// A hand, after which pause it begins, and how long it waits in the middle of its work.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) work: Work,
    how: How,
    pause: Duration,
    middle: Duration,
}

/// What a hand does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Runs this command.
    Compile(Compile),
    /// Changes the header in place or by a rename, and undoes it.
    EditAndUndo(Edit),
    /// Makes a header that comes first in the search, and removes it.
    HeaderForAMoment,
    /// Moves the directory of the header away, with another in its place, and back.
    DirectoryForAMoment,
    /// Writes something into an output.
    Overwrite(&'static str),
    /// Replaces an output by a rename.
    Replace(&'static str),
    /// Removes an output.
    Remove(&'static str),
}

/// How a header is changed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    InPlace,
    ByRename,
}

/// How a hand compiles.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Through a launcher.
    Launched,
    /// Through a launcher that is killed in the middle.
    Killed,
    /// With the compiler alone.
    Plainly,
}

/// The outputs that hands write.
const OUTPUTS: [&str; 4] = ["a.o", "b.o", "a.s", "a.d"];

impl Hand {
    /// The hand at `place` among all: the first one always compiles through a launcher.
    /// Its compile is under the variables that `variables` draws.
    pub(crate) fn new(place: usize, random: &mut Random, variables: &mut impl FnMut(&mut Random) -> Variables) -> Self {
        let how = match random.below(10) {
            _ if place == 0 => How::Launched,
            0..=5 => How::Launched,
            6 => How::Killed,
            _ => How::Plainly,
        };
        let work = if place == 0 || random.chance(60) {
            Work::Compile(Compile::drawn(random, variables))
        } else {
            mischief(random)
        };
        let mut pause = || Duration::from_micros((random.below(LONGEST_PAUSE_MS) * 1000 + random.below(1000)) as u64);
        Self { work, how, pause: pause(), middle: pause() }
    }

    /// Does the work in `directory`; how compiles end does not matter.
    pub(crate) fn work(&self, client: &Client, directory: &Path) -> Result<()> {
        std::thread::sleep(self.pause);
        let header = directory.join("late/h.h");
        let write = |content: &str, edit: Edit| match edit {
            Edit::InPlace => std::fs::write(&header, content),
            Edit::ByRename => {
                std::fs::write(directory.join("late/new"), content)?;
                std::fs::rename(directory.join("late/new"), &header)
            }
        };
        // Hands may come in each other's way: what can't be done was done by another.
        let _: std::io::Result<()> = match &self.work {
            Work::Compile(compile) => return self.compile(compile, client, directory),
            Work::EditAndUndo(edit) => write(CONTENTS[1], *edit).and_then(|()| {
                std::thread::sleep(self.middle);
                write(CONTENTS[0], *edit)
            }),
            Work::HeaderForAMoment => {
                let early = directory.join("early/h.h");
                std::fs::write(&early, CONTENTS[1]).and_then(|()| {
                    std::thread::sleep(self.middle);
                    std::fs::remove_file(&early)
                })
            }
            Work::DirectoryForAMoment => self.exchange_directory(directory),
            Work::Overwrite(output) => std::fs::write(directory.join(output), "overwritten"),
            Work::Replace(output) => std::fs::write(directory.join("new"), "replaced")
                .and_then(|()| std::fs::rename(directory.join("new"), directory.join(output))),
            Work::Remove(output) => std::fs::remove_file(directory.join(output)),
        };
        Ok(())
    }

    fn exchange_directory(&self, directory: &Path) -> std::io::Result<()> {
        let at = |name: &str| directory.join(name);
        std::fs::create_dir(at("other"))?;
        std::fs::write(at("other/h.h"), CONTENTS[1])?;
        std::fs::rename(at("early"), at("kept"))?;
        std::fs::rename(at("other"), at("early"))?;
        std::thread::sleep(self.middle);
        std::fs::rename(at("early"), at("other"))?;
        std::fs::rename(at("kept"), at("early"))?;
        std::fs::remove_dir_all(at("other"))
    }

    fn compile(&self, compile: &Compile, client: &Client, directory: &Path) -> Result<()> {
        match self.how {
            How::Launched => run(compile.launched(client).current_dir(directory)).map(drop),
            How::Plainly => run(compile.plainly().current_dir(directory)).map(drop),
            How::Killed => {
                let mut launcher = compile.launched(client);
                launcher.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                let mut launcher = launcher.spawn()?;
                std::thread::sleep(self.middle);
                launcher.kill()?;
                launcher.wait()?;
                Ok(())
            }
        }
    }
}

fn mischief(random: &mut Random) -> Work {
    let output = OUTPUTS[random.below(OUTPUTS.len())];
    match random.below(9) {
        0 | 1 => Work::EditAndUndo(Edit::InPlace),
        2 => Work::EditAndUndo(Edit::ByRename),
        3 | 4 => Work::HeaderForAMoment,
        5 => Work::DirectoryForAMoment,
        6 => Work::Overwrite(output),
        7 => Work::Replace(output),
        _ => Work::Remove(output),
    }
}

impl fmt::Display for Hand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "after {:?}, middle {:?}: ", self.pause, self.middle)?;
        match &self.work {
            Work::Compile(compile) => write!(formatter, "{:?} {compile}", self.how),
            work => write!(formatter, "{work:?}"),
        }
    }
}
