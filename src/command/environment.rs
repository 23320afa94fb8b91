//! Which of the client's environment variables a compile depends on, and how: from one table.
//!
//! A variable that the table doesn't hold, or calls harmless, does not reach the action: the same inputs give the same action
//! everywhere. It does not know what values of search paths lead to: those are the scanner's.

use super::Family;
use crate::fallback::{Fallback, Reason};
use crate::files::own_paths;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use table::{PATTERNS, TABLE};

mod table;

/// The variable by which the launcher says that its standard error is a terminal: `1`. It never reaches the compiler.
pub const STDERR_IS_TERMINAL: &str = "PUMPHOUSE_STDERR_IS_TERMINAL";

/// What comes of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It changes what a compile does: it is passed on with it, and part of the action.
    Key,
    /// Programs and libraries are found by it. It is told to the compiler where that is asked; what it leads to is in the
    /// toolchain, by content.
    Tool,
    /// It is understood here, and takes effect on other parts of the command.
    Interpreted,
    /// It says what messages look like on a terminal, and nothing else.
    Terminal,
    /// It adds options, files or side effects that are not followed: where it is set, the compile is left alone.
    Refuse,
    /// As [`Role::Refuse`], but an empty value is as good as none.
    RefuseValue,
    /// It changes no result, for this reason.
    Harmless(&'static str),
}

/// Whose programs ask for a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Both,
    Gcc,
    Clang,
}

impl Asked {
    const fn by(self, family: Family) -> bool {
        matches!((self, family), (Self::Both, _) | (Self::Gcc, Family::Gcc) | (Self::Clang, Family::Clang))
    }
}

/// A variable, or a pattern of variables' names, and what comes of it.
#[derive(Debug)]
struct Row {
    name: &'static str,
    asked: Asked,
    role: Role,
}

impl Row {
    /// Whether the pattern fits `name`.
    fn fits(&self, name: &[u8]) -> bool {
        match self.name.as_bytes() {
            // One byte tells of most names that they don't fit.
            [b'*', suffix @ ..] => name.last() == suffix.last() && name.ends_with(suffix),
            [prefix @ .., b'*'] => name.first() == prefix.first() && name.starts_with(prefix),
            whole => name == whole,
        }
    }

    /// The row for `name`. Costs no allocation, and for most names that are in no row, no comparison.
    fn of(name: &[u8]) -> Option<&'static Self> {
        let (first, last) = (*name.first()?, *name.last()?);
        let (start, end) = SHAPES.whole[usize::from(first)];
        let rows = &TABLE[usize::from(start)..usize::from(end)];
        if let Some(row) = rows.iter().find(|row| row.name.len() == name.len() && row.name.as_bytes() == name) {
            return Some(row);
        }
        if SHAPES.prefix[usize::from(first)] || SHAPES.suffix[usize::from(last)] {
            return PATTERNS.iter().find(|row| row.fits(name));
        }
        None
    }
}

/// What names of the table look like. An environment has dozens of variables, few of which are in the table, and each is
/// looked up more than once for a compile.
struct Shapes {
    /// For each first byte, where the whole names begin and end that have it.
    whole: [(u8, u8); 256],
    /// The first bytes of prefixes.
    prefix: [bool; 256],
    /// The last bytes of suffixes.
    suffix: [bool; 256],
}

static SHAPES: Shapes = Shapes::of(TABLE, PATTERNS);

impl Shapes {
    const fn of(table: &[Row], patterns: &[Row]) -> Self {
        let mut shapes = Self { whole: [(0, 0); 256], prefix: [false; 256], suffix: [false; 256] };
        let mut at = 0;
        assert!(table.len() <= u8::MAX as usize);
        while at < table.len() {
            let range = &mut shapes.whole[table[at].name.as_bytes()[0] as usize];
            if range.1 == 0 {
                range.0 = at as u8;
            }
            range.1 = at as u8 + 1;
            at += 1;
        }
        at = 0;
        while at < patterns.len() {
            match patterns[at].name.as_bytes() {
                [b'*', .., last] => shapes.suffix[*last as usize] = true,
                [first, .., b'*'] => shapes.prefix[*first as usize] = true,
                _ => panic!("a pattern has one star, at its start or its end"),
            }
            at += 1;
        }
        shapes
    }
}

/// What comes of the variable `name`; `None` for those that no program asks for.
pub fn role(name: &OsStr) -> Option<Role> {
    Row::of(name.as_bytes()).map(|row| row.role)
}

/// The names of all variables in the table, and the patterns.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().chain(PATTERNS).map(|row| row.name)
}

/// Whether [`parse`](super::parse) looks at the variable `name`: the launcher has to send it. Costs no allocation.
pub fn is_relevant(name: &OsStr) -> bool {
    name == STDERR_IS_TERMINAL || role(name).is_some_and(|role| !matches!(role, Role::Harmless(_)))
}

/// What of an environment a compile depends on.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// What is passed on with it, sorted by name. An empty variable is not the same as an unset one; of the locale's, only
    /// those that are not overruled count.
    pub(super) passed_on: Vec<(OsString, OsString)>,
    /// What programs and libraries are found by, sorted by name.
    pub(super) for_tools: Vec<(OsString, OsString)>,
}

/// The client's environment, as far as the launcher sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Environment<'a>(pub(super) &'a [(OsString, OsString)]);

impl<'a> Environment<'a> {
    /// The variable's value, where it is set.
    pub(super) fn get(self, name: &str) -> Option<&'a OsStr> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// What a compile by a program of `family` depends on. Looks each variable up once.
    ///
    /// # Errors
    /// One adds options or outputs behind the command line's back: it is named.
    pub(super) fn variables(self, family: Family) -> Result<Variables, Fallback> {
        const OVERRULED: [&str; 3] = ["LANG", "LC_CTYPE", "LC_MESSAGES"];
        let is_overruled = self.get("LC_ALL").is_some_and(|value| !value.is_empty());
        let mut variables = Variables::default();
        for (name, value) in self.0 {
            let Some(row) = Row::of(name.as_bytes()) else { continue };
            let is_asked = row.asked.by(family);
            let is_refused = match row.role {
                Role::Refuse => true,
                Role::RefuseValue => !value.is_empty(),
                Role::Key | Role::Tool => own_paths::are_named_in(value.as_bytes()),
                Role::Interpreted | Role::Terminal | Role::Harmless(_) => false,
            };
            if is_asked && is_refused {
                let detail = format!("environment variable {}", name.to_string_lossy());
                return Err(Fallback::new(Reason::UnsupportedFlag, detail));
            }
            match row.role {
                Role::Key if is_asked && !(is_overruled && OVERRULED.contains(&row.name)) => {
                    variables.passed_on.push((name.clone(), value.clone()));
                }
                Role::Tool => variables.for_tools.push((name.clone(), value.clone())),
                _ => {}
            }
        }
        variables.passed_on.sort();
        variables.for_tools.sort();
        Ok(variables)
    }

    /// The variable that says where temporary files are made, if one does.
    pub(super) fn temporary_place(self) -> Option<&'static str> {
        ["TMPDIR", "TMP", "TEMP"].into_iter().find(|name| self.get(name).is_some())
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
/// compiler to see it so, where they differ in any letter: compilers quote it as it is spelled (`/d/`, `//d`, `/a/../d`).
///
/// # Errors
/// `PWD` leads through what is each process's own.
pub(super) fn working_directory(
    directory: &Path,
    environment: Environment<'_>,
) -> Result<(PathBuf, Option<OsString>), Fallback> {
    let differs = |pwd: &&OsStr| Path::new(pwd).is_absolute() && *pwd != directory.as_os_str();
    let Some(pwd) = environment.get("PWD").filter(differs) else {
        return Ok((directory.to_owned(), None));
    };
    if own_paths::is_reached_by(Path::new(pwd)) {
        return Err(Fallback::new(Reason::HostDependent, format!("PWD={}", pwd.to_string_lossy())));
    }
    match (std::fs::metadata(pwd), std::fs::metadata(directory)) {
        (Ok(one), Ok(other)) if (one.dev(), one.ino()) == (other.dev(), other.ino()) => {
            Ok((PathBuf::from(pwd), Some(pwd.to_owned())))
        }
        _ => Ok((directory.to_owned(), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_stands_once_and_patterns_hide_none() {
        assert!(TABLE.is_sorted_by(|one, other| one.name < other.name));
        let is_pattern = |row: &Row| row.name.starts_with('*') || row.name.ends_with('*');
        assert!(!TABLE.iter().any(is_pattern) && PATTERNS.iter().all(is_pattern));
    }

    #[test]
    fn roles_follow_names_and_patterns() {
        let check = |name: &str, expect: Option<Role>| assert_eq!(role(OsStr::new(name)), expect, "{name}");
        check("CPATH", Some(Role::Key));
        check("LD_LIBRARY_PATH", Some(Role::Tool));
        check("LD_PRELOAD", Some(Role::RefuseValue));
        check("MACOSX_DEPLOYMENT_TARGET", Some(Role::Key));
        check("XROS_DEPLOYMENT_TARGET", Some(Role::Key));
        check("C_INCLUDE_PATH", Some(Role::Key));
        check("XCC_C_INCLUDE_PATH", Some(Role::Refuse));
        check("EDITOR", None);
        // What launchers set for the compilers that they start.
        check("PUMPHOUSE_DEPTH", None);
    }

    #[test]
    fn a_family_is_refused_and_keyed_only_by_what_its_programs_ask_for() {
        let variables = |list: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            list.iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        let check = |list: &[(&str, &str)], family, expect: Result<&[(&str, &str)], ()>| {
            let list = variables(list);
            let environment = Environment(&list);
            let found = environment.variables(family).map(|variables| variables.passed_on).map_err(drop);
            assert_eq!(found, expect.map(variables), "{list:?}");
        };
        check(&[("INCLUDE", "x")], Family::Clang, Ok(&[("INCLUDE", "x")]));
        check(&[("LIBRARY_PATH", "x")], Family::Gcc, Ok(&[("LIBRARY_PATH", "x")]));
        check(&[("LIBRARY_PATH", "x")], Family::Clang, Ok(&[]));
        check(&[("SDKROOT", "x")], Family::Clang, Err(()));
        check(&[("INCLUDE", "x")], Family::Gcc, Ok(&[]));
        check(&[("LD_AUDIT", "x")], Family::Gcc, Err(()));
        check(&[("LD_AUDIT", "")], Family::Gcc, Ok(&[]));
        check(&[("CC_PRINT_OPTIONS", "")], Family::Clang, Err(()));
        check(&[("GCC_COLORS", "x"), ("CPATH", "")], Family::Clang, Ok(&[("CPATH", "")]));
        check(&[("PUMPHOUSE_DEPTH", "1"), ("LANG", "C")], Family::Gcc, Ok(&[("LANG", "C")]));
    }
}
