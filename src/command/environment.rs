//! Which of the client's environment variables a compile depends on.
//!
//! A variable that is in neither list does not reach the action: the same inputs give the same action everywhere.
//!
//! **Source:** gcc's manual, "Environment Variables"; clang's `Driver.cpp` (facts); gettext's manual.

use super::Family;
use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The variable by which the launcher says that its standard error is a terminal: `1`. It never reaches the compiler.
pub const STDERR_IS_TERMINAL: &str = "PUMPHOUSE_STDERR_IS_TERMINAL";

/// Every variable that [`parse`](super::parse) looks at, sorted: what the launcher has to send. `PATH` finds the
/// compiler, `LD_LIBRARY_PATH` its libraries; neither is part of a [`Command`](super::Command).
pub const RELEVANT: &[&str] = &[
    "CCC_ADD_ARGS",
    "CCC_OVERRIDE_OPTIONS",
    "CC_LOG_DIAGNOSTICS",
    "CC_PRINT_HEADERS",
    "CC_PRINT_INTERNAL_STAT",
    "CC_PRINT_OPTIONS",
    "CC_PRINT_PROC_STAT",
    "CLANG_CONFIG_FILE_SYSTEM_DIR",
    "CLANG_CONFIG_FILE_USER_DIR",
    "CLANG_NO_DEFAULT_CONFIG",
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "C_INCLUDE_PATH",
    "DEPENDENCIES_OUTPUT",
    "GCC_COLORS",
    "GCC_COMPARE_DEBUG",
    "GCC_EXEC_PREFIX",
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LD_LIBRARY_PATH",
    "NO_COLOR",
    "OBJCPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "PATH",
    "PUMPHOUSE_STDERR_IS_TERMINAL",
    "PWD",
    "QA_OVERRIDE_GCC3_OPTIONS",
    "SOURCE_DATE_EPOCH",
    "SUNPRO_DEPENDENCIES",
    "TERM",
];

/// Those that change what a compile does, and are passed on with it.
const PASSED_ON: &[&str] = &[
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "C_INCLUDE_PATH",
    "GCC_COLORS",
    "GCC_EXEC_PREFIX",
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "OBJCPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "SOURCE_DATE_EPOCH",
];

/// Those that add options, outputs or side effects which are not followed.
const REFUSED: &[&str] = &[
    "CCC_ADD_ARGS",
    "CCC_OVERRIDE_OPTIONS",
    "CC_LOG_DIAGNOSTICS",
    "CC_PRINT_HEADERS",
    "CC_PRINT_INTERNAL_STAT",
    "CC_PRINT_OPTIONS",
    "CC_PRINT_PROC_STAT",
    "CLANG_CONFIG_FILE_SYSTEM_DIR",
    "CLANG_CONFIG_FILE_USER_DIR",
    "DEPENDENCIES_OUTPUT",
    "GCC_COMPARE_DEBUG",
    "QA_OVERRIDE_GCC3_OPTIONS",
    "SUNPRO_DEPENDENCIES",
];

/// The client's environment, as far as the launcher sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Environment<'a>(pub(super) &'a [(OsString, OsString)]);

impl<'a> Environment<'a> {
    /// The variable's value, where it is set.
    pub(super) fn get(self, name: &str) -> Option<&'a OsStr> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// Refuses what adds options or outputs behind the command line's back.
    pub(super) fn check(self) -> Result<(), Fallback> {
        match REFUSED.iter().find(|name| self.get(name).is_some()) {
            Some(name) => Err(Fallback::new(Reason::UnsupportedFlag, format!("environment variable {name}"))),
            None => Ok(()),
        }
    }

    /// The variables that the compile depends on, sorted by name. An empty one is not the same as an unset one; of the
    /// locale's, only those that are not overruled count.
    pub(super) fn passed_on(self) -> Vec<(OsString, OsString)> {
        const OVERRULED: [&str; 3] = ["LANG", "LC_CTYPE", "LC_MESSAGES"];
        let is_overruled = self.get("LC_ALL").is_some_and(|value| !value.is_empty());
        PASSED_ON
            .iter()
            .filter(|name| !(is_overruled && OVERRULED.contains(name)))
            .filter_map(|&name| Some((name.into(), self.get(name)?.to_owned())))
            .collect()
    }

    /// The variables by which programs and libraries are found, sorted by name.
    pub(super) fn for_tools(self) -> Vec<(OsString, OsString)> {
        let found =
            ["LD_LIBRARY_PATH", "PATH"].into_iter().filter_map(|name| Some((name.into(), self.get(name)?.into())));
        found.collect()
    }

    /// Whether diagnostics would be coloured under `auto`: standard error is a terminal that knows how.
    pub(super) fn colors_diagnostics(self, family: Family) -> bool {
        let terminal = self.get("TERM").unwrap_or_default();
        self.get(STDERR_IS_TERMINAL).is_some_and(|value| value == "1")
            && !terminal.is_empty()
            && terminal != "dumb"
            && match family {
                // An empty list of colours turns them off.
                Family::Gcc => self.get("GCC_COLORS").is_none_or(|colors| !colors.is_empty()),
                Family::Clang => self.get("NO_COLOR").is_none_or(OsStr::is_empty),
            }
    }
}

/// The working directory as the compiler will name it in debug information: `PWD` where it is absolute and names the
/// same directory, else `directory`, which is as `getcwd` gives it. With it, the value that `PWD` must have for the
/// compiler to see it so, where they differ.
pub(super) fn working_directory(directory: &Path, environment: Environment<'_>) -> (PathBuf, Option<OsString>) {
    let Some(pwd) = environment.get("PWD").filter(|pwd| Path::new(pwd).is_absolute() && *pwd != directory) else {
        return (directory.to_owned(), None);
    };
    match (std::fs::metadata(pwd), std::fs::metadata(directory)) {
        (Ok(one), Ok(other)) if (one.dev(), one.ino()) == (other.dev(), other.ino()) => {
            (PathBuf::from(pwd), Some(pwd.to_owned()))
        }
        _ => (directory.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_whole() {
        assert!(RELEVANT.is_sorted());
        assert!(PASSED_ON.is_sorted());
        for name in PASSED_ON.iter().chain(REFUSED).chain([&STDERR_IS_TERMINAL]) {
            assert!(RELEVANT.binary_search(name).is_ok(), "{name} isn't sent");
        }
    }
}
