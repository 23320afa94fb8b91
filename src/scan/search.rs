//! The floor that searches: where the name of a header leads.
//!
//! * [`search_path`]: the directories of a compile, in the compiler's order
//! * [`header`]: a file as a compile spells it and found it
//! * [`lookup`]: the outcome of one search, with all that it depends on
//! * [`setting`]: what compiles with the same compiler, flags and search path share: their searches and headers

pub(crate) mod header;
pub(crate) mod lookup;
pub(crate) mod search_path;
pub(crate) mod setting;
