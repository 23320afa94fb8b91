//! What `-Wa,` and `-Xassembler` tell the assembler: directories, listings, and files that are not followed.
//!
//! **Source:** the GNU assembler's manual, "Command-Line Options".

use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What matters of the assembler's arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AssemblerOptions {
    /// `-I`: where `.include` and `.incbin` look.
    pub(super) directories: Vec<PathBuf>,
    /// Listings (`-a=file`) and dependency files (`--MD file`).
    pub(super) outputs: Vec<PathBuf>,
}

/// Reads the arguments in their order.
///
/// # Errors
/// [`Reason::UnsupportedFlag`] for what names further files, prints times or is written to elsewhere;
/// [`Reason::MalformedFlag`] where an operand is missing.
pub(super) fn read(arguments: &[OsString]) -> Result<AssemblerOptions, Fallback> {
    let mut options = AssemblerOptions::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        let refuse = |reason| Fallback::new(reason, format!("-Wa,{}", argument.to_string_lossy()));
        let mut operand = || rest.next().map(PathBuf::from).ok_or_else(|| refuse(Reason::MalformedFlag));
        match bytes {
            b"-I" => options.directories.push(operand()?),
            [b'-', b'I', directory @ ..] => options.directories.push(OsStr::from_bytes(directory).into()),
            b"--MD" | b"-MD" => options.outputs.push(operand()?),
            b"--defsym"
            | b"-defsym"
            | b"--debug-prefix-map"
            | b"--hash-size"
            | b"--listing-lhs-width"
            | b"--listing-rhs-width"
            | b"--listing-lhs-width2"
            | b"--listing-cont-lines" => drop(operand()?),
            b"-o" | b"-v" | b"-version" | b"--version" | b"--statistics" | b"--help" | b"--target-help"
            | b"-save-temps" => {
                return Err(refuse(Reason::UnsupportedFlag));
            }
            [b'-', b'a', listing @ ..] => {
                // With general information, a listing begins with the time of day.
                let kinds = listing.split(|&byte| byte == b'=').next().unwrap_or_default();
                if kinds.contains(&b'g') {
                    return Err(refuse(Reason::TimeDependent));
                }
                if let Some(equals) = listing.iter().position(|&byte| byte == b'=') {
                    options.outputs.push(OsStr::from_bytes(&listing[equals + 1..]).into());
                }
            }
            [b'-', _, ..] => {}
            _ => return Err(refuse(Reason::UnsupportedFlag)),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_directories_and_outputs() {
        let check = |arguments: &str, expect: Result<(&[&str], &[&str]), Reason>| {
            let list: Vec<OsString> = arguments.split(',').map(OsString::from).collect();
            let options = read(&list).map_err(|fallback| fallback.reason);
            let expect = expect.map(|(directories, outputs)| AssemblerOptions {
                directories: directories.iter().map(PathBuf::from).collect(),
                outputs: outputs.iter().map(PathBuf::from).collect(),
            });
            assert_eq!(options, expect, "{arguments}");
        };
        check("--noexecstack", Ok((&[], &[])));
        check("-Ione,-I,two", Ok((&["one", "two"], &[])));
        check("-adhln=list,--MD,deps", Ok((&[], &["list", "deps"])));
        check("-al", Ok((&[], &[])));
        check("--defsym,X=1", Ok((&[], &[])));
        check("-ahl=listing", Ok((&[], &["listing"])));
        check("-ag=list", Err(Reason::TimeDependent));
        check("-alng", Err(Reason::TimeDependent));
        check("-I", Err(Reason::MalformedFlag));
        check("other.s", Err(Reason::UnsupportedFlag));
        check("-o,x", Err(Reason::UnsupportedFlag));
        check("@file", Err(Reason::UnsupportedFlag));
    }
}
