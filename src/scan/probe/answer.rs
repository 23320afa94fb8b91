//! What the compiler's answer means.

use crate::command::Family;
use crate::compiler::answer::{FrontEnd, SearchPath, option_files};
use crate::compiler::process::Answer as Said;
use crate::scan::preprocess::tokens::{TokenModes, name_length};
use crate::scan::probe::question;
use std::path::{Path, PathBuf};

use crate::files::as_path;

/// An answer as it was given, and what was asked later.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Transcript {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) standard_output: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) standard_error: Vec<u8>,
    /// What else it depends on.
    #[prost(message, repeated, tag = "3")]
    pub(super) sights: Vec<KeptSight>,
    #[prost(message, repeated, tag = "4")]
    pub(super) features: Vec<Feature>,
    /// The digest of what stood there.
    #[prost(string, tag = "5")]
    pub(super) seen: String,
}

/// A path, and the number of the role in which it is looked at again.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeptSight {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(super) role: u32,
}

/// What is known of a feature.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Feature {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) question: Vec<u8>,
    /// Nothing where the compiler refuses the question.
    #[prost(uint64, optional, tag = "2")]
    pub(super) value: Option<u64>,
}

/// Questions about features, and their values; nothing where the compiler refuses one.
pub(super) type Values = Vec<(Vec<u8>, Option<u64>)>;

/// A first answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Names with the operand of their `#define`, in order; `None` where one is undefined again.
    pub(super) macros: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(super) builtins: Vec<Vec<u8>>,
    pub(super) directories: Vec<Vec<u8>>,
    pub(super) driver_directories: Vec<Vec<u8>>,
    pub(super) standard_directories: Vec<Vec<u8>>,
    pub(super) missing: Vec<Vec<u8>>,
    /// Files of the compiler's resource directory that every compile reads.
    pub(super) resources: Vec<Vec<u8>>,
    /// The program that the driver runs.
    pub(super) front_end: Option<PathBuf>,
    /// Whether the driver read a configuration file.
    pub(super) is_configured: bool,
    pub(super) preinclude: bool,
    pub(super) has_va_opt: bool,
    pub(super) traits: Traits,
    pub(super) features: Values,
}

/// Where the compiler looks, as it says itself: the program that the driver runs, directories, and files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    front_end: Option<PathBuf>,
    lists: [Vec<Vec<u8>>; 5],
    is_configured: bool,
}

impl Transcript {
    /// What a program said.
    pub(super) fn of(said: Said) -> Self {
        Self { standard_output: said.standard_output, standard_error: said.standard_error, ..Self::default() }
    }
}

/// How the compiler reads a source.
#[expect(clippy::struct_excessive_bools, reason = "independent traits of a language")]
#[derive(Debug, Default)]
pub(super) struct Traits {
    pub(super) elifdef: bool,
    pub(super) digraphs: bool,
    pub(super) no_line_comments: bool,
    pub(super) digit_separators: bool,
    pub(super) raw_strings: bool,
    pub(super) trigraphs: bool,
    pub(super) no_dollars: bool,
    pub(super) ascii: bool,
    pub(super) lone_comma: bool,
}

impl Traits {
    fn note(&mut self, name: &[u8]) {
        match name {
            b"elifdef" => self.elifdef = true,
            b"digraphs" => self.digraphs = true,
            b"digit-separators" => self.digit_separators = true,
            b"raw-strings" => self.raw_strings = true,
            b"trigraphs" => self.trigraphs = true,
            b"ascii" => self.ascii = true,
            // The comma stayed where the arguments behind it are missing.
            _ if name.starts_with(b"lone-comma") => self.lone_comma = name.ends_with(b","),
            // The macro before the dollar was expanded.
            _ if name.starts_with(b"no-dollars") => self.no_dollars = true,
            // What is left of it is the slash before the comment.
            _ => self.no_line_comments |= name.ends_with(b"no-line-comments"),
        }
    }
}

impl Answer {
    /// Where the compiler looks.
    pub(super) fn places(&self) -> Places {
        let lists =
            [&self.directories, &self.driver_directories, &self.standard_directories, &self.missing, &self.resources];
        Places { front_end: self.front_end.clone(), lists: lists.map(Clone::clone), is_configured: self.is_configured }
    }

    /// Reads an answer to [`question::first`]; `None` where it is none. Of a driver that read a configuration file, that
    /// alone is an answer: what the file includes may be missing without the directories of the command line.
    pub(super) fn parse(transcript: &Transcript, family: Family) -> Option<Self> {
        let mut answer = Self::default();
        let is_whole = answer.read_errors(&transcript.standard_error, family).is_some()
            && answer.read_output(&transcript.standard_output).is_some();
        if !is_whole && !answer.is_configured {
            return None;
        }
        answer.features = features(&transcript.standard_output, &question::common_features());
        let later = transcript.features.iter().map(|feature| (feature.question.clone(), feature.value));
        answer.features.extend(later);
        Some(answer)
    }

    /// The body of the macro `name`.
    pub(super) fn value_of(&self, name: &[u8]) -> Option<&[u8]> {
        let (_, definition) = self.macros.iter().rev().find(|(known, _)| known == name)?;
        definition.as_deref().map(|text| text[name.len()..].trim_ascii_start())
    }

    /// Whether each directory that it names, from `working_directory`, exists, and each that it misses doesn't: for an answer
    /// of another day.
    pub(super) fn directories_stand(&self, working_directory: &Path) -> bool {
        let exists = |directory: &Vec<u8>| working_directory.join(as_path(directory)).is_dir();
        self.directories.iter().all(exists) && !self.missing.iter().any(exists)
    }

    fn read_output(&mut self, output: &[u8]) -> Option<()> {
        let mut is_predefined = false;
        let mut is_complete = false;
        for line in output.split(|byte| *byte == b'\n') {
            if let Some(define) = line.strip_prefix(b"#define ") {
                if is_predefined {
                    self.macros
                        .push((define[..name_length(define, TokenModes::default())].to_vec(), Some(define.to_vec())));
                }
            } else if let Some(name) = line.strip_prefix(b"#undef ") {
                if is_predefined {
                    self.macros.push((name.trim_ascii().to_vec(), None));
                }
            } else if let Some(file) = line_marker(line) {
                is_predefined = matches!(file, b"<built-in>" | b"<command-line>" | b"<command line>");
                self.preinclude |= file.ends_with(b"/stdc-predef.h");
            } else if let Some(index) = line.strip_prefix(b"PUMPHOUSE_BUILTIN ") {
                let index: usize = std::str::from_utf8(index.trim_ascii()).ok()?.parse().ok()?;
                self.builtins.push(question::BUILTINS.get(index)?.as_bytes().to_vec());
            } else if let Some(expansion) = line.strip_prefix(b"PUMPHOUSE_VA_OPT ") {
                self.has_va_opt = expansion.trim_ascii() == b"supported";
            } else if let Some(name) = line.strip_prefix(b"PUMPHOUSE_TRAIT ") {
                self.traits.note(name.trim_ascii());
            } else if line.starts_with(b"PUMPHOUSE_END") {
                is_complete = true;
            }
        }
        is_complete.then_some(())
    }

    fn read_errors(&mut self, errors: &[u8], family: Family) -> Option<()> {
        let path = SearchPath::read(errors);
        let front_end = FrontEnd::read(errors);
        self.is_configured = option_files(errors).next().is_some();
        self.front_end = front_end.program;
        self.resources = front_end.resources;
        if family == Family::Gcc {
            self.driver_directories = front_end.driver_directories;
        }
        self.directories = [path.quoted, path.bracketed].concat();
        self.missing = path.missing;
        let leading =
            self.directories.iter().zip(&self.driver_directories).take_while(|(listed, given)| listed == given).count();
        self.standard_directories = self.directories[leading..].to_vec();
        self.standard_directories.retain(|directory| !self.driver_directories.contains(directory));
        path.is_whole.then_some(())
    }
}

/// The file of `# 1 "file" …`.
fn line_marker(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"# ")?;
    let open = memchr::memchr(b'"', rest)?;
    let close = memchr::memrchr(b'"', rest).filter(|close| *close > open)?;
    Some(&rest[open + 1..close])
}

/// The values of `questions` in the answer to [`question::about`] them; `None` for those that it leaves open.
pub(super) fn features(output: &[u8], questions: &[Vec<u8>]) -> Values {
    let mut values = vec![None; questions.len()];
    for line in output.split(|byte| *byte == b'\n') {
        let Some(rest) = line.strip_prefix(b"PUMPHOUSE_FEATURE ") else { continue };
        let Ok(rest) = std::str::from_utf8(rest) else { continue };
        if let [index, value] = rest.split_ascii_whitespace().collect::<Vec<_>>()[..]
            && let Some(slot) = index.parse().ok().and_then(|index: usize| values.get_mut(index))
        {
            *slot = value.trim_end_matches('L').parse().ok();
        }
    }
    questions.iter().cloned().zip(values).collect()
}
