//! The scanner against its oracle, a small case for everything that an include scanner must get right.
//!
//! Each case is a tree and one or more command lines. For each line the closure has to hold what the compiler lists
//! (`-M`), what it opens (`strace`), and all that the compile needs: in a replica that holds only the closure and the
//! toolchain, it has to give the same object, messages and exit code. What the compiler looked for in vain has to be
//! among the closure's absences.
//!
//! Works as root, in mount namespaces of its own. Needs gcc, g++, clang 14, aarch64-linux-gnu-gcc, strace and util-linux.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod blanks;
mod case;
mod directives;
mod files;
mod flags;
mod fuzz;
mod hostile;
mod inputs;
mod lexing;
mod lines;
mod macros;
mod option_files;
mod pragmas;
mod project;
mod revalidation;
mod search_path;
mod variables;
