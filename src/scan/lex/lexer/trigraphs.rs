//! Trigraphs, where a language has them.
//!
//! **Source:** C17 5.2.1.1. In a raw string they stand for themselves.

use crate::scan::lex::characters::{continues_identifier, raw_string_end};
use crate::scan::lex::directives::LexModes;
use std::borrow::Cow;

/// `content` with its trigraphs replaced, but for those in raw strings.
pub(super) fn replace(content: &[u8], modes: LexModes) -> Cow<'_, [u8]> {
    if memchr::memmem::find(content, b"??").is_none() {
        return Cow::Borrowed(content);
    }
    let mut replaced = Vec::with_capacity(content.len());
    let mut at = 0;
    while at < content.len() {
        if modes.raw_strings
            && content[at..].starts_with(b"R\"")
            && starts_raw_string(&content[..at])
            && let Some(end) = raw_string_end(content, at + 2)
        {
            replaced.extend_from_slice(&content[at..end]);
            at = end;
            continue;
        }
        match trigraph(&content[at..]) {
            Some(byte) => {
                replaced.push(byte);
                at += 3;
            }
            None => {
                replaced.push(content[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(replaced)
}

fn starts_raw_string(before: &[u8]) -> bool {
    let prefix = before.strip_suffix(b"u8").or_else(|| before.strip_suffix(b"L")).unwrap_or(before);
    let prefix = prefix.strip_suffix(b"u").or_else(|| prefix.strip_suffix(b"U")).unwrap_or(prefix);
    !prefix.last().is_some_and(|byte| continues_identifier(*byte))
}

fn trigraph(text: &[u8]) -> Option<u8> {
    if !text.starts_with(b"??") {
        return None;
    }
    Some(match text.get(2)? {
        b'=' => b'#',
        b'/' => b'\\',
        b'\'' => b'^',
        b'(' => b'[',
        b')' => b']',
        b'!' => b'|',
        b'<' => b'{',
        b'>' => b'}',
        b'-' => b'~',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigraphs_are_replaced_but_in_raw_strings() {
        let check = |text: &str, expect: &str| {
            let modes = LexModes { raw_strings: true, ..LexModes::default() };
            assert_eq!(String::from_utf8_lossy(&replace(text.as_bytes(), modes)), expect, "of {text:?}");
        };
        check("plain ? text", "plain ? text");
        check("??=define A ??( ??) ??< ??> ??! ??' ??-", "#define A [ ] { } | ^ ~");
        check("a??/\nb ???= ??x", "a\\\nb ?# ??x");
        check("R\"(??=)\" ??=", "R\"(??=)\" #");
        check("u8R\"(??=)\" xR\"(??=)\"", "u8R\"(??=)\" xR\"(#)\"");
    }
}
