//! What `-Wa,` and `-Xassembler` tell the assembler: directories, listings, and files that are not followed.
//!
//! **Source:** the GNU assembler's manual, "Command-Line Options".

use super::options::proper::ForAssembler;
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
    /// Whether something that is written holds the name of the assembly: a temporary file's, where that isn't the source.
    pub(super) shows_name: bool,
}

/// Reads the arguments in their order.
///
/// # Errors
/// [`Reason::UnsupportedFlag`] for what names further files, prints times or is written to elsewhere;
/// [`Reason::MalformedFlag`] where an operand is missing.
pub(super) fn read(arguments: &[OsString]) -> Result<AssemblerOptions, Fallback> {
    let mut options = AssemblerOptions::default();
    let (mut has_pages, mut has_none) = (false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        let refuse = |reason| Fallback::new(reason, format!("-Wa,{}", argument.to_string_lossy()));
        let mut operand = || rest.next().map(PathBuf::from).ok_or_else(|| refuse(Reason::MalformedFlag));
        match ForAssembler::of(bytes) {
            ForAssembler::Directory(None) => options.directories.push(operand()?),
            ForAssembler::Directory(Some(directory)) => options.directories.push(OsStr::from_bytes(directory).into()),
            ForAssembler::DependencyFile => {
                options.shows_name = true;
                options.outputs.push(operand()?);
            }
            ForAssembler::WithOperand => drop(operand()?),
            listing @ (ForAssembler::Listing(file) | ForAssembler::PagelessListing(file)) => {
                has_none |= matches!(listing, ForAssembler::PagelessListing(_));
                has_pages = true;
                options.outputs.extend(file.map(|file| PathBuf::from(OsStr::from_bytes(file))));
            }
            ForAssembler::DebugInformation => options.shows_name = true,
            ForAssembler::DatedListing => return Err(refuse(Reason::TimeDependent)),
            ForAssembler::Plain => {}
            ForAssembler::Unfollowed | ForAssembler::File => return Err(refuse(Reason::UnsupportedFlag)),
        }
    }
    options.shows_name |= has_pages && !has_none;
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
                shows_name: options.as_ref().is_ok_and(|options| options.shows_name),
            });
            assert_eq!(options, expect, "{arguments}");
        };
        let shows_name = |arguments: &str| {
            let list: Vec<OsString> = arguments.split(',').map(OsString::from).collect();
            read(&list).expect("read").shows_name
        };
        for (arguments, expect) in [
            ("--noexecstack", false),
            ("-adhln=list", false),
            ("-al", true),
            ("-al,-adn", false),
            ("--MD,x", true),
            ("--gdwarf-5", true),
            ("-g", true),
            ("-gdwarf-sections", false),
        ] {
            assert_eq!(shows_name(arguments), expect, "{arguments}");
        }
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
