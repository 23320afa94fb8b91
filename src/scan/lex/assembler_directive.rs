//! The words that begin the assembler's directives which read files.
//!
//! **Source:** the GNU assembler's manual, sections `.incbin` and `.include`.

/// The length of the directive that reads a file and stands at the start of `text`, in letters of either case; and
/// whether it is `.include`.
pub(crate) fn directive(text: &[u8]) -> Option<(usize, bool)> {
    let stands = |name: &[u8]| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    [(b".incbin".as_slice(), false), (b".include", true)]
        .into_iter()
        .find_map(|(name, is_include)| stands(name).then_some((name.len(), is_include)))
}
