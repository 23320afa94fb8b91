//! The floor that searches: where the name of a header leads.
//!
//! * [`search_path`]: the directories of a compile, in the compiler's order
//! * [`lookup`]: searches along it, remembered with all that they depend on

pub(crate) mod lookup;
pub(crate) mod search_path;
