//! The preprocessor's floor: macros and conditions over directives. It knows no files.
//!
//! From the ground up:
//!
//! * [`symbols`]: names as numbers, in an [`append`]-only list
//! * [`tokens`]: an operand as preprocessing tokens, [`padding`]: the white space that expansion leaves between them
//! * [`definitions`]: macro definitions, each text once
//! * [`macros`]: which definition each macro has now, with what was read since a moment
//! * [`expand`]: what tokens expand to
//! * [`condition`]: whether an `#if` is true, false or unknown
//! * [`op`]: the steps of a replay
//! * [`program`]: a file's directives as steps, linked to symbols and definitions, for [`replay`](crate::scan::replay)

pub(crate) mod append;
pub(crate) mod condition;
pub(crate) mod definitions;
pub(crate) mod expand;
#[cfg(test)]
mod fuzz;
pub(crate) mod macros;
pub(crate) mod op;
pub(crate) mod padding;
pub(crate) mod program;
pub(crate) mod symbols;
pub(crate) mod tokens;
#[cfg(test)]
mod trial;
