//! Command lines whose compile reads what a scan doesn't find: refused before it begins.

use crate::command::{Command, Family, Language};
use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// Flags under which the language itself is another one.
const LANGUAGE_FLAGS: [&[u8]; 3] = [b"-fexec-charset", b"-fdollars-in-identifiers", b"-fno-dollars-in-identifiers"];

/// Flags by which the name of a profile is made up otherwise.
const PROFILE_NAME_FLAGS: [&[u8]; 3] = [b"-dumpbase", b"-dumpdir", b"-fprofile-generate="];

/// Whether the scan may begin.
///
/// # Errors
/// [`Reason::UnsupportedFlag`] with the flag.
pub(crate) fn check(command: &Command) -> Result<(), Fallback> {
    let refuse = |flag: &OsStr| Err(Fallback::new(Reason::UnsupportedFlag, flag.to_string_lossy()));
    check_language(&command.arguments, command.family)?;
    let starts_with = |flags: &[&[u8]]| {
        let is_one = |argument: &&OsString| flags.iter().any(|flag| argument.as_bytes().starts_with(flag));
        command.arguments.iter().find(is_one)
    };
    if let Some(flag) = starts_with(&PROFILE_NAME_FLAGS)
        && command.arguments.iter().any(|argument| argument == "-fprofile-use")
    {
        return refuse(flag);
    }
    for pair in command.arguments.windows(2) {
        let value = pair[1].as_bytes().split(|byte| *byte == b'=').nth(1);
        let names_file = value.is_some_and(|value| command.working_directory.join(OsStr::from_bytes(value)).is_file());
        if (pair[0] == "-Xclang" && names_file) || (pair[0] == "-x" && pair[1] == "none") {
            return refuse(&pair[1]);
        }
    }
    if command.arguments.iter().any(|argument| argument == "-xnone") {
        return refuse(OsStr::new("-xnone"));
    }
    let is_set = command.environment.iter().any(|(name, _)| name == "CPLUS_INCLUDE_PATH");
    if is_set && command.family == Family::Clang && command.language == Language::ObjectiveCxx {
        return refuse(OsStr::new("CPLUS_INCLUDE_PATH"));
    }
    Ok(())
}

/// Whether `arguments` leave the language what it is.
///
/// # Errors
/// [`Reason::UnsupportedFlag`] with the flag.
pub(crate) fn check_language(arguments: &[OsString], family: Family) -> Result<(), Fallback> {
    let is_other = |argument: &&OsString| {
        let argument = argument.as_bytes();
        LANGUAGE_FLAGS.iter().any(|flag| argument.starts_with(flag))
            || family == Family::Clang && argument.starts_with(b"-fms-")
    };
    match arguments.iter().find(is_other) {
        Some(flag) => Err(Fallback::new(Reason::UnsupportedFlag, flag.to_string_lossy())),
        None => Ok(()),
    }
}
