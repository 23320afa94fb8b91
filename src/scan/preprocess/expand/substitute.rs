//! A macro's replacement with its arguments in place: `#`, `##`, `__VA_OPT__`.
//!
//! The replacement grows at the end of the arena, where its context will stand.

use crate::scan::limits::MAX_EXPANSION_TOKENS;
use crate::scan::preprocess::definitions::Body;
use crate::scan::preprocess::expand::arguments::{Arguments, Range, Rest};
use crate::scan::preprocess::expand::{Expander, Paddings, Trouble};
use crate::scan::preprocess::padding::Padding;
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::{Flags, Kind, Token, TokenModes, tokenize};

/// The end of a replacement under way.
#[derive(Debug, Clone, Copy)]
struct Output {
    /// Where the replacement starts in the arena.
    start: usize,
    /// Whether `##` stands before what comes next.
    pastes: bool,
    /// What stands before the next token.
    pending: Padding,
    /// Whether it is that of a `__VA_OPT__`.
    is_optional: bool,
    /// Whether something of the whole replacement stands before it.
    follows: bool,
}

impl Expander<'_> {
    /// Appends the replacement of `body` with `arguments` to the arena. Gives what it leaves for the token behind it.
    pub(super) fn substitute(&mut self, body: &Body, arguments: Arguments) -> Result<Padding, Trouble> {
        let start = self.surroundings.buffers.arena.len();
        let mut output = Output { start, pastes: false, pending: Padding::NONE, is_optional: false, follows: false };
        if !body.has_operators {
            for (at, token) in body.tokens.iter().enumerate() {
                self.space(&mut output, &body.tokens, at);
                if token.kind == Kind::Parameter {
                    self.append_expanded(&mut output, *token, arguments);
                    self.end_argument(&mut output);
                } else {
                    self.push(&mut output, *token);
                }
            }
            return self.charge(start).map(|()| output.pending);
        }
        self.substitute_into(&mut output, &body.tokens, arguments, body.parameters.is_some())?;
        self.drop_placemarkers(&mut output);
        self.charge(start).map(|()| output.pending)
    }

    /// Takes away the placemarkers of `output`; what stood before them stands before the next token.
    fn drop_placemarkers(&mut self, output: &mut Output) {
        let arena = &mut self.surroundings.buffers.arena;
        let mut kept = output.start;
        let mut carried = Padding::NONE;
        for at in output.start..arena.len() {
            let token = arena[at].padded(std::mem::take(&mut carried));
            if token.kind == Kind::Placemarker {
                carried = token.padding();
            } else {
                arena[kept] = token;
                kept += 1;
            }
        }
        arena.truncate(kept);
        output.pending = carried.then(output.pending);
    }

    fn charge(&mut self, start: usize) -> Result<(), Trouble> {
        if self.made + self.surroundings.buffers.arena.len() - start > MAX_EXPANSION_TOKENS {
            Err(Trouble::Limit)
        } else {
            Ok(())
        }
    }

    /// Adds to what is pending the white space before the token of `body` at `at`: gcc's before what is no part of the body
    /// itself, clang's before everything.
    fn space(&self, output: &mut Output, body: &[Token], at: usize) {
        let token = body[at];
        let is_first = at == 0 && !output.is_optional;
        if is_first || at > 0 && body[at - 1].is(known::PASTE) {
            return;
        }
        let is_made = token.kind == Kind::Parameter
            || token.is(known::HASH) && body.get(at + 1).is_some_and(|next| next.kind == Kind::Parameter);
        match self.paddings {
            Paddings::Blanks if token.flags.has(Flags::BLANK) => output.pending = Padding::SPACE,
            Paddings::All | Paddings::BeforeArguments if is_made && !self.begins_optional(*output) => {
                output.pending = output.pending.then(token.as_source());
            }
            _ => {}
        }
    }

    /// Whether `output` is that of a `__VA_OPT__`, and empty so far. gcc doesn't see it where nothing stands before it.
    fn begins_optional(&self, output: Output) -> bool {
        output.follows && self.surroundings.buffers.arena.len() == output.start
    }

    /// An argument's place ends in `output`.
    fn end_argument(&self, output: &mut Output) {
        if self.paddings == Paddings::All && !self.begins_optional(*output) {
            output.pending = output.pending.then(Padding::SOURCELESS);
        }
    }

    /// Appends `token` with what is pending before it.
    fn push(&mut self, output: &mut Output, token: Token) {
        self.surroundings.buffers.arena.push(token.padded(std::mem::take(&mut output.pending)));
    }

    fn append_expanded(&mut self, output: &mut Output, parameter: Token, arguments: Arguments) {
        let Range { start, end, trailing } =
            self.surroundings.buffers.ranges[arguments.expanded + parameter.symbol.0 as usize];
        if start < end {
            let first = self.surroundings.buffers.scratch[start];
            let first = match self.paddings {
                Paddings::Blanks => {
                    Token { flags: first.flags.without(Flags::BLANK), ..first }.with_padding(Padding::NONE)
                }
                _ if self.begins_optional(*output) => first.with_padding(Padding::NONE),
                _ => first,
            };
            self.push(output, first);
            self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start + 1..end]);
            output.pending = trailing;
        } else if !self.begins_optional(*output) {
            output.pending = output.pending.then(trailing);
        }
    }

    fn substitute_into(
        &mut self,
        output: &mut Output,
        body: &[Token],
        arguments: Arguments,
        is_function: bool,
    ) -> Result<(), Trouble> {
        let has_options = arguments.variadic.is_some() && self.surroundings.has_va_opt;
        let mut at = 0;
        while at < body.len() {
            let token = body[at];
            let next = body.get(at + 1).copied();
            if token.is(known::PASTE) {
                output.pastes = true;
                at += 1;
                continue;
            }
            self.space(output, body, at);
            if is_function
                && token.is(known::HASH)
                && let Some(parameter) = next.filter(|next| next.kind == Kind::Parameter)
            {
                let range = self.surroundings.buffers.ranges[arguments.raw + parameter.symbol.0 as usize];
                let text = self.stringify(&self.surroundings.buffers.scratch[range.start..range.end]);
                self.append_one(output, text);
                at += 2;
                self.end_operand(output, body.get(at).copied());
            } else if has_options && token.is(known::HASH) && next.is_some_and(|next| next.is_name(known::VA_OPT)) {
                at = self.string_of_optional(output, body, at, arguments)?;
            } else if has_options && token.is_name(known::VA_OPT) {
                at = self.optional(output, body, at, arguments)?;
            } else if token.kind == Kind::Parameter {
                if output.pastes || next.is_some_and(|next| next.is(known::PASTE)) {
                    self.append_operand(output, token, arguments);
                } else {
                    self.append_expanded(output, token, arguments);
                }
                self.end_operand(output, next);
                at += 1;
            } else {
                let last = self.surroundings.buffers.arena[output.start..].last();
                let follows_nothing = last.is_none_or(|last| last.kind == Kind::Placemarker);
                let is_spaceless = self.paddings == Paddings::Blanks && output.pastes && follows_nothing;
                let flags = if is_spaceless { token.flags.without(Flags::BLANK) } else { token.flags };
                self.append_one(output, Token { flags, ..token });
                at += 1;
            }
            self.charge(output.start)?;
        }
        Ok(())
    }

    /// An argument's place ends before `next`.
    fn end_operand(&self, output: &mut Output, next: Option<Token>) {
        if !next.is_some_and(|next| next.is(known::PASTE)) {
            self.end_argument(output);
        }
    }

    /// Appends the argument of `parameter`, an operand of `##`, as it is written.
    fn append_operand(&mut self, output: &mut Output, parameter: Token, arguments: Arguments) {
        let index = parameter.symbol.0 as usize;
        let Range { start, end, .. } = self.surroundings.buffers.ranges[arguments.raw + index];
        let is_empty = start == end;
        let last = self.surroundings.buffers.arena[output.start..].last().copied();
        if let Some(comma) = last.filter(|last| last.is(known::COMMA))
            && output.pastes
            && arguments.variadic == Some(index)
        {
            // GNU's `, ## __VA_ARGS__`: the comma goes where no arguments are given, and is not pasted where some are.
            output.pastes = false;
            if arguments.rest == Rest::Omitted {
                self.surroundings.buffers.arena.pop();
                output.pending = if self.paddings == Paddings::Blanks { Padding::NONE } else { comma.padding() };
            } else if !is_empty {
                let first = self.surroundings.buffers.scratch[start];
                self.push(output, first);
                self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start + 1..end]);
            }
            return;
        }
        if is_empty {
            return self.append_one(output, Token::new(Kind::Placemarker, known::EMPTY));
        }
        let mut first = self.surroundings.buffers.scratch[start];
        if self.paddings == Paddings::Blanks {
            first.flags = first.flags.without(Flags::BLANK);
        }
        self.append_one(output, first);
        if end - start > 1 {
            output.pending = Padding::NONE;
            self.surroundings.buffers.arena.extend_from_slice(&self.surroundings.buffers.scratch[start + 1..end]);
        }
    }

    /// The place of the parenthesis that closes the `__VA_OPT__` at `at`.
    fn end_of_optional(body: &[Token], at: usize) -> Result<usize, Trouble> {
        let mut depth = 0_usize;
        for (end, token) in body.iter().enumerate().skip(at + 1) {
            if token.is(known::OPEN) {
                depth += 1;
            } else if token.is(known::CLOSE) && depth > 0 {
                depth -= 1;
            }
            if depth == 0 {
                return if token.is(known::CLOSE) { Ok(end) } else { Err(Trouble::Malformed) };
            }
        }
        Err(Trouble::Malformed)
    }

    /// Appends to `output` what the `__VA_OPT__` at `at` holds, if there are arguments; gives what is pending then.
    fn append_optional(
        &mut self,
        output: Output,
        (body, at, end): (&[Token], usize, usize),
        arguments: Arguments,
    ) -> Result<Padding, Trouble> {
        let has_rest = arguments.variadic.is_some_and(|rest| {
            let Range { start, end, .. } = self.surroundings.buffers.ranges[arguments.expanded + rest];
            start < end
        });
        let start = self.surroundings.buffers.arena.len();
        let follows = start > output.start || output.pending != Padding::NONE;
        let mut inner = Output { start, pastes: false, is_optional: true, follows, ..output };
        if has_rest {
            self.substitute_into(&mut inner, &body[at + 2..end], arguments, true)?;
        } else {
            // clang sees the blanks between tokens that go.
            for at in at + 2..end {
                if self.paddings == Paddings::Blanks {
                    self.space(&mut inner, body, at);
                }
            }
        }
        if self.paddings == Paddings::Blanks {
            self.space(&mut inner, body, end);
        }
        Ok(inner.pending)
    }

    /// `__VA_OPT__ ( … )` at `at`; gives the place after it.
    fn optional(
        &mut self,
        output: &mut Output,
        body: &[Token],
        at: usize,
        arguments: Arguments,
    ) -> Result<usize, Trouble> {
        let end = Self::end_of_optional(body, at)?;
        let is_gcc = self.paddings != Paddings::Blanks;
        self.pad_before_optional(output, body, at);
        let start = self.surroundings.buffers.arena.len();
        output.pending = self.append_optional(*output, (body, at, end), arguments)?;
        let is_pasted = body.get(end + 1).is_some_and(|next| next.is(known::PASTE));
        if self.paddings == Paddings::All && is_pasted && output.pending != Padding::NONE {
            // gcc joins nothing there if a macro at the end was empty.
            return Err(Trouble::Unclear);
        }
        if self.surroundings.buffers.arena.len() == start {
            self.append_one(output, Token::new(Kind::Placemarker, known::EMPTY));
        } else if output.pastes && start > output.start {
            // The first token of what was appended belongs to the one before.
            let piece = self.surroundings.buffers.arena.split_off(start);
            let pending = output.pending;
            self.append_one(output, piece[0]);
            if piece.len() > 1 {
                output.pending = pending;
                self.surroundings.buffers.arena.extend_from_slice(&piece[1..]);
            }
        }
        output.pastes = false;
        if is_gcc && !is_pasted {
            output.pending = output.pending.then(Padding::SOURCELESS);
        }
        Ok(end + 1)
    }

    /// gcc's padding before what begins at `at`, unless it begins the text.
    fn pad_before_optional(&self, output: &mut Output, body: &[Token], at: usize) {
        if self.paddings != Paddings::Blanks && !output.pastes && (at > 0 || output.is_optional) {
            output.pending = output.pending.then(body[at].as_source());
        }
    }

    /// `# __VA_OPT__ ( … )` at `at`; gives the place after it.
    fn string_of_optional(
        &mut self,
        output: &mut Output,
        body: &[Token],
        at: usize,
        arguments: Arguments,
    ) -> Result<usize, Trouble> {
        let end = Self::end_of_optional(body, at + 1)?;
        self.pad_before_optional(output, body, at);
        let start = self.surroundings.buffers.arena.len();
        self.append_optional(*output, (body, at + 1, end), arguments)?;
        let mut inner = Output { start, ..*output };
        self.drop_placemarkers(&mut inner);
        let text = self.stringify(&self.surroundings.buffers.arena[start..]);
        self.surroundings.buffers.arena.truncate(start);
        self.append_one(output, text);
        Ok(end + 1)
    }

    /// Appends `token`, pasted to the last one where `##` stands between.
    fn append_one(&mut self, output: &mut Output, token: Token) {
        let pastes = std::mem::take(&mut output.pastes);
        if pastes && self.surroundings.buffers.arena.len() > output.start {
            let left =
                self.surroundings.buffers.arena.pop().expect("the arena is longer than where the replacement starts");
            self.paste(output, left, token);
        } else {
            self.push(output, token);
        }
    }

    fn paste(&mut self, output: &mut Output, left: Token, right: Token) {
        if left.kind == Kind::Placemarker {
            self.surroundings
                .buffers
                .arena
                .push(right.padded(left.padding().then(std::mem::take(&mut output.pending))));
            return;
        }
        if right.kind == Kind::Placemarker {
            self.surroundings.buffers.arena.push(left);
            return;
        }
        // gcc makes an expansion of its own of what was joined.
        output.pending = Padding::NONE;
        let mut left = left;
        if self.paddings == Paddings::All {
            left = left.with_padding(left.padding().then(left.as_source()));
            output.pending = Padding::SOURCELESS;
        }
        let arena = &mut self.surroundings.buffers.arena;
        if left.kind == Kind::Unknown || right.kind == Kind::Unknown {
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
                arena.push(Token { flags: right.flags.without(Flags::BLANK), ..right }.with_padding(Padding::NONE));
            }
        }
    }

    /// The string of `tokens`, an argument; unknown where a name in it was spelled in another way than its symbol.
    fn stringify(&self, tokens: &[Token]) -> Token {
        let mut text = vec![b'"'];
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
    use crate::command::Family;
    use crate::scan::preprocess::expand::ExpansionSite;
    use crate::scan::preprocess::trial::Trial;

    #[test]
    fn what_expands_to_nothing_leaves_blanks_as_in_the_compiler() {
        let macros = ["E", "X(x) f(x E)", "B(x) f( x )", "P(x, y) [ x ## y ]", "S(x) #x", "T(x) S(x)"];
        // As gcc has it in text, in an include and in a condition, and as clang has it.
        let check = |line: &str, gcc: [&str; 3], clang: &str| {
            for (place, expect) in
                [ExpansionSite::Text, ExpansionSite::Include, ExpansionSite::Directive].into_iter().zip(gcc)
            {
                let expanded = Trial::of(&macros).at_site(place).expand(line);
                assert_eq!(expanded.as_deref(), Ok(expect), "{line} of gcc in {place:?}");
                let expanded = Trial::of(&macros).at_site(place).like(Family::Clang).expand(line);
                assert_eq!(expanded.as_deref(), Ok(clang), "{line} of clang in {place:?}");
            }
        };
        check("T(X(a))", ["\"f(a )\"", "\"f(a)\"", "\"f(a)\""], "\"f(a )\"");
        check("T(B(a))", ["\"f( a )\"", "\"f( a )\"", "\"f(a )\""], "\"f( a )\"");
        check("T(B(a E))", ["\"f( a )\"", "\"f( a )\"", "\"f(a )\""], "\"f( a )\"");
        check("T(X(a E))", ["\"f(a )\"", "\"f(a)\"", "\"f(a)\""], "\"f(a )\"");
        check("T(P(, b) c)", ["\"[ b ] c\"", "\"[ b ] c\"", "\"[ b ] c\""], "\"[ b ] c\"");
        check("T(+__LINE__ E)", ["\"+7\"", "\"+7\"", "\"+7\""], "\"+7\"");
    }

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
