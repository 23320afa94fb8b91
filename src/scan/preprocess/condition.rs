//! The value of an `#if`: true, false, or unknown to anyone but the compiler.
//!
//! **Source:** C17 6.10.1 and 6.6, C++20 [cpp.cond]: arithmetic is that of `intmax_t` and `uintmax_t`, here 64 bits.

mod number;

use crate::fallback::{Fallback, Reason};
use crate::scan::limits::MAX_CONDITION_DEPTH;
use crate::scan::preprocess::definitions::{Builtin, Definition};
use crate::scan::preprocess::expand::{Expander, Trouble};
use crate::scan::preprocess::symbols::{Symbol, known};
use crate::scan::preprocess::tokens::{Kind, Token, operator_of};

/// What is known of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

/// Whether an integer's type has a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Signed,
    Unsigned,
}

/// The value of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Known { bits: u64, sign: Sign },
    Unknown,
}

/// An operator whose operand is a header's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderOperator {
    /// `__has_include`
    Include,
    /// `__has_include_next`, and whether it came out of a macro.
    IncludeNext { is_in_macro: bool },
    /// `__has_embed`
    Embed,
}

/// What a condition asks of the world.
pub(crate) trait Oracle {
    /// `__has_include` and its kind: `operand` is the header's name with its quotes or brackets.
    ///
    /// # Errors
    /// A [`Fallback`] where the look-up gives one.
    fn has_header(&mut self, operator: HeaderOperator, operand: &[u8]) -> Result<Option<u64>, Fallback>;

    /// `__has_builtin(operand)` and its kind; `None` where nobody knows.
    ///
    /// # Errors
    /// A [`Fallback`] where the compiler can't be asked.
    fn has_feature(&mut self, operator: Symbol, operand: &[u8]) -> Result<Option<u64>, Fallback>;
}

/// Why a condition has no value.
pub(crate) enum Problem {
    /// The compiler will refuse it, or nobody knows.
    Unknown,
    /// It depends on this macro, which has several definitions.
    Undecided(Symbol),
    /// It exceeds a limit.
    Limit,
    /// The scan ends here.
    Fallback(Fallback),
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Malformed | Trouble::Unclear => Self::Unknown,
            Trouble::Limit => Self::Limit,
        }
    }
}

impl From<Fallback> for Problem {
    fn from(fallback: Fallback) -> Self {
        Self::Fallback(fallback)
    }
}

/// Evaluates the condition that `expander` starts at.
pub(crate) fn evaluate(expander: Expander<'_>, oracle: &mut dyn Oracle) -> Result<Truth, Problem> {
    let mut parser = Parser { expander, oracle, ahead: None, depth: 0 };
    let value = parser.expression().and_then(|value| match parser.peek()? {
        None => Ok(value),
        Some(_) => Err(Problem::Unknown),
    });
    if let Some(symbol) = parser.expander.undecided {
        return Err(Problem::Undecided(symbol));
    }
    match value {
        Ok(Value::Known { bits: 0, .. }) => Ok(Truth::False),
        Ok(Value::Known { .. }) => Ok(Truth::True),
        Ok(Value::Unknown) | Err(Problem::Unknown) => Ok(Truth::Unknown),
        Err(problem) => Err(problem),
    }
}

struct Parser<'a, 'o> {
    expander: Expander<'a>,
    oracle: &'o mut dyn Oracle,
    #[expect(clippy::option_option, reason = "not looked at yet, or looked at and at the end")]
    ahead: Option<Option<Token>>,
    depth: u32,
}

/// Whether an operand counts: what is skipped has no effect, and no errors either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evaluation {
    Evaluated,
    Skipped,
}

impl Evaluation {
    /// That of an operand which only counts where `condition` holds.
    fn where_true(self, condition: Option<bool>) -> Self {
        if condition == Some(false) { Self::Skipped } else { self }
    }

    /// That of an operand which only counts where `condition` does not hold.
    fn where_false(self, condition: Option<bool>) -> Self {
        if condition == Some(true) { Self::Skipped } else { self }
    }
}

impl Parser<'_, '_> {
    fn peek(&mut self) -> Result<Option<Token>, Problem> {
        if self.ahead.is_none() {
            let mut next = self.expander.next()?;
            if let Some(token) = &mut next
                && token.kind == Kind::Punctuator
                && let Some(operator) = operator_of(token.symbol)
            {
                token.symbol = operator;
            }
            self.ahead = Some(next);
        }
        Ok(self.ahead.flatten())
    }

    fn take(&mut self) -> Result<Option<Token>, Problem> {
        let token = self.peek()?;
        self.ahead = None;
        Ok(token)
    }

    fn accept(&mut self, punctuator: Symbol) -> Result<bool, Problem> {
        let is_next = self.peek()?.is_some_and(|token| token.is(punctuator));
        if is_next {
            self.ahead = None;
        }
        Ok(is_next)
    }

    fn conditional(&mut self, evaluation: Evaluation) -> Result<Value, Problem> {
        self.depth += 1;
        if self.depth > MAX_CONDITION_DEPTH {
            return Err(Problem::Limit);
        }
        let condition = self.binary(0, evaluation)?;
        let value = if self.accept(known::QUESTION)? {
            let is_known = condition.is_true();
            let yes = self.conditional(evaluation.where_true(is_known))?;
            if !self.accept(known::COLON)? {
                return Err(Problem::Unknown);
            }
            let no = self.conditional(evaluation.where_false(is_known))?;
            choose(is_known, yes, no)
        } else {
            condition
        };
        self.depth -= 1;
        Ok(value)
    }

    /// Conditional expressions with commas between, of which the last one counts.
    fn expression(&mut self) -> Result<Value, Problem> {
        let mut value = self.conditional(Evaluation::Evaluated)?;
        while self.accept(known::COMMA)? {
            value = self.conditional(Evaluation::Evaluated)?;
        }
        Ok(value)
    }

    /// Binary operators of at least `level`, by precedence climbing.
    fn binary(&mut self, level: u8, evaluation: Evaluation) -> Result<Value, Problem> {
        let mut left = self.unary(evaluation)?;
        loop {
            let Some(token) = self.peek()? else { return Ok(left) };
            let Some(precedence) = precedence(token).filter(|precedence| *precedence >= level) else { return Ok(left) };
            self.ahead = None;
            let of_right = match token.symbol {
                known::AND_AND => evaluation.where_true(left.is_true()),
                known::OR_OR => evaluation.where_false(left.is_true()),
                _ => evaluation,
            };
            let right = self.binary(precedence + 1, of_right)?;
            left = number::binary(token.symbol, left, right, evaluation, self.expander.surroundings.family);
        }
    }

    fn unary(&mut self, evaluation: Evaluation) -> Result<Value, Problem> {
        self.depth += 1;
        if self.depth > MAX_CONDITION_DEPTH {
            return Err(Problem::Limit);
        }
        let token = self.take()?.ok_or(Problem::Unknown)?;
        let value = match (token.kind, token.symbol) {
            (Kind::Punctuator, known::NOT) => match self.unary(evaluation)?.is_true() {
                Some(true) => Value::FALSE,
                Some(false) => Value::TRUE,
                None => Value::Unknown,
            },
            (Kind::Punctuator, known::MINUS) => self.unary(evaluation)?.map(u64::wrapping_neg),
            (Kind::Punctuator, known::PLUS) => self.unary(evaluation)?,
            (Kind::Punctuator, known::TILDE) => self.unary(evaluation)?.map(|bits| !bits),
            (Kind::Punctuator, known::OPEN) => self.parenthesised(evaluation)?,
            (Kind::Number, symbol) => number::parse(self.expander.spelling(symbol)),
            (Kind::CharacterConstant, _) if self.expander.surroundings.has_foreign_characters => Value::Unknown,
            (Kind::CharacterConstant, symbol) => number::character(self.expander.spelling(symbol)),
            (Kind::Identifier, known::DEFINED) => self.defined()?,
            (Kind::Identifier, _) => self.identifier(token)?,
            (Kind::Unknown, _) => self.unknown()?,
            _ => return Err(Problem::Unknown),
        };
        self.depth -= 1;
        Ok(value)
    }

    /// A macro with several definitions may be function-like: nothing after it is sure.
    fn unknown(&mut self) -> Result<Value, Problem> {
        if self.expander.undecided.is_some() { Err(Problem::Unknown) } else { Ok(Value::Unknown) }
    }

    fn parenthesised(&mut self, evaluation: Evaluation) -> Result<Value, Problem> {
        let mut value = self.conditional(evaluation)?;
        while self.accept(known::COMMA)? {
            value = self.conditional(evaluation)?;
        }
        if self.accept(known::CLOSE)? { Ok(value) } else { Err(Problem::Unknown) }
    }

    /// The token after what was taken, unexpanded.
    fn take_raw(&mut self) -> Option<Token> {
        debug_assert!(self.ahead.is_none(), "nothing was looked at beyond the operator");
        self.expander.next_raw()
    }

    fn defined(&mut self) -> Result<Value, Problem> {
        let first = self.take_raw().ok_or(Problem::Unknown)?;
        let (name, closes) =
            if first.is(known::OPEN) { (self.take_raw().ok_or(Problem::Unknown)?, true) } else { (first, false) };
        // In C++ the named operators are no macros' names.
        if name.kind != Kind::Identifier {
            return Err(Problem::Unknown);
        }
        if closes && !self.take_raw().is_some_and(|token| token.is(known::CLOSE)) {
            return Err(Problem::Unknown);
        }
        let state = self.expander.surroundings.table.read(name.symbol);
        Ok(match self.expander.surroundings.definitions.get(state) {
            Definition::None => Value::FALSE,
            Definition::Alternatives(states) if states.iter().any(|state| !state.is_some()) => Value::Unknown,
            _ => Value::TRUE,
        })
    }

    fn identifier(&mut self, token: Token) -> Result<Value, Problem> {
        let state = self.expander.surroundings.table.read(token.symbol);
        if matches!(self.expander.surroundings.definitions.get(state), Definition::Builtin(Builtin::Operator)) {
            return self.operator(token.symbol);
        }
        if self.expander.surroundings.modes.cplusplus && token.symbol == known::TRUE {
            return Ok(Value::TRUE);
        }
        Ok(Value::FALSE)
    }

    /// `__has_include (…)`, `__has_builtin (…)`, ….
    fn operator(&mut self, name: Symbol) -> Result<Value, Problem> {
        let is_in_macro = self.expander.is_in_macro();
        let header_operator = match name {
            known::HAS_INCLUDE => Some(HeaderOperator::Include),
            known::HAS_INCLUDE_NEXT => Some(HeaderOperator::IncludeNext { is_in_macro }),
            known::HAS_EMBED => Some(HeaderOperator::Embed),
            _ => None,
        };
        let open = self.expander.next()?.ok_or(Problem::Unknown)?;
        if !open.is(known::OPEN) {
            return Err(Problem::Unknown);
        }
        let answer = if let Some(operator) = header_operator {
            let operand = self.header_operand()?;
            self.oracle.has_header(operator, &operand)?
        } else {
            match self.feature_operand()? {
                Some(operand) => self.oracle.has_feature(name, &operand)?,
                None => None,
            }
        };
        Ok(answer.map_or(Value::Unknown, |bits| Value::Known { bits, sign: Sign::Signed }))
    }

    fn header_operand(&mut self) -> Result<Vec<u8>, Problem> {
        let first = self.expander.next()?.ok_or(Problem::Unknown)?;
        let mut operand = self.expander.spelling(first.symbol).to_vec();
        match first.kind {
            Kind::Header | Kind::StringLiteral => {}
            Kind::Punctuator if first.symbol == known::LESS => loop {
                let token = self.expander.next()?.ok_or(Problem::Unknown)?;
                if token.kind == Kind::Unknown {
                    return Err(self.unknown_header());
                }
                if self.expander.blank_in_header_name(token) {
                    operand.push(b' ');
                }
                operand.extend_from_slice(self.expander.spelling(token.symbol));
                if token.is(known::GREATER) {
                    break;
                }
            },
            Kind::Unknown => return Err(self.unknown_header()),
            _ => return Err(Problem::Unknown),
        }
        let mut depth = 0_u32;
        loop {
            let token = self.expander.next()?.ok_or(Problem::Unknown)?;
            if token.is(known::CLOSE) {
                if depth == 0 {
                    return Ok(operand);
                }
                depth -= 1;
            } else if token.is(known::OPEN) {
                depth += 1;
            }
        }
    }

    /// The compiler looks for a header, and it alone knows for which.
    fn unknown_header(&self) -> Problem {
        if self.expander.undecided.is_some() {
            return Problem::Unknown;
        }
        Problem::Fallback(Fallback::new(Reason::Unscannable, "the operand is known to the compiler alone"))
    }

    /// The tokens up to the closing parenthesis; `None` where one of them is a macro's name, for whether that is
    /// expanded differs between compilers and operators.
    fn feature_operand(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut operand = Vec::new();
        let mut depth = 0_u32;
        let mut is_plain = true;
        loop {
            let token = self.expander.next_raw().ok_or(Problem::Unknown)?;
            if token.is(known::CLOSE) {
                if depth == 0 {
                    return Ok(is_plain.then_some(operand));
                }
                depth -= 1;
            } else if token.is(known::OPEN) {
                depth += 1;
            }
            if token.kind == Kind::Identifier && self.expander.surroundings.table.read(token.symbol).is_some() {
                is_plain = false;
            }
            operand.extend_from_slice(self.expander.spelling(token.symbol));
        }
    }
}

impl Value {
    const FALSE: Self = Self::Known { bits: 0, sign: Sign::Signed };
    const TRUE: Self = Self::Known { bits: 1, sign: Sign::Signed };

    const fn is_true(self) -> Option<bool> {
        match self {
            Self::Known { bits, .. } => Some(bits != 0),
            Self::Unknown => None,
        }
    }

    fn map(self, change: impl FnOnce(u64) -> u64) -> Self {
        match self {
            Self::Known { bits, sign } => Self::Known { bits: change(bits), sign },
            Self::Unknown => Self::Unknown,
        }
    }
}

/// The value of `?:`, whose type is that of both operands together.
fn choose(condition: Option<bool>, yes: Value, no: Value) -> Value {
    let is_unsigned = |value: &Value| matches!(value, Value::Known { sign: Sign::Unsigned, .. });
    let sign = if [yes, no].iter().any(is_unsigned) { Sign::Unsigned } else { Sign::Signed };
    match condition {
        Some(true) => yes.with_sign(sign),
        Some(false) => no.with_sign(sign),
        None if yes == no => yes,
        None => Value::Unknown,
    }
}

impl Value {
    const fn with_sign(self, sign: Sign) -> Self {
        match self {
            Self::Known { bits, .. } => Self::Known { bits, sign },
            Self::Unknown => Self::Unknown,
        }
    }
}

const fn precedence(token: Token) -> Option<u8> {
    if !matches!(token.kind, Kind::Punctuator) {
        return None;
    }
    Some(match token.symbol {
        known::OR_OR => 0,
        known::AND_AND => 1,
        known::OR => 2,
        known::XOR => 3,
        known::AND => 4,
        known::EQUAL | known::NOT_EQUAL => 5,
        known::LESS | known::GREATER | known::LESS_EQUAL | known::GREATER_EQUAL => 6,
        known::SHIFT_LEFT | known::SHIFT_RIGHT => 7,
        known::PLUS | known::MINUS => 8,
        known::STAR | known::SLASH | known::PERCENT => 9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
