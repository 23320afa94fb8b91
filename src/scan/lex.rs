//! The lexer's floor: a file's bytes to its [`directives`]. It knows neither macros nor files.
//!
//! * [`characters`]: bytes by what they are
//! * [`directives`]: the result, and the modes in which a file may be read
//! * [`lexer`]: the walk over a file. Beside the directives it tells of words in text that may matter: `_Pragma`,
//!   `__COUNTER__`, `.incbin` (the [`assembler_directive`]s), and uses of macros that are looked for. What those do,
//!   [`text`](crate::scan::text) knows.

pub(crate) mod assembler_directive;
pub(crate) mod characters;
pub mod directives;
pub mod lexer;
