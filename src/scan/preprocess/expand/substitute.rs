//! A macro's replacement with its arguments in place: `#`, `##`, `__VA_OPT__`.
//!
//! The replacement grows at the end of the arena, where its context will stand.

use crate::scan::limits::MAX_EXPANSION_TOKENS;
use crate::scan::preprocess::definitions::Body;
use crate::scan::preprocess::expand::{Arguments, Expander, Trouble};
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::{Flags, Kind, Token, TokenModes, tokenize};

/// The end of a replacement under way.
#[derive(Debug, Clone, Copy)]
struct Output {
    /// Where the replacement starts in the arena.
    start: usize,
    /// Whether `##` stands before what comes next.
    pastes: bool,
}

impl Expander<'_> {
    /// Appends the replacement of `body` with `arguments` to the arena.
    pub(super) fn substitute(&mut self, body: &Body, arguments: Arguments) -> Result<(), Trouble> {
        let start = self.surroundings.buffers.arena.len();
        if !body.has_operators {
            for token in &body.tokens {
                if token.kind == Kind::Parameter {
                    self.append_expanded(*token, arguments);
                } else {
                    self.surroundings.buffers.arena.push(*token);
                }
            }
            return self.charge(start);
        }
        let mut output = Output { start, pastes: false };
        self.substitute_into(&mut output, &body.tokens, arguments, body.parameters.is_some())?;
        let mut kept = start;
        for at in start..self.surroundings.buffers.arena.len() {
            if self.surroundings.buffers.arena[at].kind != Kind::Placemarker {
                self.surroundings.buffers.arena[kept] = self.surroundings.buffers.arena[at];
                kept += 1;
            }
        }
        self.surroundings.buffers.arena.truncate(kept);
        self.charge(start)
    }

    fn charge(&mut self, start: usize) -> Result<(), Trouble> {
        if self.made + self.surroundings.buffers.arena.len() - start > MAX_EXPANSION_TOKENS {
            Err(Trouble::Limit)
        } else {
            Ok(())
        }
    }

    fn append_expanded(&mut self, parameter: Token, arguments: Arguments) {
        let (start, end) = self.surroundings.buffers.ranges[arguments.expanded + parameter.symbol.0 as usize];
        let first = self.surroundings.buffers.arena.len();
        self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start..end]);
        if let Some(first) = self.surroundings.buffers.arena.get_mut(first) {
            *first = first.padded_like(parameter);
        }
    }

    fn substitute_into(
        &mut self,
        output: &mut Output,
        body: &[Token],
        arguments: Arguments,
        is_function: bool,
    ) -> Result<(), Trouble> {
        let mut at = 0;
        while at < body.len() {
            let token = body[at];
            let next = body.get(at + 1).copied();
            if token.is(known::PASTE) {
                output.pastes = true;
                at += 1;
            } else if is_function
                && token.is(known::HASH)
                && let Some(parameter) = next.filter(|next| next.kind == Kind::Parameter)
            {
                let text =
                    self.stringify(self.surroundings.buffers.ranges[arguments.raw + parameter.symbol.0 as usize]);
                self.append_one(output, Token { flags: token.flags, ..text });
                at += 2;
            } else if arguments.variadic.is_some() && self.surroundings.has_va_opt && token.is_name(known::VA_OPT) {
                at = self.optional(output, body, at, arguments)?;
            } else if token.kind == Kind::Parameter {
                let is_operand = output.pastes || next.is_some_and(|next| next.is(known::PASTE));
                self.parameter(output, token, arguments, is_operand);
                at += 1;
            } else {
                self.append_one(output, token);
                at += 1;
            }
            self.charge(output.start)?;
        }
        Ok(())
    }

    fn parameter(&mut self, output: &mut Output, token: Token, arguments: Arguments, is_operand: bool) {
        let index = token.symbol.0 as usize;
        if !is_operand {
            return self.append_expanded(token, arguments);
        }
        let (start, end) = self.surroundings.buffers.ranges[arguments.raw + index];
        let is_empty = start == end;
        let last = self.surroundings.buffers.arena[output.start..].last().copied();
        if output.pastes && arguments.variadic == Some(index) && last.is_some_and(|last| last.is(known::COMMA)) {
            // GNU's `, ## __VA_ARGS__`: the comma goes where there are no arguments, and is not pasted where there are.
            output.pastes = false;
            if is_empty {
                self.surroundings.buffers.arena.pop();
            } else {
                self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start..end]);
            }
            return;
        }
        if is_empty {
            return self.append_one(output, Token::new(Kind::Placemarker, known::EMPTY));
        }
        let first = self.surroundings.buffers.scratch[start];
        let first = if output.pastes { first } else { first.padded_like(token) };
        self.append_one(output, first);
        self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start + 1..end]);
    }

    /// `__VA_OPT__ ( … )` at `at`; gives the place after it.
    fn optional(
        &mut self,
        output: &mut Output,
        body: &[Token],
        at: usize,
        arguments: Arguments,
    ) -> Result<usize, Trouble> {
        if !body.get(at + 1).is_some_and(|token| token.is(known::OPEN)) {
            return Err(Trouble::Malformed);
        }
        let mut depth = 0_usize;
        let mut end = at + 1;
        loop {
            let token = body.get(end).ok_or(Trouble::Malformed)?;
            if token.is(known::OPEN) {
                depth += 1;
            } else if token.is(known::CLOSE) {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            end += 1;
        }
        let has_rest = arguments.variadic.is_some_and(|rest| {
            let (start, end) = self.surroundings.buffers.ranges[arguments.expanded + rest];
            start < end
        });
        let start = self.surroundings.buffers.arena.len();
        if has_rest {
            let mut inner = Output { start, pastes: false };
            self.substitute_into(&mut inner, &body[at + 2..end], arguments, true)?;
        }
        if let Some(first) = self.surroundings.buffers.arena.get_mut(start) {
            *first = first.padded_like(body[at]);
        }
        if self.surroundings.buffers.arena.len() == start {
            self.append_one(output, Token::new(Kind::Placemarker, known::EMPTY));
        } else if output.pastes && start > output.start {
            // The first token of what was appended belongs to the one before.
            let piece = self.surroundings.buffers.arena.split_off(start);
            self.append_one(output, piece[0]);
            self.surroundings.buffers.arena.extend_from_slice(&piece[1..]);
        }
        output.pastes = false;
        Ok(end + 1)
    }

    /// Appends `token`, pasted to the last one where `##` stands between.
    fn append_one(&mut self, output: &mut Output, token: Token) {
        let pastes = std::mem::take(&mut output.pastes);
        if pastes && self.surroundings.buffers.arena.len() > output.start {
            let left =
                self.surroundings.buffers.arena.pop().expect("the arena is longer than where the replacement starts");
            self.paste(left, token);
        } else {
            self.surroundings.buffers.arena.push(token);
        }
    }

    fn paste(&mut self, left: Token, right: Token) {
        let arena = &mut self.surroundings.buffers.arena;
        if left.kind == Kind::Placemarker {
            arena.push(Token { flags: left.flags, ..right });
        } else if right.kind == Kind::Placemarker {
            arena.push(left);
        } else if left.kind == Kind::Unknown || right.kind == Kind::Unknown {
            arena.push(Token::new(Kind::Unknown, known::EMPTY));
        } else {
            let (symbols, modes) = (self.surroundings.symbols, self.surroundings.modes);
            let pasted = *self
                .surroundings
                .buffers
                .pastes
                .entry((left.symbol, right.symbol))
                .or_insert_with(|| joined(left.symbol, right.symbol, modes, symbols));
            if let Some(token) = pasted {
                arena.push(Token { flags: left.flags.without(Flags::NO_EXPAND), ..token });
            } else {
                arena.push(left);
                arena.push(Token { flags: right.flags.without(Flags::BLANK).without(Flags::PADDED), ..right });
            }
        }
    }

    /// The string of an argument; unknown where a name in it was spelled in another way than its symbol.
    fn stringify(&self, (start, end): (usize, usize)) -> Token {
        let mut text = vec![b'"'];
        let tokens = &self.surroundings.buffers.scratch[start..end];
        for token in tokens {
            if text.len() > 1 && token.has_blank_before() {
                text.push(b' ');
            }
            let escapes = matches!(token.kind, Kind::StringLiteral | Kind::CharacterConstant);
            for byte in self.surroundings.symbols.text(token.symbol) {
                if escapes && matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
        }
        text.push(b'"');
        let is_known = !tokens.iter().any(|token| token.flags.has(Flags::NUMBERED));
        let kind = if is_known { Kind::StringLiteral } else { Kind::Unknown };
        Token::new(kind, self.surroundings.symbols.intern(&text))
    }

    /// The spelling of `symbol`.
    pub(crate) fn spelling(&self, symbol: Symbol) -> &[u8] {
        self.surroundings.symbols.text(symbol)
    }
}

/// The one token that the spellings of two make together.
fn joined(left: Symbol, right: Symbol, modes: TokenModes, symbols: &Symbols) -> Option<Token> {
    let spelling = [symbols.text(left), symbols.text(right)].concat();
    let mut tokens = Vec::new();
    tokenize(&spelling, modes, symbols, &mut tokens);
    if let [token] = tokens[..] { Some(token) } else { None }
}

#[cfg(test)]
mod tests {
    use crate::scan::preprocess::trial::Trial;

    #[test]
    fn operators_of_replacement_lists() {
        let check = |macros: &[&str], line: &str, expect: &str| {
            assert_eq!(Trial::of(macros).expand(line).as_deref(), Ok(expect), "{line:?} under {macros:?}");
        };
        let text = ["S(x) #x", "A 1"];
        check(&text, "S(A  +\"b\\n\")", "\"A +\\\"b\\\\n\\\"\"");
        check(&text, "S()", "\"\"");
        let paste = ["P(x, y) x##y", "AB 2", "A 1"];
        check(&paste, "P(A, B) P(, B) P(A,) P(1, .5)", "2 B 1 1.5");
        check(&["HASH # ## #", "A HASH"], "A", "##");
        let variadic = ["V(x, ...) f(x __VA_OPT__(,) __VA_ARGS__)"];
        check(&variadic, "V(a, b)", "f(a , b)");
        check(&["G(x, ...) f(x, ##__VA_ARGS__)"], "G(a) G(a, b)", "f(a) f(a, b)");
    }
}
