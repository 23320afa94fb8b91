//! Bytes by what they are to a lexer, and the ends of raw strings.

/// White space within a line.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0 | b'\r' | b'\n')
}

/// Whether an identifier may start with `byte`.
pub(crate) const fn starts_identifier(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Whether an identifier may go on with `byte`.
pub(crate) const fn continues_identifier(byte: u8) -> bool {
    starts_identifier(byte) || byte.is_ascii_digit()
}

/// The end of a raw string whose delimiter starts at `start`, if it ends.
pub(crate) fn raw_string_end(text: &[u8], start: usize) -> Option<usize> {
    let open = start + memchr::memchr(b'(', &text[start..(start + 17).min(text.len())])?;
    let delimiter = &text[start..open];
    let mut at = open + 1;
    while let Some(close) = memchr::memchr(b')', &text[at..]) {
        at += close + 1;
        if text[at..].starts_with(delimiter) && text.get(at + delimiter.len()) == Some(&b'"') {
            return Some(at + delimiter.len() + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_strings_end_where_their_delimiter_says() {
        for (text, expect) in [
            ("(a)\"b", Some(4)),
            ("x(a)\"b)x\" c", Some(9)),
            ("x(a\n)x)x\"", Some(9)),
            ("0123456789abcdef(a)0123456789abcdef\"", Some(36)),
            ("0123456789abcdefg(a)0123456789abcdefg\"", None),
            ("x(a)y\"", None),
            ("x", None),
        ] {
            assert_eq!(raw_string_end(text.as_bytes(), 0), expect, "{text}");
        }
    }

    #[test]
    fn bytes_of_identifiers_and_blanks() {
        let all = |is: fn(u8) -> bool| (0..128).filter(|byte| is(*byte)).map(char::from).collect::<String>();
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
        assert_eq!(all(starts_identifier), format!("${letters}"));
        assert_eq!(all(continues_identifier), format!("$0123456789{letters}"));
        assert_eq!(all(is_blank), "\0\t\n\x0b\x0c\r ");
        assert!((128..=255).all(starts_identifier), "letters of other alphabets");
    }
}
