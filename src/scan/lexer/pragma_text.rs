//! Pragmas in text: the operand of `_Pragma`, and what macros may make one of.

use crate::scan::tokens::{continues_identifier, raw_string_end};

/// How much of a pragma's text is kept, and how far before it the macro's name is looked for.
const MAX_PRAGMA_BYTES: usize = 160;

/// The unquoted operand of `_Pragma`, which stands before `text`.
pub(super) fn pragma_operand(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start();
    let quote = memchr::memchr(b'"', text.get(..4.min(text.len()))?)?;
    let (prefix, quoted) = text.split_at(quote);
    if prefix.ends_with(b"R") {
        let end = raw_string_end(quoted, 1)?;
        let open = memchr::memchr(b'(', quoted)?;
        let close = memchr::memrchr(b')', &quoted[..end])?;
        return Some(quoted.get(open + 1..close)?.to_vec());
    }
    if !matches!(prefix, b"" | b"L" | b"u" | b"U" | b"u8") {
        return None;
    }
    let text = &quoted[1..];
    let mut operand = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return Some(operand),
            b'\n' => return None,
            b'\\' => operand.push(bytes.next()?),
            _ => operand.push(byte),
        }
    }
    None
}

/// The text of a pragma at the start of `text`, up to the end of the string or of the argument that it stands in.
pub(super) fn pragma_text(text: &[u8]) -> Vec<u8> {
    let mut depth = 0_u32;
    let mut pragma = Vec::new();
    let mut bytes = text.iter().copied().take(MAX_PRAGMA_BYTES);
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => pragma.extend(bytes.next()),
            b'\n' => break,
            b'"' if depth == 0 => break,
            b')' if depth == 0 => break,
            _ => {
                match byte {
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                pragma.push(byte);
            }
        }
    }
    pragma
}

/// The name of the macro in whose arguments `before` ends; empty where there is none.
pub(super) fn macro_around(before: &[u8]) -> &[u8] {
    let mut depth = 0_u32;
    let first = before.len().saturating_sub(MAX_PRAGMA_BYTES);
    for at in (first..before.len()).rev() {
        match before[at] {
            b')' => depth += 1,
            b'(' if depth > 0 => depth -= 1,
            b'(' => {
                let head = before[..at].trim_ascii_end();
                let start = head.iter().rposition(|byte| !continues_identifier(*byte)).map_or(0, |other| other + 1);
                // None stands before the parenthesis in a raw string.
                if start < head.len() && head[start..] != *b"R" {
                    return &head[start..];
                }
            }
            b';' | b'{' | b'}' | b'#' => return b"",
            _ => {}
        }
    }
    b""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pragmas_and_the_macros_around_them() {
        let text = b"P (0, \"push_macro(\\\"X\\\")\"); Q(R\"(once)\")";
        let word = |word: &str| memchr::memmem::find(text, word.as_bytes()).expect("it stands there");
        assert_eq!(macro_around(&text[..word("push")]), b"P");
        assert_eq!(pragma_text(&text[word("push")..]), b"push_macro(\"X\")");
        assert_eq!(macro_around(&text[..word("once")]), b"Q");
        assert_eq!(pragma_text(&text[word("once")..]), b"once");
        for operand in ["(\"a b\")", " ( L\"a b\" )", "(u8\"a b\")", "(R\"x(a b)x\")"] {
            assert_eq!(pragma_operand(operand.as_bytes()).as_deref(), Some(b"a b".as_slice()), "{operand}");
        }
        assert_eq!(pragma_operand(b"(Q)"), None);
    }
}
