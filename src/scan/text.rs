//! Text between directives, as far as it reads files: assembly, and pragmas that macros make.
//!
//! Its way through the floors:
//!
//! * [`lexer`](crate::scan::lex::lexer) tells of words that may matter, with what stands around them, and of uses of macros
//!   that are asked for; it must, for only it knows where strings, comments and parentheses are.
//! * [`replay`](crate::scan::replay) asks here what each of them does, and for which macros to ask the lexer next.
//!
//! What stands here knows neither files nor the macros of a replay:
//!
//! * [`assembler`]: the inputs of assembly, and the arguments that reach the assembler
//! * [`pragmas`]: the pragmas that expanded text holds
//! * [`watched_macros`]: the macros of one kind whose uses matter, and those found meanwhile
//! * [`words`]: whether a file may hold one of some names at all

pub(crate) mod assembler;
pub(crate) mod pragmas;
pub(crate) mod watched_macros;
pub(crate) mod words;
