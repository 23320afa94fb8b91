//! Whole uses of macros in text.

use crate::scan::lex::characters::is_blank;
use crate::scan::lex::lexer::Lexer;
use std::ops::Range;

/// How long a use may be.
pub(super) const MAX_CALL_BYTES: usize = 8192;

/// The use of a macro.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// That of the outermost macro in whose arguments it may stand, with the arguments for what that expands to.
    pub(super) whole: Range<usize>,
    /// The names before parentheses further out, whose ends are not known: if one is a macro, more belongs to the use.
    pub(super) within: Vec<u8>,
    /// How much of the source was looked at to find that out, in bytes.
    pub(super) cost: usize,
}

impl Lexer<'_> {
    /// The use at `name`; `None` where its end is not known, for instance since a directive stands in it.
    pub(super) fn call(&mut self, name: Range<usize>) -> Option<Call> {
        self.follow_parentheses(name.start);
        if self.parentheses.at != name.start || self.parentheses.are_lost {
            return None;
        }
        let open = &self.parentheses.open;
        let limit = self.source.len().min(name.start + MAX_CALL_BYTES);
        let mut end = self.arguments_end(name.end, limit)?;
        let mut start = name.start;
        let mut further_out = open.len();
        // Each parenthesis that closes behind it is one of those around it.
        let mut at = end;
        for (outer, before) in open.iter().enumerate().rev() {
            let Some(close) = self.close(at, limit) else { break };
            at = close;
            if before.is_empty() {
                continue;
            }
            if close - before.start > MAX_CALL_BYTES {
                break;
            }
            (start, end, further_out) = (before.start, close, outer);
        }
        let within = self.joined(open[..further_out].iter())?;
        let whole = start..self.arguments_end(end, limit)?;
        let cost = if further_out > 0 { MAX_CALL_BYTES } else { whole.len() };
        Some(Call { whole, within, cost })
    }

    /// The end of all parenthesised text that follows `at`, which is `at` where there is none; `None` where it has none
    /// before `limit`.
    fn arguments_end(&self, at: usize, limit: usize) -> Option<usize> {
        let mut end = at;
        loop {
            let open = self.blanks_end(end);
            if self.byte(open) != b'(' {
                return Some(end);
            }
            end = self.close(open + 1, limit)?;
        }
    }

    /// The byte after the parenthesis that closes the one open at `at`; `None` where there is none before `limit`, or a
    /// directive before it.
    fn close(&self, mut at: usize, limit: usize) -> Option<usize> {
        let mut depth = 1_u32;
        let mut starts_line = false;
        while at < limit {
            match self.source[at] {
                b'(' => depth += 1,
                b')' if depth == 1 => return Some(at + 1),
                b')' => depth -= 1,
                b'#' if starts_line => return None,
                b'%' if starts_line && self.byte(at + 1) == b':' => return None,
                _ => {}
            }
            let next = self.part_end(at);
            starts_line = match self.source[at] {
                b'\n' => true,
                b'/' | b'\\' => starts_line && next > at + 1,
                byte => starts_line && is_blank(byte),
            };
            at = next;
        }
        None
    }

    /// Where the blanks, splices and comments that start at `at` end.
    fn blanks_end(&self, mut at: usize) -> usize {
        loop {
            let end = match self.byte(at) {
                b'\\' => self.splice_at(at),
                b'/' => self.comment_end(at),
                byte => byte.is_ascii_whitespace().then_some(at + 1),
            };
            match end {
                Some(end) => at = end,
                None => return at,
            }
        }
    }

    /// The text of `range` without splices, and with a blank for each comment.
    pub(super) fn plain_text(&self, range: Range<usize>) -> Vec<u8> {
        let mut text = Vec::with_capacity(range.len());
        let mut at = range.start;
        while at < range.end {
            let next = self.part_end(at).min(range.end);
            match self.source[at] {
                b'/' if next > at + 1 => text.push(b' '),
                b'\\' if next > at + 1 => {}
                _ => self.push_without_splices(at..next, &mut text),
            }
            at = next;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::lex::directives::LexModes;
    use crate::scan::lex::lexer::Names;

    #[test]
    fn whole_uses() {
        let modes = LexModes { raw_strings: true, digit_separators: true, ..LexModes::default() };
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let at = memchr::memmem::find(text.as_bytes(), b"P").expect("it stands there");
            let call = Lexer::new(text.as_bytes(), modes, &Names::default()).call(at..at + 1);
            let found = call.map(|call| (&text[call.whole], String::from_utf8(call.within).expect("names are text")));
            assert_eq!(found.as_ref().map(|(whole, within)| (*whole, within.as_str())), expect, "{text}");
        };
        let alone = |whole| Some((whole, ""));
        check("x = P (a, \")\", ')' /* ) */); y()", alone("P (a, \")\", ')' /* ) */)"));
        check("x = LOSE(P(a)) + 1", alone("LOSE(P(a))"));
        check("x = LOSE/* ( */((1, P(a))) + 1", alone("LOSE/* ( */((1, P(a)))"));
        check("LOSE({ f(); /* c */ \"(\"; P(a); })", alone("LOSE({ f(); /* c */ \"(\"; P(a); })"));
        check("x = GIVE(P)(a) /* c */ \\\n (b);", alone("GIVE(P)(a) /* c */ \\\n (b)"));
        check("f(1, P, 2)", alone("f(1, P, 2)"));
        check("P;", alone("P"));
        check("template<class P> x(", alone("P"));
        check("P(1'000, R\"x())x\")", alone("P(1'000, R\"x())x\")"));
        check("f(1, (g(P(a), G(\n#if X\n", Some(("P(a)", "f g")));
        check("f(G(f(P(a)\n /* c */ # define X\n))", Some(("P(a)", "f G")));
        check("P(\n#define X\n)", None);
        check("P(a", None);
        check(&format!("f({}P(a))", "x, ".repeat(MAX_CALL_BYTES / 3)), Some(("P(a)", "f")));
        check(&format!("P({})", "x, ".repeat(MAX_CALL_BYTES / 3)), None);
        check(&format!("{}P(a)", "((".repeat(MAX_CALL_BYTES)), None);
    }
}
