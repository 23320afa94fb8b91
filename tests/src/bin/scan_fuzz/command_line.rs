//! Writes command lines: search paths with duplicates, links and absent directories, forced includes, macros, standards.

use crate::random::Random;
use crate::world::{DIRECTORIES, HEADERS, SOURCES};
use pumphouse_tests::scan_oracle::compiler::Invocation;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The compilers that cases are made for: gcc's driver and clang's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    Gcc,
    Clang,
}

impl Compiler {
    /// The driver for a source of this name.
    pub(crate) fn path(self, is_cxx: bool) -> PathBuf {
        match (self, is_cxx) {
            (Self::Gcc, false) => "/usr/bin/gcc",
            (Self::Gcc, true) => "/usr/bin/g++",
            (Self::Clang, false) => "/usr/bin/clang",
            (Self::Clang, true) => "/usr/bin/clang++",
        }
        .into()
    }
}

/// A directory as someone might write it, relative to `up`, which leads to the tree's root.
fn directory(random: &mut Random, up: &str, root: &Path) -> String {
    let special = ["la", "lsub", "a/up/b", "empty", "absent", "lroot/a", "lsub/..", "gen/lb/sub", "response", "."];
    let name = if random.chance(22) { random.pick(&special) } else { random.pick(DIRECTORIES) };
    match random.below(9) {
        0 => format!("{}/{name}", root.display()),
        1 => format!("{up}{name}/"),
        2 => format!("{up}./{name}"),
        3 => format!("{up}a/../{name}"),
        _ => format!("{up}{name}"),
    }
}

/// One case's command line for a tree at `root`.
pub(crate) fn generate(random: &mut Random, root: &Path, compiler: Compiler) -> Invocation {
    let source = random.pick(SOURCES);
    let (working, up) =
        *random.pick(&[&("", ""), &("", ""), &("build", "../"), &("src", "../"), &("lroot", ""), &("a/sub", "../../")]);
    // A link that a mutation has removed can't be worked in.
    let working = if root.join(working).is_dir() { (working, up) } else { ("", "") };
    let (working, up) = working;
    let is_cxx_source = Path::new(source).extension().is_some_and(|extension| extension == "cc");
    let is_cxx_driver = random.chance(25) || is_cxx_source;
    let mut line = Line { random, root, up, compiler, arguments: Vec::new() };
    line.language(source, is_cxx_driver);
    for _ in 0..line.random.below(6) {
        line.search();
    }
    for _ in 0..line.random.below(3) {
        line.rare();
    }
    if line.random.chance(92) {
        let option = *line.random.pick(&[&"-I", &"-I", &"-isystem", &"-idirafter"]);
        line.operand(option, format!("{up}base"));
    }
    if line.random.chance(92) {
        // `#include_next` needs a directory after the one that it stands in.
        line.operand("-idirafter", format!("{up}empty"));
    }
    let named = if line.random.chance(10) { format!("{}/{source}", root.display()) } else { format!("{up}{source}") };
    let mut arguments = line.arguments;
    let position = if random.chance(50) { arguments.len() } else { 0 };
    // `-x` has to stand before the source that it concerns.
    let position = if arguments.iter().any(|argument| argument == "-x") { arguments.len() } else { position };
    arguments.insert(position, named);
    Invocation {
        compiler: compiler.path(is_cxx_driver),
        arguments: arguments.into_iter().map(OsString::from).collect(),
        environment: environment(random, up),
        directory: if working.is_empty() { root.to_owned() } else { root.join(working) },
    }
}

fn environment(random: &mut Random, up: &str) -> Vec<(OsString, OsString)> {
    if !random.chance(6) {
        return Vec::new();
    }
    let name = random.pick(&["CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"]);
    let value = random.pick(&["b", "a:", ":c d", "absent:b/sub", "lsub"]);
    let value: Vec<String> =
        value.split(':').map(|part| if part.is_empty() { String::new() } else { format!("{up}{part}") }).collect();
    vec![(name.into(), value.join(":").into())]
}

struct Line<'a> {
    random: &'a mut Random,
    root: &'a Path,
    up: &'a str,
    compiler: Compiler,
    arguments: Vec<String>,
}

impl Line<'_> {
    fn operand(&mut self, option: &str, operand: String) {
        if self.random.chance(50) {
            self.arguments.push(format!("{option}{operand}"));
        } else {
            self.arguments.extend([option.to_owned(), operand]);
        }
    }

    fn language(&mut self, source: &str, is_cxx_driver: bool) {
        let is_c = Path::new(source).extension().is_some_and(|extension| extension == "c");
        let is_cxx = is_cxx_driver && Path::new(source).extension().is_none_or(|extension| extension != "S");
        let standards: &[&str] = match (is_c && !is_cxx, is_cxx) {
            (true, _) => &["-std=gnu17", "-std=c99", "-std=c2x", "-ansi"],
            (_, true) => &["-std=gnu++17", "-std=c++11", "-std=c++20"],
            _ => &[],
        };
        if !standards.is_empty() && self.random.chance(35) {
            let standard = self.random.pick(standards);
            self.arguments.push(standard.to_owned());
        } else if is_c && !is_cxx && self.random.chance(6) {
            self.arguments.extend(["-x".to_owned(), "c++".to_owned()]);
        }
        if self.random.chance(10) {
            self.arguments.push("-O2".to_owned());
        }
    }

    fn search(&mut self) {
        let path = directory(self.random, self.up, self.root);
        match self.random.below(13) {
            0..6 => self.operand("-I", path),
            6 | 7 => self.operand("-iquote", path),
            8 | 9 => self.operand("-isystem", path),
            10 => self.operand("-idirafter", path),
            11 => {
                let spelling = self.random.pick(&["--include-directory=", "-Wp,-I,", "-Wp,-I"]);
                self.arguments.push(format!("{spelling}{path}"));
            }
            _ => self.arguments.extend(["-Xpreprocessor".to_owned(), format!("-I{path}")]),
        }
    }

    fn rare(&mut self) {
        let header = self.random.pick(HEADERS);
        let up = self.up;
        let choice = self.random.below(17);
        if choice < 3 && self.random.chance(90) {
            self.arguments.extend(["-include".to_owned(), format!("{up}base/prelude.h")]);
        }
        match choice {
            0 => self.operand("-include", format!("{up}base/{header}")),
            1 => self.arguments.extend(["-include".to_owned(), (*header).to_owned()]),
            2 => self.arguments.extend(["-imacros".to_owned(), (*header).to_owned()]),
            3 | 4 => {
                let definition =
                    self.random.pick(&["M1", "M2=2", "M3=", "F0(x)=x+1", "M4=M5", "P0=\"h1.h\"", "M0=defined(M1)"]);
                self.operand("-D", definition.to_owned());
            }
            5 => self.operand("-U", "M1".to_owned()),
            6 => self.arguments.push("-undef".to_owned()),
            7 => self.arguments.push("-trigraphs".to_owned()),
            8 => self.arguments.push("-nostdinc".to_owned()),
            9 if self.compiler == Compiler::Gcc => self.arguments.push("-I-".to_owned()),
            10 => {
                self.arguments.extend(["-iprefix".to_owned(), format!("{up}a")]);
                let option = self.random.pick(&["-iwithprefix", "-iwithprefixbefore"]);
                self.arguments.extend([option.to_owned(), "/sub".to_owned()]);
            }
            11 if up.is_empty() => self.arguments.push("@response".to_owned()),
            12 => self.arguments.push("-Wmissing-include-dirs".to_owned()),
            13 => {
                let root = self.root.display().to_string();
                self.arguments.extend(["-isysroot".to_owned(), root, "-I=/b".to_owned()]);
            }
            14 => self.operand("-B", format!("{up}deep")),
            // gcc draws a random number for each of these.
            15 => self.arguments.push(self.random.pick(&["-flto", "-fprofile-generate"]).to_owned()),
            _ => self.arguments.push("-D__has_thing(x)=x".to_owned()),
        }
    }
}
