//! The arguments of a compile without what says what is made: those under which a compiler's own preprocessor is asked
//! what the compile includes.
//!
//! **Source:** gcc's manual, "Preprocessor Options" (`-M`).

use super::arguments::{self, Argument, Reader};
use super::options::{self, HandOn, Meaning, UnderM};
use super::{Family, comma_separated};
use crate::fallback::Fallback;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

/// The rest of `list`, whose response files are expanded, without phases, outputs and rules. What goes to the
/// preprocessor comes last, as it does on the command line of the compiler proper.
///
/// # Errors
/// As [`parse`](super::parse) has them.
pub(super) fn arguments(list: &[OsString], family: Family) -> Result<Vec<OsString>, Fallback> {
    let (mut kept, mut for_preprocessor) = (Vec::new(), Vec::new());
    for argument in arguments::read(list, family, Reader::Driver)? {
        match argument {
            Argument::File(file) => kept.push(file.to_owned()),
            Argument::Unknown(written) => kept.push(written.clone()),
            Argument::Flag { flag, operand, written } => {
                let operand = operand.unwrap_or_default();
                match flag.meaning {
                    Meaning::HandOn(HandOn::PreprocessorList) => {
                        let list: Vec<OsString> = comma_separated(operand.as_bytes()).collect();
                        if options::rewritten_dependencies(&list, family).is_none() {
                            for_preprocessor.extend(list);
                        }
                    }
                    Meaning::HandOn(HandOn::PreprocessorArgument) => for_preprocessor.push(operand.to_owned()),
                    _ if flag.under_m == UnderM::Lost => {}
                    _ => kept.extend_from_slice(written),
                }
            }
        }
    }
    let mut keep = |words: &[OsString]| {
        kept.extend(words.iter().flat_map(|word| [options::FOR_PREPROCESSOR.into(), word.clone()]));
    };
    for argument in arguments::read(&for_preprocessor, family, Reader::Preprocessor)? {
        match argument {
            Argument::File(file) => keep(&[file.to_owned()]),
            Argument::Unknown(written) => keep(std::slice::from_ref(written)),
            Argument::Flag { flag, written, .. } => {
                if flag.under_m == UnderM::Kept {
                    keep(written);
                }
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_lost() {
        let check = |family, line: &str, expect: &str| {
            let written: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let expect: Vec<OsString> = expect.split(' ').map(OsString::from).collect();
            assert_eq!(arguments(&written, family), Ok(expect), "{line}");
        };
        for family in [Family::Gcc, Family::Clang] {
            check(family, "-O2 -c -o a.o -MD -MF a.d -MT x -MP a.c -DX", "-O2 a.c -DX");
            check(family, "-Wp,-MMD,a.d a.c -save-temps=obj -fstack-usage", "a.c");
        }
        check(Family::Gcc, "-oa.o -MFa.d -Wp,-MD,a.d,-DX a.c -I d", "a.c -I d -Xpreprocessor -DX");
        check(Family::Clang, "-oa.o -MFa.d -Wp,-MD,a.d,-DX a.c -I d", "a.c -I d");
        let line = "-Xpreprocessor -MD -Xpreprocessor a.d -Wp,-I,d a.c";
        check(Family::Gcc, line, "a.c -Xpreprocessor -I -Xpreprocessor d");
    }
}
