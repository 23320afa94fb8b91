//! The lexer's floor: a file's bytes to its [`directives`]. It knows neither macros nor files.
//!
//! [`lexer`] walks a file once. Beside the directives it tells of words in text that may matter: `_Pragma`,
//! `__COUNTER__`, `.incbin`, and uses of macros that are looked for.

pub mod directives;
pub mod lexer;
