//! Pragmas in text that macros have made: `_Pragma("…")`, and `__pragma(…)` of clang.

use crate::command::Family;
use crate::scan::lex::lexer::pragma_text::unquoted;
use crate::scan::preprocess::symbols::{Symbols, known};
use crate::scan::preprocess::tokens::{Kind, Token};

/// Whether the compiler's version decides if something in expanded text is a pragma: gcc's have no prefix but `L` so far.
pub(crate) fn has_unclear_pragma(tokens: &[Token], family: Family, symbols: &Symbols) -> bool {
    let mut operands = tokens.windows(3).filter(|three| three[0].is_name(known::PRAGMA_OPERATOR)).map(|three| three[2]);
    let has_prefix = |operand: Token| {
        operand.kind == Kind::StringLiteral && !matches!(symbols.text(operand.symbol), [b'"', ..] | [b'L', b'"', ..])
    };
    family == Family::Gcc && operands.any(has_prefix)
}

/// The pragmas that expanded text holds, each as it stands behind `#pragma`.
pub(crate) fn pragmas_in(tokens: &[Token], symbols: &Symbols) -> Vec<Vec<u8>> {
    let text = |token: &Token| symbols.text(token.symbol);
    let mut pragmas = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (token.symbol, &tokens[at + 1..]) {
            (known::PRAGMA_OPERATOR, [open, string, close, ..])
                if open.is(known::OPEN) && close.is(known::CLOSE) && string.kind == Kind::StringLiteral =>
            {
                pragmas.extend(unquoted(text(string)));
            }
            // Without the extension it is a name like others; then it stands before no parenthesis.
            (known::PRAGMA_KEYWORD, [open, rest @ ..]) if open.is(known::OPEN) => {
                let mut depth = 1_u32;
                let words = rest.iter().take_while(|token| {
                    depth += u32::from(token.is(known::OPEN));
                    depth -= u32::from(token.is(known::CLOSE));
                    depth > 0
                });
                pragmas.push(words.map(text).collect::<Vec<_>>().join(&b' '));
            }
            _ => {}
        }
    }
    pragmas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::preprocess::tokens::{TokenModes, tokenize};

    #[test]
    fn pragmas_are_found_in_text() {
        let check = |text: &str, expect: &[&str]| {
            let (symbols, mut tokens) = (Symbols::default(), Vec::new());
            tokenize(text.as_bytes(), TokenModes::default(), &symbols, &mut tokens);
            let found: Vec<_> =
                pragmas_in(&tokens, &symbols).iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("int x;", &[]);
        check("x _Pragma(\"once\") y", &["once"]);
        check("_Pragma(L\"push_macro(\\\"X\\\")\") _Pragma(\"once\")", &["push_macro(\"X\")", "once"]);
        check("_Pragma(once) _Pragma (\"a\" \"b\")", &[]);
        check("__pragma(push_macro(\"X\")) f(x)", &["push_macro ( \"X\" )"]);
        check("__pragma once", &[]);
    }
}
