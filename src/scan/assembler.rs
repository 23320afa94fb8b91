//! What the assembler reads besides its source: the operands of `.incbin` and `.include`, in assembly and in the
//! strings of inline assembly.
//!
//! **Source:** the GNU assembler's manual, sections `.incbin`, `.include` and "Command-Line Options".

use crate::command::{Command, SearchChain};
use crate::scan::tokens::continues_identifier;
use std::os::unix::ffi::OsStrExt as _;

/// Whether `text`, which starts with the directive, goes on with a string, or with the end of the C string that a
/// name made by macros may follow.
pub(crate) fn may_take_operand(text: &[u8], is_assembler: bool) -> bool {
    let rest = after_directive(text);
    rest.starts_with(b"\"") || rest.starts_with(b"\\\"") || rest.starts_with(b"%") || is_assembler && !rest.is_empty()
}

/// Whether the directive at the start of `text` is `.include`.
pub(crate) fn is_include(text: &[u8]) -> bool {
    text.starts_with(b".include")
}

fn after_directive(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b".incbin").or_else(|| text.strip_prefix(b".include")).unwrap_or(text);
    let mut rest = text;
    loop {
        let trimmed = rest.trim_ascii_start();
        let trimmed = trimmed.strip_prefix(b"\\t").unwrap_or(trimmed);
        if trimmed.len() == rest.len() {
            return rest;
        }
        rest = trimmed;
    }
}

/// The operand of the directive at the start of `text`, where it stands there in full: `"name"` or, in a C string,
/// `\"name\"`.
pub(crate) fn literal_operand(text: &[u8]) -> Option<Vec<u8>> {
    let rest = after_directive(text);
    let (rest, close) = match rest.strip_prefix(b"\\\"") {
        Some(rest) => (rest, b"\\\"".as_slice()),
        None => (rest.strip_prefix(b"\"")?, b"\"".as_slice()),
    };
    let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    let end = memchr::memmem::find(line, close)?;
    let name = &line[..end];
    // A quote within ends the C string: the rest of the name comes from elsewhere.
    let is_whole = !name.is_empty() && !name.contains(&b'"') && !name.contains(&b'%');
    let is_plain_quote = close == b"\"" && line.get(end + 1).is_none_or(|next| !continues_identifier(*next));
    (is_whole && (close != b"\"" || is_plain_quote && looks_like_name(name))).then(|| unescape_body(name))
}

/// Between the end of one C string and the start of the next stands no name: `" MACRO "`.
fn looks_like_name(name: &[u8]) -> bool {
    !name.starts_with(b" ") && !name.ends_with(b" ")
}

/// The tokens of the asm statement from the directive on, its first string opened anew.
pub(crate) fn statement(text: &[u8]) -> Vec<u8> {
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    let mut statement = vec![b'"'];
    statement.extend(text[..end].iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    statement
}

/// The arguments of a macro's use: `( … )` at the start of `text`, on one line.
pub(crate) fn arguments(text: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 16_384;
    let mut depth = 0_u32;
    let mut arguments = Vec::new();
    for byte in text.iter().take(LONGEST) {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            byte if depth == 0 && !byte.is_ascii_whitespace() => return Vec::new(),
            _ => {}
        }
        arguments.push(if *byte == b'\n' { b' ' } else { *byte });
        if depth == 0 && *byte == b')' {
            return arguments;
        }
    }
    Vec::new()
}

/// What a string literal stands for.
pub(crate) fn unescape(literal: &[u8]) -> Vec<u8> {
    let start = memchr::memchr(b'"', literal).map_or(0, |at| at + 1);
    let body = &literal[start..];
    unescape_body(body.strip_suffix(b"\"").unwrap_or(body))
}

fn unescape_body(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => text.push(b'\n'),
                Some(b't') => text.push(b'\t'),
                Some(other) => text.push(other),
                None => {}
            },
            _ => text.push(byte),
        }
    }
    text
}

/// Every `.incbin` and `.include` in assembly, with its operand: whether it is an `.include`, and the name.
pub(crate) fn inputs(assembly: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut inputs = Vec::new();
    for (directive, is_include) in [(b".incbin".as_slice(), false), (b".include", true)] {
        for found in memchr::memmem::find_iter(assembly, directive) {
            let rest = &assembly[found..];
            let before = found.checked_sub(1).map_or(b' ', |at| assembly[at]);
            let is_word = !continues_identifier(before)
                && rest.get(directive.len()).is_none_or(|byte| !continues_identifier(*byte));
            let operand = after_directive(rest);
            if is_word
                && let Some(quoted) = operand.strip_prefix(b"\"")
                && let Some(end) = memchr::memchr2(b'"', b'\n', quoted)
                && quoted[end] == b'"'
            {
                inputs.push((is_include, unescape_body(&quoted[..end])));
            }
        }
    }
    inputs
}

/// The directories that the assembler searches after the working directory: `-I` and `-Wa,-I`.
pub(crate) fn search_directories(command: &Command) -> Vec<Vec<u8>> {
    let mut directories: Vec<Vec<u8>> = command
        .preprocessor
        .directories
        .iter()
        .filter(|directory| directory.chain == SearchChain::Bracket)
        .map(|directory| directory.path.as_os_str().as_bytes().to_vec())
        .collect();
    let assembler = &command.preprocessor.assembler_directories;
    directories.extend(assembler.iter().map(|directory| directory.as_os_str().as_bytes().to_vec()));
    directories
}

#[cfg(test)]
mod tests {
    use super::{inputs, literal_operand};

    #[test]
    fn literal_operands() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(literal_operand(text.as_bytes()).as_deref(), expect.map(str::as_bytes), "of {text:?}");
        };
        check(".incbin \"a b.bin\", 4", Some("a b.bin"));
        check(".incbin \\\"a.bin\\\"\\n\");", Some("a.bin"));
        check(".incbin \\\"\" NAME \"\\\"\");", None);
        check(".incbin \" STRING(x) \"\\n\");", None);
        check(".include\\t\\\"a.s\\\"\"", Some("a.s"));
        check(".incbin NAME", None);
    }

    #[test]
    fn inputs_of_assembly() {
        let found = inputs(b"\t.include \"a.s\"\n .incbin \"b c\" .incbinx \"d\"\n.incbin \"e\n");
        assert_eq!(found, [(false, b"b c".to_vec()), (true, b"a.s".to_vec())]);
    }
}
