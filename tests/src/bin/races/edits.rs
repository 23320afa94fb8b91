//! Edits of headers one after another, each followed at once by a compile: on disks whose time stamps are coarse, and from
//! several views of the file system in turn.
//!
//! What a compile has to give follows from which header it includes and what that says, so that the compiler itself runs once
//! for each of these, and an edit costs one launcher.

use crate::compile::{Compile, Left};
use crate::tally::Tally;
use crate::view::View;
use anyhow::{Context, Result};
use pumphouse_tests::client::Client;
use pumphouse_tests::mount::{Image, TWO_SECONDS, WHOLE_SECONDS};
use pumphouse_tests::random::Random;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many edits a case has.
const EDITS: usize = 24;

/// How many contents a header may have, all of the same length.
const CONTENTS: usize = 4;

/// Where edits take place, and from where it is compiled.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where sources are, by directories: `inc` and `other` with headers, `early` with those that come first.
    sources: PathBuf,
    /// Where outputs go.
    outputs: PathBuf,
    views: Vec<View>,
    /// A pause after which a time stamp tells of an edit, and the disk's memory may be believed.
    long_pause: Duration,
    _disk: Option<Image>,
}

impl Site {
    /// One below `place` on a disk that counts in whole seconds, or in two.
    pub(crate) fn coarse(place: &Path, seconds: u64) -> Result<Self> {
        let image = Image::new(&place.join("disk"), if seconds == 1 { WHOLE_SECONDS } else { TWO_SECONDS })?;
        let long_pause = Duration::from_millis(seconds * 1000 + 300);
        let sources = image.path().to_owned();
        Self { sources, outputs: place.join("outputs"), views: vec![View::Here], long_pause, _disk: Some(image) }.made()
    }

    /// One below `place` that is seen in three ways.
    pub(crate) fn of_views(place: &Path) -> Result<Self> {
        let sources = place.join("sources");
        let long_pause = Duration::from_millis(60);
        let mut site =
            Self { sources, outputs: place.join("outputs"), views: Vec::new(), long_pause, _disk: None }.made()?;
        let (inc, other, root) = (site.sources.join("inc"), site.sources.join("other"), place.join("root"));
        fs::create_dir(&root)?;
        site.views = vec![View::Here, View::namespace(&inc, &other)?, View::root(&root, place, &inc, &other)?];
        Ok(site)
    }

    fn made(self) -> Result<Self> {
        for directory in ["inc", "other", "early", "source"] {
            fs::create_dir_all(self.sources.join(directory))?;
        }
        fs::create_dir_all(&self.outputs)?;
        Ok(self)
    }
}

/// One source, its command, and the state of its headers.
pub(crate) struct Edits<'a> {
    site: &'a Site,
    random: Random,
    number: u64,
    compile: Compile,
    /// What the headers in `inc`, in `other` and in `early` say; the last one may be absent.
    states: [Option<usize>; 3],
    known: HashMap<(bool, usize), Left>,
    told: String,
}

const DIRECTORIES: [&str; 3] = ["inc", "other", "early"];

impl<'a> Edits<'a> {
    /// The case of `number`.
    pub(crate) fn new(site: &'a Site, seed: u64, number: u64) -> Result<Self> {
        let mut random = Random::of_case(seed, number);
        for directory in DIRECTORIES.iter().chain(&["source"]) {
            fs::create_dir_all(site.sources.join(directory).join(number.to_string()))?;
        }
        let source = site.sources.join(format!("source/{number}"));
        fs::write(source.join("a.c"), format!("#include <h.h>\nint v{number} = V;\nint f(void) {{ return V; }}\n"))?;
        let outputs = site.outputs.join(number.to_string());
        fs::create_dir_all(&outputs)?;
        let compiler = random.pick(&["gcc", "gcc", "clang"]);
        let flags = random.pick(&["-c", "-c -g", "-c -Wall -O1", "-c -MD -MF OUT/a.d"]);
        let line = format!("{compiler} {flags} -I../../early/{number} -I../../inc/{number} a.c -o OUT/a.o");
        let compile = Compile::new(&line.replace("OUT", &outputs.display().to_string()), Vec::new());
        let edits =
            Self { site, random, number, compile, states: [None; 3], known: HashMap::new(), told: String::new() };
        Ok(edits)
    }

    /// What was done, up to now.
    pub(crate) fn told(&self) -> String {
        format!("{}{}", self.compile, self.told)
    }

    /// Edits and compiles: what is wrong, or nothing.
    pub(crate) fn run(&mut self, client: &Client, tally: &Tally) -> Result<String> {
        for directory in 0..2 {
            self.write(directory, 0)?;
        }
        let mut wrong = String::new();
        for _ in 0..EDITS {
            self.edit()?;
            let long = if self.random.chance(8) { self.site.long_pause } else { Duration::ZERO };
            let short = if self.random.chance(20) { self.random.below(30) } else { 0 };
            std::thread::sleep(long + Duration::from_millis(short as u64));
            let site = self.site;
            let at = self.random.below(site.views.len());
            let view = &site.views[at];
            let _ = write!(self.told, "\n  after {long:?} and {short} ms, in view {at}");
            let expected = self.expected(view)?;
            let source = site.sources.join(format!("source/{}", self.number));
            let mut launched = view.launched(self.compile.words(), &source, client)?;
            let actual = Left::by(&mut launched, &self.outputs())?;
            tally.checked();
            if expected != actual {
                writeln!(wrong, "  in view {at}, {:?}: {}", self.states, expected.difference(&actual))?;
                break;
            }
        }
        Ok(wrong)
    }

    /// Removes the case's files.
    pub(crate) fn remove(&self) -> Result<()> {
        for directory in DIRECTORIES.iter().chain(&["source"]) {
            fs::remove_dir_all(self.site.sources.join(directory).join(self.number.to_string()))?;
        }
        Ok(fs::remove_dir_all(self.outputs())?)
    }

    fn outputs(&self) -> PathBuf {
        self.site.outputs.join(self.number.to_string())
    }

    fn header(&self, directory: usize, name: &str) -> PathBuf {
        self.site.sources.join(DIRECTORIES[directory]).join(self.number.to_string()).join(name)
    }

    fn write(&mut self, directory: usize, content: usize) -> Result<()> {
        self.states[directory] = Some(content);
        let path = self.header(directory, "h.h");
        fs::write(&path, text(content)).with_context(|| format!("writing {}", path.display()))
    }

    /// One edit of any kind, or none.
    fn edit(&mut self) -> Result<()> {
        let content = self.random.below(CONTENTS);
        // Where nothing is mounted over, nobody sees the other header.
        let seen = if self.site.views.len() > 1 { 2 } else { 1 };
        let directory = self.random.below(seen);
        let kind = self.random.below(10);
        let _ = write!(self.told, "\n  edit {kind} of {} to {content}", DIRECTORIES[directory]);
        match kind {
            0..=3 => self.write(directory, content),
            4 | 5 => {
                let (next, header) = (self.header(directory, "next.h"), self.header(directory, "h.h"));
                fs::write(&next, text(content))?;
                self.states[directory] = Some(content);
                Ok(fs::rename(next, header)?)
            }
            6 => self.write(2, content),
            7 | 8 if self.states[2].is_some() => {
                self.states[2] = None;
                Ok(fs::remove_file(self.header(2, "h.h"))?)
            }
            _ => Ok(()),
        }
    }

    /// What the compiler gives in `view` now.
    fn expected(&mut self, view: &View) -> Result<Left> {
        let of_view = self.states[usize::from(view.is_other())];
        let content = self.states[2].or(of_view).context("there is a header")?;
        let key = (self.states[2].is_some(), content);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let source = self.site.sources.join(format!("source/{}", self.number));
        let left = Left::by(&mut view.plainly(self.compile.words(), &source), &self.outputs())?;
        self.known.insert(key, left.clone());
        Ok(left)
    }
}

fn text(content: usize) -> String {
    format!("#define V {}\n", 100 + content)
}
