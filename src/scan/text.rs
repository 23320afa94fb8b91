//! What text between directives may hold that reads files: assembly, and the words that files are searched for.
//!
//! * [`assembler`]: the inputs of assembly, and the arguments that reach the assembler
//! * [`words`]: whether a file may hold one of some names at all

pub(crate) mod assembler;
pub(crate) mod words;
