//! Arguments as written: each with the flag that it is and its operand, before anything is made of them.

use super::Family;
use super::options::{self, Dependencies, Flag, Meaning, Operand};
use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Who reads the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// The driver.
    Driver,
    /// The preprocessor, behind `-Wp,` and `-Xpreprocessor`: `-MD` takes an operand, and there are no sources.
    Preprocessor,
    /// clang's front end, behind `-Xclang`.
    FrontEnd,
    /// The compiler proper, whose command line the driver has made.
    Proper,
}

/// One argument, or a flag with the operand that follows it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument<'a> {
    /// Not a flag.
    File(&'a OsStr),
    /// A flag of the table.
    Flag {
        flag: &'static Flag,
        /// Joined or separate; `None` for a flag that takes none.
        operand: Option<&'a OsStr>,
        /// The one or two arguments that it was written in.
        written: &'a [OsString],
    },
    /// Starts with a dash and is not in the table.
    Unknown(&'a OsString),
}

/// Recognises every argument of `list`.
///
/// # Errors
/// [`Reason::MalformedFlag`] where the last flag lacks its operand.
pub(super) fn read(list: &[OsString], family: Family, reader: Reader) -> Result<Vec<Argument<'_>>, Fallback> {
    let mut arguments = Vec::with_capacity(list.len());
    let mut index = 0;
    while let Some(written) = list.get(index) {
        let bytes = written.as_bytes();
        index += 1;
        if bytes == b"--" && family == Family::Clang && reader == Reader::Driver {
            arguments.extend(list[index..].iter().map(|file| Argument::File(file)));
            break;
        }
        if bytes.first() != Some(&b'-') || bytes == b"-" {
            arguments.push(Argument::File(written));
            continue;
        }
        let Some((flag, joined)) = options::find(bytes, family) else {
            arguments.push(Argument::Unknown(written));
            continue;
        };
        let takes_next = match flag.operand {
            Operand::Separate => true,
            Operand::Either => joined.is_none(),
            Operand::None => flag.meaning == Meaning::Dependencies(Dependencies::Write) && reader != Reader::Driver,
            Operand::Joined => false,
        };
        let operand = if takes_next {
            index += 1;
            let missing = || Fallback::new(Reason::MalformedFlag, format!("{} without operand", flag.spelling));
            Some(list.get(index - 1).ok_or_else(missing)?.as_os_str())
        } else {
            joined.map(OsStr::from_bytes)
        };
        let start = if takes_next { index - 2 } else { index - 1 };
        arguments.push(Argument::Flag { flag, operand, written: &list[start..index] });
    }
    Ok(arguments)
}
