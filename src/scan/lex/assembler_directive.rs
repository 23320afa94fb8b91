//! The words that begin the assembler's directives which read files.
//!
//! **Source:** the GNU assembler's manual, sections `.incbin` and `.include`.

/// A directive of the assembler that reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssemblerDirective {
    /// `.incbin`: the file's bytes
    Incbin,
    /// `.include`: the file's text, which may read others
    Include,
}

impl AssemblerDirective {
    /// The directive at the start of `text`, in letters of either case, and its length.
    pub(crate) fn at_start_of(text: &[u8]) -> Option<(Self, usize)> {
        let stands = |name: &[u8]| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        [(b".incbin".as_slice(), Self::Incbin), (b".include", Self::Include)]
            .into_iter()
            .find_map(|(name, directive)| stands(name).then_some((directive, name.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::AssemblerDirective;

    #[test]
    fn directives_are_told_by_their_letters() {
        for (text, expect) in [
            (".incbin \"a\"", Some((AssemblerDirective::Incbin, 7))),
            (".IncBin", Some((AssemblerDirective::Incbin, 7))),
            (".include", Some((AssemblerDirective::Include, 8))),
            (".includes", Some((AssemblerDirective::Include, 8))),
            (".inc", None),
            ("incbin", None),
            (" .incbin", None),
            ("", None),
        ] {
            assert_eq!(AssemblerDirective::at_start_of(text.as_bytes()), expect, "{text}");
        }
    }
}
