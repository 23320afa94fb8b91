//! What the compiler's own preprocessor says that it reads: `--verify`, `--exact_analysis` and `.d_exact`.
//!
//! The compile's command line runs with `-M` in the place of what it would make. What that prints is a rule for make,
//! which is taken apart.
//!
//! **Source:** gcc's manual, "Preprocessor Options".

use crate::command::Command;
use crate::fallback::{Fallback, Reason};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Flags of the dependency file and of the kind of output that have an operand of their own.
const WITH_OPERAND: [&[u8]; 4] = [b"-MF", b"-MT", b"-MQ", b"-o"];
/// And those that have none.
const WITHOUT_OPERAND: [&[u8]; 7] = [b"-c", b"-S", b"-MD", b"-MMD", b"-MP", b"-MG", b"-save-temps"];
/// How much of what the compiler says of an error is repeated, in bytes.
const MAX_MESSAGE_BYTES: usize = 2000;

/// The files that the compile of `command` includes, free of symbolic links, the compiler's own among them. Runs the
/// compiler's preprocessor.
///
/// # Errors
/// [`Reason::Compiler`] where the preprocessor can't be run or fails.
pub(super) fn dependencies(command: &Command) -> Result<BTreeSet<PathBuf>, Fallback> {
    let arguments = arguments(&command.arguments);
    let output = std::process::Command::new(&command.compiler)
        .args(&arguments)
        .args(["-M", "-MT", "x"])
        .current_dir(&command.working_directory)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        Fallback::new(Reason::Compiler, format!("couldn't execute '{}': {error}", command.compiler.display()))
    })?;
    if !output.status.success() {
        let said = &output.stderr[..output.stderr.len().min(MAX_MESSAGE_BYTES)];
        let said = String::from_utf8_lossy(said).trim_end().to_owned();
        let detail = format!("the preprocessor of '{}': {}: {said}", command.compiler.display(), output.status);
        return Err(Fallback::new(Reason::Compiler, detail));
    }
    let listed = prerequisites(&output.stdout);
    let paths = listed.iter().map(|name| command.working_directory.join(name));
    Ok(paths.map(|path| path.canonicalize().unwrap_or(path)).collect())
}

/// The arguments without those that say what is made.
fn arguments(written: &[OsString]) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut at = written.iter();
    while let Some(argument) = at.next() {
        let bytes = argument.as_bytes();
        if WITH_OPERAND.contains(&bytes) {
            at.next();
        } else if !WITHOUT_OPERAND.contains(&bytes) && !WITH_OPERAND.iter().any(|flag| bytes.starts_with(flag)) {
            arguments.push(without_dependency_file(argument));
        }
    }
    arguments
}

/// `-Wp,-MD,file` writes a dependency file as well.
fn without_dependency_file(argument: &OsStr) -> OsString {
    let Some(options) = argument.as_bytes().strip_prefix(b"-Wp,") else { return argument.to_owned() };
    let mut kept = b"-Wp".to_vec();
    let mut options = options.split(|byte| *byte == b',');
    while let Some(option) = options.next() {
        match option {
            b"-MD" | b"-MMD" | b"-MF" | b"-MT" | b"-MQ" => {
                options.next();
            }
            b"-MP" | b"-MG" => {}
            _ => {
                kept.push(b',');
                kept.extend_from_slice(option);
            }
        }
    }
    if kept == b"-Wp" {
        // An empty flag is an error, this one changes nothing.
        kept = b"-Wp,-MP".to_vec();
    }
    OsString::from_vec(kept)
}

/// The prerequisites of the rule that `-M` prints.
fn prerequisites(rule: &[u8]) -> Vec<PathBuf> {
    let start = memchr::memchr(b':', rule).map_or(rule.len(), |colon| colon + 1);
    let mut names = Vec::new();
    let mut name = Vec::new();
    let mut bytes = rule[start..].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (b'\\', Some(b'\n')) => {
                bytes.next();
                finish(&mut names, &mut name);
            }
            (b'\\', Some(escaped @ (b' ' | b'#' | b'\\' | b'\t'))) => {
                bytes.next();
                name.push(escaped);
            }
            (b'$', Some(b'$')) => {
                bytes.next();
                name.push(b'$');
            }
            (b' ' | b'\n' | b'\t', _) => finish(&mut names, &mut name),
            _ => name.push(byte),
        }
    }
    finish(&mut names, &mut name);
    names
}

fn finish(names: &mut Vec<PathBuf>, name: &mut Vec<u8>) {
    if !name.is_empty() {
        names.push(PathBuf::from(OsString::from_vec(std::mem::take(name))));
    }
}

/// The name of a file beside the compile's output: `.d_approx` for `-o x/a.o` is `x/a.d_approx`.
pub(super) fn beside_output(command: &Command, suffix: &str) -> PathBuf {
    let output = command.working_directory.join(&command.outputs.object);
    let bytes = output.as_os_str().as_bytes();
    let mut name = bytes.strip_suffix(b".o").unwrap_or(bytes).to_vec();
    name.extend_from_slice(suffix.as_bytes());
    PathBuf::from(OsString::from_vec(name))
}

/// Writes `paths` to `file`, a line each.
///
/// # Errors
/// [`Reason::Unreadable`] with the file, where it can't be written.
pub(super) fn write_list<'a>(file: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<(), Fallback> {
    let mut text = Vec::new();
    for path in paths {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    std::fs::write(file, text)
        .map_err(|error| Fallback::new(Reason::Unreadable, format!("writing {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |rule: &str, expect: &[&str]| {
            assert_eq!(prerequisites(rule.as_bytes()), expect.iter().map(PathBuf::from).collect::<Vec<_>>(), "{rule}");
        };
        check("x: a.c b.h \\\n c\\ d.h e$$f.h g\\#h.h\n", &["a.c", "b.h", "c d.h", "e$f.h", "g#h.h"]);
        check("x: a.c b\\\\c:d.h\n", &["a.c", "b\\c:d.h"]);
        check("x:\n", &[]);
        check("", &[]);
    }

    #[test]
    fn arguments_without_outputs() {
        let check = |line: &str, expect: &str| {
            let written: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let expect: Vec<OsString> = expect.split(' ').map(OsString::from).collect();
            assert_eq!(arguments(&written), expect, "{line}");
        };
        check("-O2 -c -o a.o -MD -MF a.d -MT x -MP a.c -DX", "-O2 a.c -DX");
        check("-oa.o -MFa.d -Wp,-MD,a.d,-DX a.c", "-Wp,-DX a.c");
        check("-Wp,-MMD,a.d a.c", "-Wp,-MP a.c");
    }

    #[test]
    fn a_real_compile() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().canonicalize().expect("there").join(name);
        std::fs::write(path("a.c"), "#include \"b c.h\"\n#include <stddef.h>\n").expect("write");
        std::fs::write(path("b c.h"), "").expect("write");
        std::os::unix::fs::symlink("a.c", path("link.c")).expect("link");
        let parse = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            crate::command::parse(&arguments, directory.path(), &[]).expect("understood")
        };
        let command = parse("/usr/bin/gcc -c link.c -o x/y.o -MD");
        let found = dependencies(&command).expect("an answer");
        assert!(found.contains(&path("a.c")) && found.contains(&path("b c.h")));
        assert!(found.iter().any(|path| path.ends_with("stddef.h")));
        assert!(!path("link.d").exists() && !path("x").exists());
        assert_eq!(beside_output(&command, ".d_approx"), directory.path().join("x/y.d_approx"));
        assert_eq!(beside_output(&parse("/usr/bin/gcc -c a.c"), ".d_exact"), directory.path().join("a.d_exact"));
        let missing = dependencies(&parse("/usr/bin/gcc -c absent.c")).expect_err("no such file");
        assert!(missing.detail.contains("absent.c"), "{missing}");
        let unwritable = write_list(Path::new("/nowhere/x"), std::iter::empty()).expect_err("no such directory");
        assert_eq!(unwritable.to_string(), "unreadable: writing /nowhere/x: No such file or directory (os error 2)");
    }
}
