//! What goes to standard error, by the bits of `--debug_pattern`.
//!
//! **Source:** `include_server(1)`: the marks of the lines are those of distcc's own include server.

use std::fmt::Arguments;
use std::io::Write as _;

const WARNING: u32 = 1;
const TRACE: u32 = 2;
const DATA: u32 = 16;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    pattern: u32,
}

impl Log {
    /// The lines of `pattern`: 1 for warnings, 2 for traces, 16 for data.
    pub(super) const fn new(pattern: u32) -> Self {
        Self { pattern }
    }

    /// Says what the user should know of.
    pub(super) fn warning(self, message: Arguments<'_>) {
        self.write(WARNING, "WARNING include server", message);
    }

    /// Says what is done.
    pub(super) fn trace(self, message: Arguments<'_>) {
        self.write(TRACE, "TRACE", message);
    }

    /// Says what is known; `message` is only called where that is wanted.
    pub(super) fn data(self, message: impl FnOnce() -> String) {
        if self.pattern & DATA != 0 {
            self.write(DATA, "DATA", format_args!("{}", message()));
        }
    }

    fn write(self, bit: u32, mark: &str, message: Arguments<'_>) {
        if self.pattern & bit != 0 {
            // One call, so that lines of several threads stay whole. Nobody may be there to read it any more.
            let _ = std::io::stderr().write_all(format!("{mark}: {message}\n").as_bytes());
        }
    }
}
