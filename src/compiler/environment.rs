//! The variables under which compilers are asked: those of the compile, in a language whose answers are read.

use std::ffi::OsString;

/// Variables that add directories to the search path: those of the command, which are no part of the compiler.
const SEARCH: &[&str] =
    &["CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH"];
/// Variables that make the compiler write files, or speak otherwise than the answers are read.
const UNWANTED: &[&str] =
    &["DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANGUAGE"];

/// What a compiler is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// What it is, has and searches by itself.
    Itself,
    /// What a compile reads: the directories that variables name are searched as well.
    Compile,
}

/// Picks the variables under which a compiler is asked out of the compile's `variables`.
pub(crate) fn asking<'a>(
    variables: impl IntoIterator<Item = &'a (OsString, OsString)>,
    about: About,
) -> Vec<(OsString, OsString)> {
    let is_left_out = |name: &OsString| {
        UNWANTED.iter().any(|unwanted| name == unwanted)
            || about == About::Itself && SEARCH.iter().any(|search| name == search)
    };
    let mut asking: Vec<_> = variables.into_iter().filter(|(name, _)| !is_left_out(name)).cloned().collect();
    asking.push(("LC_ALL".into(), "C".into()));
    asking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_variables_belong_to_compiles_alone() {
        let variables =
            [("LANG", "de_DE"), ("CPATH", "/x"), ("PATH", "/bin")].map(|(name, value)| (name.into(), value.into()));
        let check = |about, expect: &[(&str, &str)]| {
            let expect: Vec<(OsString, OsString)> =
                expect.iter().map(|(name, value)| (name.into(), value.into())).collect();
            assert_eq!(asking(&variables, about), expect);
        };
        check(About::Itself, &[("PATH", "/bin"), ("LC_ALL", "C")]);
        check(About::Compile, &[("CPATH", "/x"), ("PATH", "/bin"), ("LC_ALL", "C")]);
    }
}
