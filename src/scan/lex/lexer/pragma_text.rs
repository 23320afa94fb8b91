//! The operand of `_Pragma`.

use crate::scan::lex::characters::raw_string_end;

/// The unquoted operand of `_Pragma`, which stands before `text`.
pub(super) fn pragma_operand(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start();
    let quote = memchr::memchr(b'"', text.get(..2.min(text.len()))?)?;
    unquoted(text).filter(|_| matches!(&text[..quote], b"" | b"L"))
}

/// What the string at the start of `text` says to `_Pragma`.
pub(crate) fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::{pragma_operand, unquoted};

    #[test]
    fn operands_are_unquoted() {
        for operand in ["(\"a b\")", " ( L\"a b\" )"] {
            assert_eq!(pragma_operand(operand.as_bytes()).as_deref(), Some(b"a b".as_slice()), "{operand}");
        }
        for other in ["(Q)", "(u8\"a b\")", "(R\"(a b)\")"] {
            assert_eq!(pragma_operand(other.as_bytes()), None, "{other}");
        }
        for string in ["u8\"a b\"", "R\"x(a b)x\""] {
            assert_eq!(unquoted(string.as_bytes()).as_deref(), Some(b"a b".as_slice()), "{string}");
        }
    }
}
