//! Writes the controlling expressions of conditions, and the values that macros have in them.

use crate::random::Random;

/// What a macro's name is for: those that the compiler defines are for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}

/// The name of a macro that may or may not be defined.
pub(crate) fn macro_name(random: &mut Random, purpose: Use) -> String {
    let special =
        ["__cplusplus", "__GNUC__", "__clang__", "__OPTIMIZE__", "__ASSEMBLER__", "__STDC_VERSION__", "__has_include"];
    match random.below(12) {
        0 if purpose == Use::Read => (*random.pick(&special)).to_owned(),
        1 => format!("GUARD_{}_{}", 1 + random.below(12), random.below(3)),
        _ => format!("M{}", random.below(10)),
    }
}

/// What a macro of the `M` family stands for.
pub(crate) fn value(random: &mut Random) -> String {
    let odd =
        ["0x10", "1u", "-1", "(2)", "M1", "M2 + 1", "defined(M3)", "'a'", "7ull", "F0(1)", "F0", "M0", "0b11", "true"];
    if random.chance(1) {
        return String::new();
    }
    if random.chance(45) { (*random.pick(&odd)).to_owned() } else { random.below(4).to_string() }
}

/// Writes one expression.
pub(crate) struct Writer<'a> {
    pub(crate) random: &'a mut Random,
    /// A header that may be asked for, with its quotes.
    pub(crate) header: &'a str,
    /// Whether it is for a source, in which there is no next header.
    pub(crate) is_source: bool,
}

impl Writer<'_> {
    /// An expression, nested up to `depth`.
    pub(crate) fn generate(&mut self, depth: usize) -> String {
        if depth == 0 || self.random.chance(25) {
            return self.leaf();
        }
        match self.random.below(12) {
            0 => format!("!({})", self.generate(depth - 1)),
            1 => format!("- {}", self.leaf()),
            2 => format!("~{}", self.leaf()),
            3 => {
                let (condition, one) = (self.generate(depth - 1), self.generate(depth - 1));
                format!("({condition} ? {one} : {})", self.generate(depth - 1))
            }
            4 => format!("F0({})", self.argument()),
            5 => format!("F1({}, {})", self.argument(), self.argument()),
            6 => format!("F4({})", self.random.below(10)),
            7 => format!("F2(1, {})", self.argument()),
            _ => self.binary(depth - 1),
        }
    }

    fn binary(&mut self, depth: usize) -> String {
        let operators = [
            "+", "-", "*", "&", "|", "^", "<<", ">>", "==", "!=", "<", ">", "<=", ">=", "&&", "||", "&&", "||", "%",
            "/",
        ];
        let operator = self.random.pick(&operators);
        let (left, right) = (self.generate(depth), self.generate(depth));
        match operator {
            "%" | "/" => format!("({left}) {operator} (({right}) | 1)"),
            "<<" | ">>" if self.random.chance(70) => format!("({left}) {operator} (({right}) & 7)"),
            _ if self.random.chance(50) => format!("({left}) {operator} ({right})"),
            _ => format!("{left} {operator} {right}"),
        }
    }

    /// An argument of a macro: its macros are expanded first, so that `defined` seldom makes sense in one.
    fn argument(&mut self) -> String {
        if self.random.chance(4) { self.leaf() } else { format!("M{}", self.random.below(10)) }
    }

    fn leaf(&mut self) -> String {
        let name = macro_name(self.random, Use::Read);
        match self.random.below(22) {
            0 | 1 => format!("defined({name})"),
            2 => format!("defined {name}"),
            3 => format!("!defined({name})"),
            4 | 5 => format!("__has_include({})", self.header),
            6 if !self.is_source => format!("__has_include_next({})", self.header),
            7 => "__INCLUDE_LEVEL__ > 1".to_owned(),
            8 => "__COUNTER__ & 1".to_owned(),
            9 => "__cplusplus >= 201703L".to_owned(),
            10 => "__has_attribute(noreturn)".to_owned(),
            11 => "'\\x41' == 65".to_owned(),
            12 => "(-1 > 0u)".to_owned(),
            13 => "0x7fffffffffffffff + 1u > 0".to_owned(),
            14 => "__has_builtin(__builtin_expect)".to_owned(),
            15 => "F0".to_owned(),
            16 => self.random.below(4).to_string(),
            _ => format!("M{}", self.random.below(10)),
        }
    }
}
