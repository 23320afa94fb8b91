//! Reads a `compile_commands.json`.
//!
//! **Source:** clang's "JSON Compilation Database Format Specification": an array of objects with `directory`, `file`,
//! `arguments` or `command` (a shell's line, of which quotes and backslashes are understood), and `output`.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// One command of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The working directory, absolute.
    pub(super) directory: PathBuf,
    /// The source, as written.
    pub(super) file: PathBuf,
    /// The command line, the compiler first.
    pub(super) arguments: Vec<OsString>,
}

#[derive(Deserialize)]
struct Written {
    directory: PathBuf,
    file: PathBuf,
    arguments: Option<Vec<String>>,
    command: Option<String>,
}

/// Every command of the list at `path`. A launcher of ours before the compiler is left out.
///
/// # Errors
/// Names the file, and the entry that lacks something.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>> {
    let about = || path.display().to_string();
    let size = fs::metadata(path).with_context(about)?.len();
    ensure!(size <= MAX_BYTES, "{}: {size} bytes are more than {MAX_BYTES}", path.display());
    let text = fs::read(path).with_context(about)?;
    let written: Vec<Written> = serde_json::from_slice(&text).with_context(about)?;
    let base = std::path::absolute(path.parent().unwrap_or(Path::new("")).join(".")).with_context(about)?;
    let entries = written.into_iter().enumerate();
    entries
        .map(|(index, written)| entry(written, &base).with_context(|| format!("{}: entry {index}", path.display())))
        .collect()
}

fn entry(written: Written, base: &Path) -> Result<Entry> {
    let mut arguments = match (written.arguments, written.command) {
        (Some(arguments), _) => arguments,
        (None, Some(command)) => split(&command)?,
        (None, None) => bail!("neither \"arguments\" nor \"command\""),
    };
    let is_launcher = |word: &String| Path::new(word).file_name().is_some_and(|name| name == "pumphouse");
    if arguments.first().is_some_and(is_launcher) {
        arguments.remove(0);
    }
    ensure!(!arguments.is_empty(), "the command is empty");
    Ok(Entry {
        directory: base.join(written.directory),
        file: written.file,
        arguments: arguments.into_iter().map(OsString::from).collect(),
    })
}

/// Splits a line into words as a POSIX shell does without expansions.
fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().context("a quote is not closed")? {
                        '\'' => break,
                        character => word.push(character),
                    }
                }
            }
            '"' => quoted(&mut characters, word.get_or_insert_default())?,
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What stands between double quotes: a backslash escapes only `"`, `\`, `$` and a backquote.
fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<()> {
    loop {
        match characters.next().context("a quote is not closed")? {
            '"' => return Ok(()),
            '\\' => {
                let escaped = characters.next().context("a quote is not closed")?;
                if !matches!(escaped, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(escaped);
            }
            character => word.push(character),
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like, text_like};

    #[test]
    fn lists_of_any_bytes() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("compile_commands.json");
        let list = r#"[{"directory": "/w", "file": "a.c", "command": "pumphouse gcc -c 'a b.c' -DX=\\\"x\\\""},
            {"directory": "w", "file": "b.c", "arguments": ["gcc", "-c", "b.c"], "output": "b.o"}]"#;
        check(&like(&[list]), |text| {
            std::fs::write(&path, text.as_slice()).expect("writing");
            for entry in bounded(text.len(), || read(&path)).unwrap_or_default() {
                assert!(entry.directory.is_absolute() && !entry.arguments.is_empty());
            }
        });
    }

    #[test]
    fn lines_of_any_text() {
        check(&text_like(&["gcc -c 'a b.c' \"x\\\"y\" z\\ w", "''"]), |line| {
            let words = bounded(line.len(), || split(&line)).unwrap_or_default();
            assert!(words.iter().map(String::len).sum::<usize>() <= line.len());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &[&str]) {
        assert_eq!(split(line).unwrap(), expect, "{line}");
    }

    #[test]
    fn lines_are_split_as_a_shell_does() {
        check("cc  -c\ta.c", &["cc", "-c", "a.c"]);
        check(
            r#"cc -DX=\"a\ b\" '-DY="c d"' "-DZ=\"e\" \n" ''"#,
            &["cc", r#"-DX="a b""#, r#"-DY="c d""#, r#"-DZ="e" \n"#, ""],
        );
        assert!(split("cc 'a").is_err());
        assert!(split("cc \"a").is_err());
    }

    #[test]
    fn entries_are_read_in_both_forms_and_faults_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compile_commands.json");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write(
            r#"[{"directory":"build","file":"a.c","command":"pumphouse gcc -c a.c"},
                  {"directory":"/x","file":"b.c","arguments":["gcc","-c","b.c"],"output":"b.o"}]"#,
        );
        let entries = read(&path).unwrap();
        assert_eq!(entries[0].arguments, ["gcc", "-c", "a.c"]);
        assert_eq!(entries[0].directory, directory.path().join("build"));
        assert_eq!(entries[1].directory, Path::new("/x"));
        write(r#"[{"directory":"/x","file":"b.c"}]"#);
        let message = format!("{:#}", read(&path).unwrap_err());
        assert!(message.contains("compile_commands.json: entry 0: neither"), "{message}");
    }
}
