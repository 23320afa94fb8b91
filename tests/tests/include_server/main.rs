//! The include server in the place of distcc's own: unmodified clients and servers of distcc 3.4 build through it.
//!
//! A test whose tool is absent fails and names the package; `tests/install run` installs them all.

mod options;
mod process;
mod projects;
mod requests;
mod sources;
