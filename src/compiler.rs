//! The one room in which compilers are identified, run and read.
//!
//! Whoever wants to know something of a compiler asks here: which program a name means ([`search`], [`name`]) and whose flags it
//! takes ([`identify`]), under which variables it is asked ([`environment`]), how it is run ([`process`]), which questions a
//! driver answers ([`driver`]), what the answers say ([`answer`], [`make_rule`]), where clang looks for gcc
//! ([`installation`]), and what a program really looks for ([`trace`]).
//!
//! What it does not know: command lines as users write them, and what a compile reads.

pub(crate) mod answer;
pub(crate) mod driver;
pub(crate) mod environment;
pub(crate) mod identify;
pub(crate) mod installation;
pub(crate) mod make_rule;
pub(crate) mod name;
pub(crate) mod process;
pub(crate) mod search;
pub(crate) mod trace;

/// Which driver's flags a command line is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// GNU: gcc, g++, and cross compilers.
    Gcc,
    /// LLVM: clang, clang++.
    Clang,
}
