//! Conditions that are always, sometimes or never so, as each family of compilers has them.

use super::{Problem, Truth};
use crate::command::Family;
use crate::scan::preprocess::trial::Trial;

fn check(lines: &[&str], expect: Truth) {
    for line in lines {
        for family in [Family::Gcc, Family::Clang] {
            let truth = Trial::of(&["ONE 1", "EMPTY", "F(x) x", "STRING \"s\""]).like(family).truth(line);
            assert!(matches!(truth, Ok(truth) if truth == expect), "#if {line} as {family:?}");
        }
    }
}

#[test]
fn conditions_that_hold() {
    check(
        &[
            "ONE",
            "F(2) == 2",
            "defined ONE && defined(F) && !defined TWO",
            "-1 > 0u",
            "(2 + 3 * 4 << 1) == 28",
            "ONE ? 5 : 1 / 0",
            "0 || ONE",
            "'a' == 97 && '\\n' == 10",
            "0x10 == 020 + 0b0 && 10ull % 3 == 1",
            "~0 == -1 && -7 / 2 == -3",
            "__has_include(\"a.h\")",
            "5 >= 5 && 4 != 5 && (1, 1)",
        ],
        Truth::True,
    );
}

#[test]
fn conditions_that_do_not_hold() {
    check(
        &[
            "0",
            "TWO",
            "ONE - 1",
            "defined(TWO)",
            "0 && 1 / 0",
            "1 ? 0 : 1",
            "2 < 1 || 3 == 4",
            "__has_include(<a.h>)",
            "!ONE",
        ],
        Truth::False,
    );
}

#[test]
fn conditions_that_nobody_understands() {
    check(&["", "EMPTY", "1 +", "1 2", "STRING", "(1", "1 / 0", "F(", "1.5", "L'\\xff'"], Truth::Unknown);
}

#[test]
fn a_macro_with_several_definitions_is_named() {
    let mut trial = Trial::of(&[]);
    let (symbol, one) = trial.define("A 1");
    let (_, other) = trial.define("A B");
    trial.table.write(symbol, trial.definitions.alternatives([one, other]));
    assert!(matches!(trial.truth("A == 1"), Err(Problem::Undecided(undecided)) if undecided == symbol));
}
