//! The compiler's own answer for one unit, by `-M` and `-H`, against a closure.
//!
//! `-M` names every file once; `-H` also shows what only opens. Both are blind to what is read without being included, so
//! that probed files of the closure are left out of the comparison.

use super::show;
use crate::command::CompileCommand;
use crate::compiler::make_rule::prerequisites;
use crate::compiler::{answer, driver};
use crate::scan::closure::Closure;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Asks the compiler of `command` and compares.
pub(super) fn compare(command: &CompileCommand, closure: &Closure) -> Result<Difference> {
    let listed = listed(command)?;
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
fn listed(command: &CompileCommand) -> Result<BTreeSet<PathBuf>> {
    let output = driver::dependencies(&command.dependency_request()?)
        .with_context(|| format!("run {}", command.compiler.display()))?;
    ensure!(output.status.success(), "the compiler rejects it: {}", output.last_words());
    let rule = prerequisites(&output.standard_output);
    // What is not preprocessed has no list.
    let own = rule.is_empty().then(|| command.source.clone());
    let resolve = |path: PathBuf| {
        let path = command.working_directory.join(path);
        std::fs::canonicalize(&path).unwrap_or(path)
    };
    Ok(rule.into_iter().chain(answer::opened(&output.standard_error)).chain(own).map(resolve).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::sync::Arc;

    #[test]
    fn differences_are_found_in_both_directions() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        std::fs::write(root.join("a.c"), "#include \"b.h\"\n").unwrap();
        std::fs::write(root.join("b.h"), "int b;\n").unwrap();
        let arguments = ["gcc", "-c", "a.c", "-o", "a.o"].map(OsString::from).to_vec();
        let environment = [("PATH".into(), "/usr/bin:/bin".into())];
        let command = crate::command::parse(&arguments, &root, &environment).unwrap();
        let file = |name: &str| {
            Arc::new(crate::scan::closure::InputFile {
                path: root.join(name).into(),
                digest: pumphouse_proto::digest::Digest::of(b""),
                is_executable: false,
            })
        };
        let closure = Closure { files: vec![file("a.c"), file("other.h")], ..Closure::default() };
        let found = compare(&command, &closure).unwrap();
        assert!(found.misses.contains(&show(&root.join("b.h"))), "{found:?}");
        assert_eq!(found.surplus, [show(&root.join("other.h"))]);
    }
}
