//! A file's directives as the lexer leaves them: a pure function of the file's bytes and the [`LexModes`].

use memchr::memmem::Finder;
use std::fmt;
use std::sync::LazyLock;

/// How a file is lexed. Everything else about a language is the replay's business.
#[expect(clippy::struct_excessive_bools, reason = "twelve independent traits of a language")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LexModes {
    /// `R"x(…)x"` is a string that ends where it says, whatever it holds.
    pub raw_strings: bool,
    /// A raw string in a directive ends with the directive's line, as gcc has it.
    pub lines_end_raw_strings: bool,
    /// `1'000` is one number and no character literal.
    pub digit_separators: bool,
    /// `??=` is `#`, `??/` is `\`, ….
    pub trigraphs: bool,
    /// A token starts with the splices right before it, as clang has it: its line is theirs.
    pub splices_start_tokens: bool,
    /// `import` and `module` at the start of a line declare modules.
    pub modules: bool,
    /// `%:` is no spelling of `#`, as in the C of 1990 and in assembler.
    pub no_digraphs: bool,
    /// `//` starts no comment: gcc's C of 1990, outside system headers.
    pub no_line_comments: bool,
    /// `//*` starts a block comment after a slash, and any other `//` a line's: clang's C of 1990.
    pub blocks_before_lines: bool,
    /// `#elifdef` and `#elifndef` mean nothing.
    pub no_elifdef: bool,
    /// `$` is no part of a name, as in assembler.
    pub no_dollars: bool,
    /// Assembler: `.incbin` and `.include` stand in the text itself.
    pub assembler: bool,
}

impl LexModes {
    /// A small number that distinguishes the modes.
    pub fn key(mut self) -> u32 {
        self.flags().iter().rev().fold(0, |key, mode| key << 1 | u32::from(**mode))
    }

    /// The modes that have this key.
    pub(crate) fn of_key(key: u32) -> Self {
        let mut modes = Self::default();
        for (at, mode) in modes.flags().into_iter().enumerate() {
            *mode = key >> at & 1 == 1;
        }
        modes
    }

    /// The modes that can make a difference to `content`: all others may be set or not.
    pub(crate) fn that_matter_to(content: &[u8]) -> Self {
        let has_byte = |byte| memchr::memchr(byte, content).is_some();
        let has_trigraphs = TRIGRAPH.find(content).is_some();
        let raw_strings = RAW_STRING.find(content).is_some() || has_splice_after(content, b"R");
        let has_elifdef = |at: usize| matches!(content.get(at + 4), Some(b'd' | b'n'));
        let elifdef = ELIF.find_iter(content).any(has_elifdef) || has_splice_after(content, b"elif");
        Self {
            raw_strings,
            lines_end_raw_strings: raw_strings,
            digit_separators: has_byte(b'\''),
            trigraphs: has_trigraphs,
            splices_start_tokens: splices(content).next().is_some(),
            modules: true,
            no_digraphs: true,
            no_line_comments: true,
            blocks_before_lines: true,
            no_elifdef: has_trigraphs || elifdef,
            no_dollars: has_byte(b'$'),
            assembler: true,
        }
    }

    fn flags(&mut self) -> [&mut bool; 12] {
        [
            &mut self.raw_strings,
            &mut self.lines_end_raw_strings,
            &mut self.digit_separators,
            &mut self.trigraphs,
            &mut self.splices_start_tokens,
            &mut self.modules,
            &mut self.no_digraphs,
            &mut self.no_line_comments,
            &mut self.blocks_before_lines,
            &mut self.no_elifdef,
            &mut self.no_dollars,
            &mut self.assembler,
        ]
    }
}

static TRIGRAPH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"??"));
static RAW_STRING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"R\""));
static ELIF: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"elif"));

/// Where backslashes stand that may end their lines.
fn splices(content: &[u8]) -> impl Iterator<Item = usize> {
    let ends_line = |at: &usize| content.get(at + 1).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == 0x0b);
    memchr::memchr_iter(b'\\', content).filter(ends_line)
}

/// Whether a backslash that ends its line stands behind one of `bytes`.
fn has_splice_after(content: &[u8], bytes: &[u8]) -> bool {
    splices(content).any(|at| at > 0 && bytes.contains(&content[at - 1]))
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a directive is; the last few are occurrences in text that a replay must know of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DirectiveKind { $($(#[$doc])* $name,)* }

        impl DirectiveKind {
            /// All kinds, each at the place of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name as it is written in sources, or a description in brackets.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// `#if`
    If = "if",
    /// `#ifdef`
    Ifdef = "ifdef",
    /// `#ifndef`
    Ifndef = "ifndef",
    /// `#elif`
    Elif = "elif",
    /// `#elifdef`
    Elifdef = "elifdef",
    /// `#elifndef`
    Elifndef = "elifndef",
    /// `#else`
    Else = "else",
    /// `#endif`
    Endif = "endif",
    /// `#include`
    Include = "include",
    /// `#include_next`
    IncludeNext = "include_next",
    /// `#import`
    Import = "import",
    /// `#embed`
    Embed = "embed",
    /// `#define`
    Define = "define",
    /// `#undef`
    Undef = "undef",
    /// `#pragma`
    Pragma = "pragma",
    /// `#line`
    Line = "line",
    /// `# 1 "file" 3`
    LineMarker = "[line marker]",
    /// `#error`
    Error = "error",
    /// `__COUNTER__` in text
    TextCounter = "[counter]",
    /// `__DATE__` or `__TIME__` in text
    TextTime = "[time]",
    /// `__TIMESTAMP__` in text: the time of a file, which does not travel
    TextTimestamp = "[timestamp]",
    /// `.incbin` or `.include` in text: what follows it
    TextInput = "[input]",
    /// The names before parentheses that the next `[input]` or `[call]` stands in: if one is a macro, the input is assembly,
    /// and the call is part of that macro's use
    EnclosingNames = "[within]",
    /// A macro in text that was asked for: its name and what follows it, without comments
    TextUse = "[use]",
    /// A macro in text that was asked for: its name and its arguments alone, and macros around it come first
    TextCall = "[call]",
    /// `_Pragma` in text: its operand unquoted
    TextPragma = "[pragma]",
    /// `_Pragma` in a macro's body: its operand unquoted
    DefinedPragma = "[defined pragma]",
    /// A pragma's text in what may be the argument of a macro that makes one of it: the macro's name
    MacroPragma = "[macro pragma]",
    /// A `_Pragma` that matters in what may be the argument of a macro: the macro's name
    PragmaArgument = "[pragma argument]",
    /// A pragma's text in the same way in a macro's body, or the text by itself there
    DefinedMacroPragma = "[defined macro pragma]",
    /// `.incbin` or `.include` in a macro's body: what follows it
    DefinedInput = "[defined input]",
    /// `import` or `module` at the start of a line
    TextModule = "[module]",
    /// `//` in text where it starts no comment: an error
    TextLineComment = "[line comment]",
    /// `TIME` or `DATE`, of which `##` may make `__TIME__`
    TextTimePart = "[time part]",
    /// `TIMESTAMP` in the same way
    TextTimestampPart = "[timestamp part]",
    /// A macro's body that puts underscores around names
    DefinedJoin = "[underscores]",
}

/// One directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive {
    /// What it is.
    pub kind: DirectiveKind,
    /// The line of its `#`, from 1.
    pub line: u32,
    /// Where its operand starts in the text.
    pub start: u32,
    /// Where its operand ends.
    pub end: u32,
}

/// A place in an operand from which on tokens stand in another line: a splice or a comment was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineBreak {
    /// The directive's index.
    pub directive: u32,
    /// The place, from the start of the operand.
    pub at: u32,
    /// How many lines ended since the directive's `#`.
    pub lines: u32,
}

/// A file's directives in order, with their operands: comments are one blank, runs of blanks are one blank, line
/// splices are gone; strings, characters and header names stand as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// All operands.
    pub text: Vec<u8>,
    /// The directives.
    pub list: Vec<Directive>,
    /// Where the operands that may ask for their line go on in another one, in order.
    pub line_breaks: Vec<LineBreak>,
}

impl Directives {
    /// The operand of `directive`.
    pub fn operand(&self, directive: &Directive) -> &[u8] {
        &self.text[directive.start as usize..directive.end as usize]
    }
}

/// A line a directive: `LINE: NAME OPERAND`.
impl fmt::Display for Directives {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for directive in &self.list {
            let operand = String::from_utf8_lossy(self.operand(directive));
            let blank = if operand.is_empty() { "" } else { " " };
            writeln!(formatter, "{}: {}{blank}{operand}", directive.line, directive.kind.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_matter_where_their_characters_stand() {
        let always = LexModes {
            modules: true,
            no_digraphs: true,
            no_line_comments: true,
            blocks_before_lines: true,
            assembler: true,
            ..LexModes::default()
        };
        let raw = LexModes { raw_strings: true, lines_end_raw_strings: true, ..always };
        for (content, expect) in [
            ("#include <a>\n", always),
            ("R\"(a)\"", raw),
            ("R \"(a)\"", always),
            ("R\\\n\"(a)\"", LexModes { splices_start_tokens: true, ..raw }),
            ("1'000", LexModes { digit_separators: true, ..always }),
            ("a$", LexModes { no_dollars: true, ..always }),
            ("a \\\n b", LexModes { splices_start_tokens: true, ..always }),
            ("\"\\n\"", always),
            ("??=", LexModes { trigraphs: true, no_elifdef: true, ..always }),
            ("#elif A", always),
            ("#elifndef A", LexModes { no_elifdef: true, ..always }),
        ] {
            assert_eq!(LexModes::that_matter_to(content.as_bytes()), expect, "{content:?}");
        }
    }

    #[test]
    fn each_mode_has_a_bit_of_the_key() {
        let mut all = 0;
        for bit in 0..12 {
            let modes = LexModes::of_key(1 << bit);
            assert_eq!(modes.key(), 1 << bit, "{modes:?}");
            all |= modes.key();
        }
        assert_eq!(LexModes::of_key(all).key(), all);
        assert_eq!(LexModes::of_key(0), LexModes::default());
    }

    #[test]
    fn kinds_stand_at_the_places_of_their_numbers() {
        for (number, kind) in DirectiveKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number, "{}", kind.name());
        }
    }

    #[test]
    fn directives_are_shown_one_a_line() {
        let text = b"A 1once".to_vec();
        let directive = |kind, line, start, end| Directive { kind, line, start, end };
        let list = vec![
            directive(DirectiveKind::Define, 1, 0, 3),
            directive(DirectiveKind::TextPragma, 2, 3, 7),
            directive(DirectiveKind::Endif, 9, 7, 7),
        ];
        let directives = Directives { text, list, line_breaks: Vec::new() };
        assert_eq!(directives.to_string(), "1: define A 1\n2: [pragma] once\n9: endif\n");
    }
}
