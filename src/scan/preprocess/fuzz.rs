//! Fuzz targets of what the preprocessor reads: every line ends in a truth, an expansion or a named reason, whatever stands in it.

use super::trial::Trial;
use crate::command::Family;
use pumphouse_fuzz::{bounded, check, text_like};

const MACROS: [&str; 7] =
    ["ONE 1", "F(x) x", "G(x, ...) F(x) #x x##__VA_ARGS__", "SELF SELF F(SELF)", "EMPTY", "STRING \"s\"", "H(x) x(x)"];

const CONDITIONS: [&str; 5] = [
    "defined ONE && defined(F) && !(2 + 3 * 4 << 1 == 28) || ~0u > -1",
    "ONE ? 'a' == 97 && '\\n' : 1 / 0",
    "__has_include(<a.h>) && __has_include(\"a.h\")",
    "0x10 == 020 + 0b0 && 10ull % 3 == 1, F(2) == -7 / 2",
    "((((((((1))))))))",
];

/// The longest text: macros multiply what they are given, and what that may come to is the scanner's own limit.
const TEXT_BYTES: usize = 400;

/// One line, and not too long a one.
fn line_of(text: &str) -> String {
    text.chars()
        .map(|character| if matches!(character, '\n' | '\r') { ' ' } else { character })
        .take(TEXT_BYTES)
        .collect()
}

#[test]
fn conditions_of_any_text() {
    check(&text_like(&CONDITIONS), |line| {
        for family in [Family::Gcc, Family::Clang] {
            let line = line_of(&line);
            bounded(line.len(), || drop(Trial::of(&MACROS).like(family).truth(&line)));
        }
    });
}

#[test]
fn expansions_of_any_text() {
    let examples =
        ["F(1) G(a, b, c) G(x) SELF", "H(F)(F)(F)", "F(F(F(F(1))))", "STRING L\"x\" R\"(y)\" 'c' 1'0 ??=", "G((,), )"];
    check(&text_like(&examples), |line| {
        let line = line_of(&line);
        bounded(line.len(), || drop(Trial::of(&MACROS).expand(&line)));
    });
}

#[test]
fn definitions_of_any_text() {
    let examples = ["M(x, y...) x##y #y __VA_OPT__(x)", "M x M(1)", "M(...) __VA_ARGS__ ## __VA_ARGS__", "M(x) #x##x"];
    check(&text_like(&examples), |definition| {
        let definition = line_of(&definition);
        if !definition.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return;
        }
        bounded(definition.len(), || {
            let mut trial = Trial::of(&[&definition]);
            let _ = trial.expand("M(1, 2) M(M(3)) M");
            let _ = trial.truth("M(1) || defined M");
        });
    });
}
