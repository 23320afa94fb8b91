//! What may be uses of macros in text: names before parentheses.

use crate::scan::tokens::{continues_identifier, raw_string_end};
use std::ops::Range;

/// How far before a place the names are looked for in whose parentheses it stands.
const MAX_DISTANCE: usize = 512;

/// How many macros around a name are tried, from the outermost on.
const MAX_OUTER: usize = 4;

/// How long a use may be.
pub(super) const MAX_CALL_BYTES: usize = 8192;

/// The names before the parentheses in which `at` stands, the innermost first, none of them before `from`.
pub(super) fn around(source: &[u8], from: usize, at: usize) -> Vec<Range<usize>> {
    let first = from.max(at.saturating_sub(MAX_DISTANCE));
    let mut names = Vec::new();
    let mut depth = 0_u32;
    let mut position = at;
    while position > first {
        position -= 1;
        match source[position] {
            b')' => depth += 1,
            b'(' if depth > 0 => depth -= 1,
            b'(' => {
                let head = source[..position].trim_ascii_end();
                let start = head.iter().rposition(|byte| !continues_identifier(*byte)).map_or(0, |other| other + 1);
                // None stands before the parenthesis in a raw string.
                if start < head.len() && start >= from && head[start..] != *b"R" {
                    names.push(start..head.len());
                    position = start;
                }
            }
            b';' | b'{' | b'}' => break,
            b'#' if starts_line(source, position) => break,
            _ => {}
        }
    }
    names
}

/// The whole use at `name`: that of the outermost macro in whose arguments it may stand, behind `from`. `None` where it has
/// no end, or a directive in it.
pub(super) fn whole(source: &[u8], from: usize, name: Range<usize>) -> Option<Range<usize>> {
    let is_called = open_after(source, name.end).is_some();
    let outer = around(source, from, name.start).into_iter().rev().take(MAX_OUTER);
    let ended = outer.chain(is_called.then(|| name.clone())).find_map(|name| Some(name.start..end(source, &name)?));
    ended.or_else(|| (!is_called).then_some(name))
}

/// Where the use of `name` ends, with its arguments and those for what it expands to.
fn end(source: &[u8], name: &Range<usize>) -> Option<usize> {
    let limit = source.len().min(name.start + MAX_CALL_BYTES);
    let mut end = close(&source[..limit], open_after(source, name.end)?)?;
    while let Some(open) = open_after(source, end)
        && let Some(next) = close(&source[..limit], open)
    {
        end = next;
    }
    Some(end)
}

/// The parenthesis that follows `at`, blanks, splices and comments aside.
fn open_after(source: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match source.get(at)? {
            b'(' => return Some(at),
            b'/' => at = comment_end(source, at)?,
            b'\\' => at += 1,
            byte if byte.is_ascii_whitespace() => at += 1,
            _ => return None,
        }
    }
}

/// The end of the comment at `at`, if one starts there and ends.
fn comment_end(source: &[u8], at: usize) -> Option<usize> {
    let rest = &source[at..];
    if rest.starts_with(b"/*") {
        return Some(at + 4 + memchr::memmem::find(rest.get(2..)?, b"*/")?);
    }
    rest.starts_with(b"//").then(|| at + memchr::memchr(b'\n', rest).unwrap_or(rest.len()))
}

/// The byte after the parenthesis that closes the one at `open`. `None` where there is none, or a directive before it.
fn close(source: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_u32;
    let mut at = open;
    loop {
        match source.get(at)? {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            b'/' => {
                if let Some(end) = comment_end(source, at) {
                    at = end;
                    continue;
                }
            }
            b'"' if source[..at].ends_with(b"R") => {
                at = raw_string_end(source, at + 1)?;
                continue;
            }
            // A digit separator is no quote.
            b'\'' if source[..at].last().is_some_and(u8::is_ascii_hexdigit) => {}
            quote @ (b'"' | b'\'') => {
                at = quoted_end(source, at + 1, *quote)?;
                continue;
            }
            b'#' if starts_line(source, at) => return None,
            b'%' if source[at..].starts_with(b"%:") && starts_line(source, at) => return None,
            _ => {}
        }
        at += 1;
    }
}

fn quoted_end(source: &[u8], mut at: usize, quote: u8) -> Option<usize> {
    loop {
        match source.get(at)? {
            b'\\' => at += 2,
            b'\n' => return Some(at),
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Whether only blanks stand before `at` in its line.
fn starts_line(source: &[u8], at: usize) -> bool {
    let before = source[..at].iter().rev().find(|byte| !matches!(**byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c));
    before.is_none_or(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_around_a_place() {
        let check = |text: &str, expect: &[&str]| {
            let at = memchr::memmem::find(text.as_bytes(), b"HERE").expect("it stands there");
            let names: Vec<&str> = around(text.as_bytes(), 0, at).into_iter().map(|name| &text[name]).collect();
            assert_eq!(names, expect, "{text}");
        };
        check("F (0, \"HERE", &["F"]);
        check("F(G(x), H(#a, HERE", &["H", "F"]);
        check("F(R\"(HERE", &["F"]);
        check("F(\n#define G(x) HERE", &[]);
        check("F(x); HERE", &[]);
    }

    #[test]
    fn whole_uses() {
        let check = |text: &str, expect: Option<&str>| {
            let at = memchr::memmem::find(text.as_bytes(), b"P").expect("it stands there");
            let found = whole(text.as_bytes(), 0, at..at + 1).map(|whole| &text[whole]);
            assert_eq!(found, expect, "{text}");
        };
        check("x = P (a, \")\", ')' /* ) */); y()", Some("P (a, \")\", ')' /* ) */)"));
        check("x = LOSE(P(a)) + 1", Some("LOSE(P(a))"));
        check("x = GIVE(P)(a)(b);", Some("GIVE(P)(a)(b)"));
        check("f(1, P, 2)", Some("f(1, P, 2)"));
        check("P;", Some("P"));
        check("template<class P> x(", Some("P"));
        check("P(1'000, R\"x())x\")", Some("P(1'000, R\"x())x\")"));
        check("P(\n#define X\n)", None);
        check("P(a", None);
    }
}
