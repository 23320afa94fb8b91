//! The end-to-end suites: the released program against real compilers, build tools and clients.
//!
//! A test whose tool is absent fails and names the package; `tests/install run` installs them all.

mod access;
mod anything;
mod audit;
mod bazel;
mod buildgrid;
mod buildstream;
mod cache;
mod casd;
mod compile;
mod container;
mod drain;
mod environment;
mod fallback;
mod faults;
mod frozen;
mod headers;
mod http_caches;
mod inherited;
mod moon;
mod one_process;
mod outputs;
mod projects;
mod quiet;
mod races;
mod reapi;
mod relative_paths;
mod seeds;
mod settings;
mod single_id;
mod terminals;
mod time_of_day;
mod time_stamps;
mod views;
mod waits;
mod watched;
