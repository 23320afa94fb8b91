//! A command as hands run it, and what it leaves.

use anyhow::Result;
use pumphouse_tests::client::Client;
use pumphouse_tests::process::run;
use pumphouse_tests::random::Random;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// Everything that the commands write.
const OUTPUTS: [&str; 6] = ["a.o", "b.o", "a.s", "a.d", "a.dwo", "b.dwo"];

/// Variables with their values.
pub(crate) type Variables = Vec<(&'static str, &'static str)>;

/// A compiler's command line, and variables in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compile {
    words: Vec<String>,
    variables: Variables,
}

/// What a compile leaves: its exit code, what it said, its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    code: Option<i32>,
    said: String,
    outputs: BTreeMap<String, Vec<u8>>,
}

impl Compile {
    /// A command whose outputs others may have as well, under variables that `variables` draws.
    pub(crate) fn drawn(random: &mut Random, variables: &mut impl FnMut(&mut Random) -> Variables) -> Self {
        let compiler = if random.chance(75) { "gcc" } else { "clang" };
        let definition = random.pick(&["-DW=10", "-DW=20"]);
        let outputs = match random.below(10) {
            0 => "-S -o a.s",
            1 => "-S -MD -MF a.d -o a.s",
            2 => "-c -MD -MF a.d -o b.o",
            3 | 4 => "-c -MD -MF a.d -o a.o",
            5 => "-c -g -gsplit-dwarf -o a.o",
            6 => "-c -march=native -o a.o",
            _ => "-c -o a.o",
        };
        let line = format!("{compiler} -Wall {definition} -Iearly -Ilate a.c {outputs}");
        Self::new(&line, variables(random))
    }

    /// The command of the words of `line`.
    pub(crate) fn new(line: &str, variables: Variables) -> Self {
        Self { words: line.split(' ').map(str::to_owned).collect(), variables }
    }

    /// The words of the command line.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// This through a launcher.
    pub(crate) fn launched(&self, client: &Client) -> Command {
        let mut command = client.pumphouse(&self.words);
        command.envs(self.variables.iter().copied());
        command
    }

    /// The compiler alone.
    pub(crate) fn plainly(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(self.variables.iter().copied());
        command
    }
}

impl fmt::Display for Compile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(formatter, "{name}='{value}' ")?;
        }
        write!(formatter, "{}", self.words.join(" "))
    }
}

impl Left {
    /// What `command` leaves in `directory`, where nothing but `a.c` was before.
    pub(crate) fn by(command: &mut Command, directory: &Path) -> Result<Self> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name() != "a.c" && entry.metadata()?.is_file() {
                std::fs::remove_file(entry.path())?;
            }
        }
        let output = run(command)?;
        let mut outputs = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A compile that was killed may leave temporary files.
            if OUTPUTS.contains(&name.as_str()) {
                outputs.insert(name, std::fs::read(entry.path())?);
            }
        }
        Ok(Self { code: output.status.code(), said: String::from_utf8_lossy(&output.stderr).into_owned(), outputs })
    }

    /// In what `actual` differs from this.
    pub(crate) fn difference(&self, actual: &Self) -> String {
        let names: Vec<_> = self.outputs.keys().chain(actual.outputs.keys()).collect();
        let is_other = |name: &&&String| self.outputs.get(**name) != actual.outputs.get(**name);
        let names: std::collections::BTreeSet<_> = names.iter().filter(is_other).collect();
        format!(
            "code {:?}, not {:?}; wrong are {names:?}; it says {:?}, not {:?}",
            actual.code, self.code, actual.said, self.said
        )
    }
}
