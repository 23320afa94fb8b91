//! A directive's operand as preprocessing tokens.
//!
//! The lexer has removed comments, line splices and trigraphs before; what stands here is one line.
//!
//! **Source:** C17 6.4, C++20 [lex.pptoken].

use crate::scan::lex::characters::{continues_identifier, is_blank, raw_string_end, starts_identifier};
use crate::scan::lex::directives::LineBreak;
use crate::scan::preprocess::padding::Padding;
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};

/// What kind of token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Identifier,
    Number,
    CharacterConstant,
    StringLiteral,
    Punctuator,
    /// A lone byte that is no token of C.
    Other,
    /// A macro's parameter: the symbol's number is its index.
    Parameter,
    /// The operand of `__has_include` as it stands in a condition, with its quotes or brackets.
    Header,
    /// Nothing: an empty argument beside `##`.
    Placemarker,
    /// The expansion of a macro whose definition is not known.
    Unknown,
}

/// One preprocessing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) symbol: Symbol,
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    /// How many lines below its directive's `#` it stands, as `__LINE__` tells: in an expansion, where the macro's use
    /// stands.
    pub(crate) lines: u16,
}

/// What is known of a token besides its spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// White space stands before it in the source.
    pub(crate) const BLANK: Self = Self(1);
    /// The name of a macro that is being expanded: never expanded again.
    pub(crate) const NO_EXPAND: Self = Self(2);
    /// A name that spells characters by their numbers, which its symbol doesn't.
    pub(crate) const NUMBERED: Self = Self(4);
    /// Where a token's [`Padding`] stands among its flags.
    const PADDING_SHIFT: u32 = 4;

    pub(crate) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    pub(crate) const fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }
}

impl Token {
    pub(crate) const fn new(kind: Kind, symbol: Symbol) -> Self {
        Self { symbol, kind, flags: Flags(0), lines: 0 }
    }

    pub(crate) fn is(self, punctuator: Symbol) -> bool {
        self.kind == Kind::Punctuator && self.symbol == punctuator
    }

    pub(crate) fn is_name(self, name: Symbol) -> bool {
        self.kind == Kind::Identifier && self.symbol == name
    }

    /// Whether white space stands before it once expanded, as `#` sees it.
    pub(crate) const fn has_blank_before(self) -> bool {
        match self.padding().decision() {
            Some(is_blank) => is_blank,
            None => self.flags.has(Flags::BLANK),
        }
    }

    /// gcc's padding whose source it is.
    pub(crate) const fn as_source(self) -> Padding {
        if self.flags.has(Flags::BLANK) { Padding::BEHIND_BLANK } else { Padding::BEHIND_NOTHING }
    }

    /// What expansions left before it.
    pub(crate) const fn padding(self) -> Padding {
        Padding::from_bits(self.flags.0 >> Flags::PADDING_SHIFT)
    }

    /// This token with `padding` alone before it.
    pub(crate) const fn with_padding(self, padding: Padding) -> Self {
        let own = self.flags.0 & ((1 << Flags::PADDING_SHIFT) - 1);
        Self { flags: Flags(own | padding.bits() << Flags::PADDING_SHIFT), ..self }
    }

    /// This token with `padding` before what stands before it already.
    pub(crate) const fn padded(self, padding: Padding) -> Self {
        self.with_padding(padding.then(self.padding()))
    }

    /// This token with white space before it where `other` has some, and without elsewhere.
    pub(crate) const fn spaced_like(self, other: Self) -> Self {
        let flags = self.flags.without(Flags::BLANK);
        let flags = if other.has_blank_before() { flags.with(Flags::BLANK) } else { flags };
        Self { flags, ..self }.with_padding(Padding::NONE)
    }
}

/// How tokens are spelled in the language at hand.
#[expect(clippy::struct_excessive_bools, reason = "independent traits of a language")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct TokenModes {
    /// `1'000` is one number.
    pub(crate) digit_separators: bool,
    /// `and`, `or`, … are punctuators, `true` and `false` constants, `::` a token.
    pub(crate) cplusplus: bool,
    /// `R"x(…)x"` is a string.
    pub(crate) raw_strings: bool,
    /// `$` is no part of a name.
    pub(crate) no_dollars: bool,
}

/// Appends the tokens of `text` to `tokens`.
pub(crate) fn tokenize(text: &[u8], modes: TokenModes, symbols: &Symbols, tokens: &mut Vec<Token>) {
    split(text, modes, symbols, tokens, &[], |_, _| None);
}

/// The tokens of an operand that goes on in another line at `line_breaks`.
pub(crate) fn tokenize_operand(
    text: &[u8],
    modes: TokenModes,
    symbols: &Symbols,
    line_breaks: &[LineBreak],
) -> Vec<Token> {
    let mut tokens = Vec::new();
    split(text, modes, symbols, &mut tokens, line_breaks, |_, _| None);
    tokens
}

/// The tokens of a condition that goes on in another line at `line_breaks`: what follows `__has_include (` is a header's
/// name.
pub(crate) fn tokenize_condition(
    text: &[u8],
    modes: TokenModes,
    symbols: &Symbols,
    line_breaks: &[LineBreak],
) -> Vec<Token> {
    let mut tokens = Vec::new();
    split(text, modes, symbols, &mut tokens, line_breaks, header_length);
    tokens
}

fn split(
    text: &[u8],
    modes: TokenModes,
    symbols: &Symbols,
    tokens: &mut Vec<Token>,
    mut line_breaks: &[LineBreak],
    header_length: impl Fn(&[Token], &[u8]) -> Option<usize>,
) {
    let mut at = 0;
    let mut blank = false;
    let mut lines = 0;
    let first = tokens.len();
    while at < text.len() {
        let byte = text[at];
        if is_blank(byte) {
            blank = true;
            at += 1;
            continue;
        }
        let (kind, length) = match header_length(&tokens[first..], &text[at..]) {
            Some(length) => (Kind::Header, length),
            None => measure(&text[at..], modes),
        };
        let spelling = &text[at..at + length];
        let mut token = Token::new(kind, canonical(kind, spelling, symbols));
        if modes.cplusplus && kind == Kind::Identifier {
            token = named_operator(token);
        }
        if blank {
            token.flags = token.flags.with(Flags::BLANK);
        }
        if kind == Kind::Identifier && memchr::memchr(b'\\', spelling).is_some() {
            token.flags = token.flags.with(Flags::NUMBERED);
        }
        while let Some((next, rest)) = line_breaks.split_first()
            && next.at as usize <= at
        {
            lines = u16::try_from(next.lines).unwrap_or(u16::MAX);
            line_breaks = rest;
        }
        token.lines = lines;
        tokens.push(token);
        blank = false;
        at += length;
    }
}

/// The length of the header's name that follows `__has_include (`.
fn header_length(before: &[Token], text: &[u8]) -> Option<usize> {
    let terminator = match text[0] {
        b'<' => b'>',
        b'"' => b'"',
        _ => return None,
    };
    let [.., operator, open] = before else { return None };
    let is_operator = matches!(operator.symbol, known::HAS_INCLUDE | known::HAS_INCLUDE_NEXT | known::HAS_EMBED);
    if !is_operator || operator.kind != Kind::Identifier || !open.is(known::OPEN) {
        return None;
    }
    memchr::memchr(terminator, &text[1..]).map(|length| length + 2)
}

fn measure(text: &[u8], modes: TokenModes) -> (Kind, usize) {
    let first = text[0];
    let second = text.get(1).copied().unwrap_or(0);
    let starts_name = starts_identifier(first) && !(first == b'$' && modes.no_dollars);
    if starts_name || (first == b'\\' && matches!(second, b'u' | b'U')) {
        let length = identifier_length(text, modes);
        if let Some(quoted) = prefixed_literal(text, length, modes) {
            return quoted;
        }
        return (Kind::Identifier, length);
    }
    if first.is_ascii_digit() || (first == b'.' && second.is_ascii_digit()) {
        return (Kind::Number, number_length(text, modes));
    }
    match first {
        b'"' => literal(text, 0, b'"'),
        b'\'' => literal(text, 0, b'\''),
        _ => punctuator(text),
    }
}

/// The length of the name that `text` starts with: at least 1.
fn identifier_length(text: &[u8], modes: TokenModes) -> usize {
    name_length(text, modes).max(1)
}

/// The length of the identifier that `text` starts with, which may spell characters as `\u00e9`.
pub(crate) fn name_length(text: &[u8], modes: TokenModes) -> usize {
    let mut at = 0;
    while at < text.len() {
        if continues_identifier(text[at]) && !(text[at] == b'$' && modes.no_dollars) {
            at += 1;
        } else if text[at] == b'\\' && matches!(text.get(at + 1), Some(b'u' | b'U')) {
            at += 2;
        } else {
            break;
        }
    }
    at
}

/// The symbol of the identifier `spelling`: a character and its number are the same name.
pub(crate) fn identifier(spelling: &[u8], symbols: &Symbols) -> Symbol {
    if memchr::memchr(b'\\', spelling).is_none() {
        return symbols.intern(spelling);
    }
    let mut name = Vec::with_capacity(spelling.len());
    let mut rest = spelling;
    while let Some((byte, after)) = rest.split_first() {
        match universal_character(rest) {
            Some((character, length)) => {
                name.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[length..];
            }
            None => {
                name.push(*byte);
                rest = after;
            }
        }
    }
    symbols.intern(&name)
}

/// The character that `\u` and four digits, or `\U` and eight, stand for at the start of `text`, and their length.
fn universal_character(text: &[u8]) -> Option<(char, usize)> {
    let length = match text {
        [b'\\', b'u', ..] => 6,
        [b'\\', b'U', ..] => 10,
        _ => return None,
    };
    let digits = std::str::from_utf8(text.get(2..length)?).ok()?;
    Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, length))
}

fn prefixed_literal(text: &[u8], prefix: usize, modes: TokenModes) -> Option<(Kind, usize)> {
    let quote = *text.get(prefix)?;
    if !matches!(quote, b'"' | b'\'') {
        return None;
    }
    match (&text[..prefix], quote) {
        (b"L" | b"u" | b"U" | b"u8", _) => Some(literal(text, prefix, quote)),
        (b"R" | b"LR" | b"uR" | b"UR" | b"u8R", b'"') if modes.raw_strings => {
            Some((Kind::StringLiteral, raw_string_end(text, prefix + 1).unwrap_or(text.len())))
        }
        _ => None,
    }
}

fn literal(text: &[u8], prefix: usize, quote: u8) -> (Kind, usize) {
    let mut at = prefix + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote => {
                return (if quote == b'"' { Kind::StringLiteral } else { Kind::CharacterConstant }, at + 1);
            }
            _ => at += 1,
        }
    }
    (Kind::Other, text.len())
}

fn number_length(text: &[u8], modes: TokenModes) -> usize {
    let mut at = 1;
    while at < text.len() {
        let byte = text[at];
        if matches!(byte, b'+' | b'-') && matches!(text[at - 1], b'e' | b'E' | b'p' | b'P') {
            at += 1;
        } else if byte == b'\''
            && modes.digit_separators
            && text.get(at + 1).is_some_and(|next| continues_identifier(*next))
        {
            at += 2;
        } else if continues_identifier(byte) || byte == b'.' {
            at += 1;
        } else {
            break;
        }
    }
    at
}

fn punctuator(text: &[u8]) -> (Kind, usize) {
    const THREE: &[&[u8]] = &[b"...", b"<<=", b">>=", b"->*", b"<=>"];
    const TWO: &[&[u8]] = &[
        b"##", b"&&", b"||", b"==", b"!=", b"<=", b">=", b"<<", b">>", b"->", b"++", b"--", b"+=", b"-=", b"*=", b"/=",
        b"%=", b"&=", b"|=", b"^=", b"::", b"<:", b":>", b"<%", b"%>", b"%:", b".*",
    ];
    if text.starts_with(b"%:%:") {
        return (Kind::Punctuator, 4);
    }
    if THREE.iter().any(|three| text.starts_with(three)) && !text.starts_with(b"->*") && !text.starts_with(b"<=>") {
        return (Kind::Punctuator, 3);
    }
    if TWO.iter().any(|two| text.starts_with(two)) && !text.starts_with(b".*") {
        return (Kind::Punctuator, 2);
    }
    let is_punctuator = matches!(
        text[0],
        b'(' | b')'
            | b','
            | b'#'
            | b'<'
            | b'>'
            | b'&'
            | b'|'
            | b'^'
            | b'!'
            | b'~'
            | b'+'
            | b'-'
            | b'*'
            | b'/'
            | b'%'
            | b'?'
            | b':'
            | b';'
            | b'='
            | b'.'
            | b'['
            | b']'
            | b'{'
            | b'}'
    );
    (if is_punctuator { Kind::Punctuator } else { Kind::Other }, 1)
}

/// Digraphs are their primary spelling, except that `#` and the join of a file name keep what was written.
fn canonical(kind: Kind, spelling: &[u8], symbols: &Symbols) -> Symbol {
    match (kind, spelling) {
        (Kind::Punctuator, b"%:") => known::HASH,
        (Kind::Punctuator, b"%:%:") => known::PASTE,
        (Kind::Identifier, _) => identifier(spelling, symbols),
        _ => symbols.intern(spelling),
    }
}

/// `token` as C++ has it: a name that spells an operator is a punctuator, and keeps its spelling.
fn named_operator(token: Token) -> Token {
    match operator_of(token.symbol) {
        Some(_) => Token { kind: Kind::Punctuator, ..token },
        None => token,
    }
}

/// The punctuator that `name` is another spelling of.
pub(crate) const fn operator_of(name: Symbol) -> Option<Symbol> {
    Some(match name {
        known::NAMED_AND => known::AND_AND,
        known::NAMED_OR => known::OR_OR,
        known::NAMED_NOT => known::NOT,
        known::NAMED_BITAND => known::AND,
        known::NAMED_BITOR => known::OR,
        known::NAMED_XOR => known::XOR,
        known::NAMED_COMPL => known::TILDE,
        known::NAMED_NOT_EQ => known::NOT_EQUAL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::preprocess::trial::CXX;

    /// Compares the tokens of `text`, each with the first letters of its kind, with `expect`.
    fn check(modes: TokenModes, text: &str, expect: &str) {
        let symbols = Symbols::default();
        let mut tokens = Vec::new();
        tokenize(text.as_bytes(), modes, &symbols, &mut tokens);
        let shown: Vec<String> = tokens
            .iter()
            .map(|token| {
                let kind: String = format!("{:?}", token.kind).chars().take(2).collect();
                format!("{kind}:{}", String::from_utf8_lossy(symbols.text(token.symbol)))
            })
            .collect();
        assert_eq!(shown.join(" "), expect, "of {text:?}");
    }

    #[test]
    fn text_splits_into_the_longest_tokens() {
        let c = TokenModes::default();
        check(c, "", "");
        check(c, "a+++b", "Id:a Pu:++ Pu:+ Id:b");
        check(c, "x<<=1...y", "Id:x Pu:<<= Nu:1...y");
        check(c, "0x1p-3 1e+5f .5 1.2.3", "Nu:0x1p-3 Nu:1e+5f Nu:.5 Nu:1.2.3");
        check(c, "L'a' u8\"b\" \"c\\\"d\"", "Ch:L'a' St:u8\"b\" St:\"c\\\"d\"");
        check(c, "a$b @ \\u00e9", "Id:a$b Ot:@ Id:\u{e9}");
        check(c, "%:%: %: <:", "Pu:## Pu:# Pu:<:");
        check(c, "'open", "Ot:'open");
    }

    #[test]
    fn modes_decide_what_a_token_is() {
        check(TokenModes::default(), "1'0 and R\"(a)\"", "Nu:1 Ot:'0 and R\"(a)\"");
        check(CXX, "1'000 and R\"x()\")x\" a::b", "Nu:1'000 Pu:and St:R\"x()\")x\" Id:a Pu::: Id:b");
        check(TokenModes { no_dollars: true, ..CXX }, "a$b", "Id:a Ot:$ Id:b");
    }

    #[test]
    fn a_header_of_a_condition_is_one_token() {
        let symbols = Symbols::default();
        let count = |text: &str| {
            let tokens = tokenize_condition(text.as_bytes(), CXX, &symbols, &[]);
            tokens.iter().filter(|token| token.kind == Kind::Header).count()
        };
        assert_eq!(count("__has_include(<a/b.h>) && __has_include ( \"c.h\" )"), 2);
        assert_eq!(count("defined(a) < b > c"), 0);
    }
}
