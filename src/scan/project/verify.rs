//! The compiler's own answer for one unit, by `-M` and `-H`, against a closure.
//!
//! `-M` names every file once; `-H` also shows what only opens. Both are blind to what is read without being included, so
//! that probed files of the closure are left out of the comparison.

use super::compile_commands::Entry;
use super::show;
use crate::scan::closure::Closure;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a closure and the compiler's list differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Files that the compiler reads and the closure lacks.
    pub(super) misses: Vec<String>,
    /// Files of the closure that the compiler did not list.
    pub(super) surplus: Vec<String>,
    /// How many files the compiler listed.
    pub(super) listed: usize,
}

/// Asks the compiler, which writes to `list`, and compares.
pub(super) fn compare(entry: &Entry, closure: &Closure, list: &Path) -> Result<Difference> {
    let listed = listed(entry, list)?;
    let closed: BTreeSet<&Path> = closure.files.iter().map(|file| &*file.path).collect();
    let probed: BTreeSet<&Path> = closure.probed.iter().map(|path| &**path).collect();
    let surplus = closed.iter().filter(|path| !listed.contains(**path) && !probed.contains(**path));
    Ok(Difference {
        misses: listed.iter().filter(|path| !closed.contains(path.as_path())).map(|path| show(path)).collect(),
        surplus: surplus.map(|path| show(path)).collect(),
        listed: listed.len(),
    })
}

/// The files that the compiler lists, with symbolic links resolved.
fn listed(entry: &Entry, list: &Path) -> Result<BTreeSet<PathBuf>> {
    let done = Command::new(&entry.arguments[0])
        .args(asking(&entry.arguments[1..]))
        .args([OsStr::new("-M"), OsStr::new("-H"), OsStr::new("-MF"), list.as_os_str()])
        .current_dir(&entry.directory)
        .env("PWD", &entry.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("run {}", Path::new(&entry.arguments[0]).display()))?;
    if !done.status.success() {
        bail!(
            "the compiler rejects it: {}",
            String::from_utf8_lossy(&done.stderr).lines().next_back().unwrap_or_default()
        );
    }
    let rule = match std::fs::read(list) {
        // What is not preprocessed has no list.
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        rule => rule.with_context(|| list.display().to_string())?,
    };
    let own = rule.is_empty().then(|| entry.file.clone());
    let resolve = |path: PathBuf| {
        let path = entry.directory.join(path);
        std::fs::canonicalize(&path).unwrap_or(path)
    };
    let opened = done.stderr.split(|&byte| byte == b'\n').filter_map(opened);
    Ok(prerequisites(&rule).into_iter().chain(opened).chain(own).map(resolve).collect())
}

/// The arguments without what says where the outputs go.
fn asking(arguments: &[OsString]) -> Vec<&OsStr> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_bytes() {
            b"-o" | b"-MF" | b"-MT" | b"-MQ" => {
                rest.next();
            }
            b"-c" | b"-S" | b"-MD" | b"-MMD" | b"-MP" | b"-M" | b"-MM" => {}
            bytes
                if [&b"-MF"[..], b"-MT", b"-MQ", b"-Wp,-MD", b"-Wp,-MMD"]
                    .iter()
                    .any(|flag| bytes.starts_with(flag)) => {}
            _ => kept.push(argument.as_os_str()),
        }
    }
    kept
}

/// A line of `-H`: as many dots as the file is deep, a blank, and the file.
fn opened(line: &[u8]) -> Option<PathBuf> {
    let dots = line.iter().take_while(|&&byte| byte == b'.').count();
    let name = line.get(dots..)?.strip_prefix(b" ")?;
    (dots > 0).then(|| OsString::from_vec(name.to_vec()).into())
}

/// The prerequisites of make's rule: blanks and `#` behind a backslash, `$$` for `$`.
fn prerequisites(rule: &[u8]) -> Vec<PathBuf> {
    let after_target = rule.windows(2).position(|pair| pair == b": ").map_or(rule.len(), |at| at + 2);
    let mut files = Vec::new();
    let mut file = Vec::new();
    let mut bytes = rule[after_target..].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b' ' | b'#')) | (b'$', Some(b'$')) => file.extend(bytes.next()),
            (b'\\', Some(b'\n')) | (b' ' | b'\n', _) => {
                if !file.is_empty() {
                    files.push(OsString::from_vec(std::mem::take(&mut file)).into());
                }
            }
            _ => file.push(byte),
        }
    }
    if !file.is_empty() {
        files.push(OsString::from_vec(file).into());
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_compilers_list_is_read() {
        let rule = b"a.o: a.c \\\n b\\ c.h $$d\\#.h \\\n /x/e.h\n";
        assert_eq!(prerequisites(rule), ["a.c", "b c.h", "$d#.h", "/x/e.h"].map(PathBuf::from));
        assert_eq!(opened(b".. /usr/include/x y.h"), Some("/usr/include/x y.h".into()));
        assert_eq!(opened(b"a.c: warning"), None);
        let arguments = ["-c", "a.c", "-o", "a.o", "-MD", "-MFx", "-Wp,-MMD,y", "-Ib", "-MT", "z"].map(OsString::from);
        assert_eq!(asking(&arguments), ["a.c", "-Ib"]);
    }

    #[test]
    fn differences_are_found_in_both_directions() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        std::fs::write(root.join("a.c"), "#include \"b.h\"\n").unwrap();
        std::fs::write(root.join("b.h"), "int b;\n").unwrap();
        let arguments = ["gcc", "-c", "a.c", "-o", "a.o"].map(OsString::from).to_vec();
        let entry = Entry { directory: root.clone(), file: "a.c".into(), arguments };
        let file = |name: &str| {
            Arc::new(crate::scan::closure::InputFile {
                path: root.join(name).into(),
                digest: pumphouse_proto::digest::Digest::of(b""),
                is_executable: false,
            })
        };
        let closure = Closure { files: vec![file("a.c"), file("other.h")], ..Closure::default() };
        let found = compare(&entry, &closure, &root.join("list")).unwrap();
        assert!(found.misses.contains(&show(&root.join("b.h"))), "{found:?}");
        assert_eq!(found.surplus, [show(&root.join("other.h"))]);
    }
}
