//! What the compiler's own preprocessor says that it reads: `--verify`, `--exact_analysis` and `.d_exact`.

use crate::command::CompileCommand;
use crate::compiler::driver;
use crate::compiler::make_rule::prerequisites;
use crate::fallback::{Fallback, Reason};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// How much of what the compiler says of an error is repeated, in bytes.
const MAX_MESSAGE_BYTES: usize = 2000;

/// The files that the compile of `command` includes, free of symbolic links, the compiler's own among them. Runs the
/// compiler's preprocessor.
///
/// # Errors
/// [`Reason::Compiler`] where the preprocessor can't be run or fails.
pub(super) fn dependencies(command: &CompileCommand) -> Result<BTreeSet<PathBuf>, Fallback> {
    let output = driver::dependencies(&command.dependency_request()?).map_err(|error| {
        Fallback::new(Reason::Compiler, format!("couldn't execute '{}': {error}", command.compiler.display()))
    })?;
    if !output.status.success() {
        // What was opened is no part of the trouble.
        let said = output.standard_error.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"."));
        let said = said.collect::<Vec<_>>().join(&b'\n');
        let trouble = String::from_utf8_lossy(&said[..said.len().min(MAX_MESSAGE_BYTES)]);
        let trouble = trouble.trim_end();
        let detail = format!("the preprocessor of '{}': {}: {trouble}", command.compiler.display(), output.status);
        return Err(Fallback::new(Reason::Compiler, detail));
    }
    let paths = prerequisites(&output.standard_output);
    let paths = paths.iter().map(|name| command.working_directory.join(name));
    Ok(paths.map(|path| path.canonicalize().unwrap_or(path)).collect())
}

/// The name of a file beside the compile's output: `.d_approx` for `-o x/a.o` is `x/a.d_approx`.
pub(super) fn beside_output(command: &CompileCommand, suffix: &str) -> PathBuf {
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
