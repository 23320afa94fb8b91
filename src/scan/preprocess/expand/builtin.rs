//! Macros that the compiler computes at each use: where it stands, how often it was asked.
//!
//! **Source:** C17 6.10.8; "Predefined Macros" of gcc's preprocessor manual; "Builtin Macros" of clang's language extensions.

use crate::scan::preprocess::definitions::Builtin;
use crate::scan::preprocess::expand::{Expander, Paddings};
use crate::scan::preprocess::padding::Padding;
use crate::scan::preprocess::tokens::{Flags, Kind, Token};

impl Expander<'_> {
    /// What stands before the token that gcc or clang makes of `name`, a macro that it computes.
    fn made_by_compiler(&mut self, name: Token) -> Token {
        match self.paddings {
            Paddings::Blanks => name,
            Paddings::All => {
                self.pending = Padding::SOURCELESS;
                Token { flags: Flags::default(), ..name }.with_padding(name.padding().then(name.as_source()))
            }
            Paddings::BeforeArguments | Paddings::Few => {
                Token { flags: Flags::default(), ..name }.with_padding(name.padding())
            }
        }
    }

    /// What `builtin` gives where `token` names it.
    pub(super) fn builtin(&mut self, builtin: Builtin, token: Token) -> Token {
        let quoted = |bytes: &[u8]| {
            let mut text = vec![b'"'];
            for byte in bytes {
                if matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
            text.push(b'"');
            text
        };
        let name = token;
        let token = self.made_by_compiler(name);
        let (kind, text) = match builtin {
            Builtin::Operator => return name,
            Builtin::Line => {
                let line = self.surroundings.position.line.wrapping_add(u32::from(token.lines));
                (Kind::Number, line.to_string().into_bytes())
            }
            Builtin::File => {
                self.surroundings.observations.saw_place |= self.surroundings.position.is_mapped;
                (Kind::StringLiteral, quoted(self.surroundings.position.file))
            }
            Builtin::FileName => {
                let name = self.surroundings.position.file.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                (Kind::StringLiteral, quoted(name))
            }
            Builtin::BaseFile => {
                self.surroundings.observations.saw_place = true;
                (Kind::StringLiteral, quoted(self.surroundings.position.base_file))
            }
            Builtin::IncludeLevel => {
                self.surroundings.observations.saw_place = true;
                (Kind::Number, self.surroundings.position.include_level.to_string().into_bytes())
            }
            Builtin::Counter => {
                self.surroundings.observations.saw_place = true;
                let Some(value) = self.surroundings.observations.counter else {
                    return Token::new(Kind::Unknown, token.symbol);
                };
                self.surroundings.observations.counter = Some(value + 1);
                (Kind::Number, value.to_string().into_bytes())
            }
            Builtin::Time => {
                self.surroundings.observations.saw_time = true;
                return Token::new(Kind::Unknown, token.symbol);
            }
        };
        Token { kind, symbol: self.surroundings.symbols.intern(&text), ..token }
    }
}
