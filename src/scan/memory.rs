//! The floor that remembers: what one scan learns and the next one uses, once it has checked it.
//!
//! * [`world`]: all that a scanner remembers, thrown away as a whole when it has grown too large
//! * [`effects`]: what replays of a header did, by the macros that they read
//! * [`closures`]: whole closures by their command
//! * [`kept_directives`]: directives as a daemon keeps them for the next

pub(crate) mod closures;
pub(crate) mod effects;
pub(crate) mod kept_directives;
pub(crate) mod world;
