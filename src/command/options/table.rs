//! The table of flags, by topic: a row for each spelling, with its columns.

mod code;
mod diagnostics;
mod inputs;
mod linker;
mod modes;
mod outputs;
mod prelude;
mod preprocessor;
mod refused;
mod search;

use super::Flag;

/// All rows.
pub(super) fn rows() -> impl Iterator<Item = &'static Flag> {
    [
        modes::FLAGS,
        preprocessor::FLAGS,
        search::FLAGS,
        inputs::FLAGS,
        outputs::FLAGS,
        diagnostics::FLAGS,
        code::FLAGS,
        linker::FLAGS,
        refused::FLAGS,
    ]
    .into_iter()
    .flatten()
}
