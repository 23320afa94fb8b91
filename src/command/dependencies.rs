//! The arguments of a compile without what says what is made: those under which a compiler's own preprocessor is asked
//! what the compile includes.
//!
//! **Source:** gcc's manual, "Preprocessor Options" (`-M`).

use super::arguments::{self, Argument, Reader};
use super::options::Meaning;
use super::{Family, comma_separated};
use crate::fallback::Fallback;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// How an argument is handed to the preprocessor.
const FOR_PREPROCESSOR: &str = "-Xpreprocessor";

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
            Argument::Flag { flag, operand, written } => match flag.meaning {
                Meaning::PreprocessorList => {
                    for_preprocessor.extend(comma_separated(operand.unwrap_or_default().as_bytes()));
                }
                Meaning::PreprocessorArgument => for_preprocessor.extend(operand.map(OsStr::to_owned)),
                meaning if makes(meaning) => {}
                _ => kept.extend_from_slice(written),
            },
        }
    }
    let mut keep = |words: &[OsString]| {
        kept.extend(words.iter().flat_map(|word| [FOR_PREPROCESSOR.into(), word.clone()]));
    };
    for argument in arguments::read(&for_preprocessor, family, Reader::Preprocessor)? {
        match argument {
            Argument::File(file) => keep(&[file.to_owned()]),
            Argument::Unknown(written) => keep(std::slice::from_ref(written)),
            Argument::Flag { flag, written, .. } => {
                if !makes(flag.meaning) {
                    keep(written);
                }
            }
        }
    }
    Ok(kept)
}

/// Whether a flag says what is made, or that something is.
const fn makes(meaning: Meaning) -> bool {
    matches!(
        meaning,
        Meaning::Compile
            | Meaning::Assemble
            | Meaning::EmitLlvm
            | Meaning::Output
            | Meaning::Dependencies
            | Meaning::DependencyFile
            | Meaning::DependencyDetail
            | Meaning::NamedOutput
            | Meaning::Product(_)
            | Meaning::NoProduct(_)
            | Meaning::SaveTemps(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_lost() {
        let check = |line: &str, expect: &str| {
            let written: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let expect: Vec<OsString> = expect.split(' ').map(OsString::from).collect();
            for family in [Family::Gcc, Family::Clang] {
                assert_eq!(arguments(&written, family), Ok(expect.clone()), "{line}");
            }
        };
        check("-O2 -c -o a.o -MD -MF a.d -MT x -MP a.c -DX", "-O2 a.c -DX");
        check("-oa.o -MFa.d -Wp,-MD,a.d,-DX a.c -I d", "a.c -I d -Xpreprocessor -DX");
        check("-Wp,-MMD,a.d a.c -save-temps=obj -fstack-usage", "a.c");
        check("-Xpreprocessor -MD -Xpreprocessor a.d -Wp,-I,d a.c", "a.c -Xpreprocessor -I -Xpreprocessor d");
    }
}
