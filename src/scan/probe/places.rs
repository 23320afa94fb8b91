//! Places that tell when a driver would find another installation: what is watched where a compiler can't be traced.

use crate::command::{CompileCommand, Family, PathKind};
use crate::compiler::installation;
use crate::files::stamp::Stamp;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Directories in which the driver of `command` looks for gcc and headers under `arguments`.
pub(super) fn installation_places(arguments: &[OsString], command: &CompileCommand) -> Vec<PathBuf> {
    match command.family {
        Family::Gcc => Vec::new(),
        Family::Clang => {
            let paths = |kind| command.paths_in(arguments, kind);
            installation::directories(&paths(PathKind::Root), &paths(PathKind::GccPrefix))
        }
    }
}

/// The path that tells when the driver of `command` runs another compiler proper than `program`. Where that is the
/// driver itself, its directory: a configuration file may appear beside it.
pub(super) fn place_of_program(program: &Path, command: &CompileCommand) -> PathBuf {
    match program.parent() {
        Some(directory) if command.family == Family::Clang && Stamp::at(program) == Stamp::at(&command.compiler) => {
            directory.to_owned()
        }
        _ => program.to_owned(),
    }
}
