//! A drop-in for the include server of distcc 3.4: `pumphouse include-server`.
//!
//! In distcc's pump mode a client does not preprocess. It asks the include server which files its compile needs, sends
//! them compressed, and the server that compiles preprocesses. The parts stand in the order in which a request travels.
//!
//! Invariants: a compile that may read anything else on a server than here is left to its client, which then preprocesses
//! as in distcc's plain mode. Every file is checked against the disk at every request.
//!
//! **Source:** `include_server(1)`, distcc(1), and the behaviour of distcc 3.4.

mod client_root;
mod email;
mod exact;
mod log;
mod lzo;
mod manifest;
mod mirror;
mod not_covered;
mod observation;
mod options;
mod process;
mod protocol;
mod service;
mod statistics;
mod system_directories;
mod translation;
mod triggers;

pub(crate) use options::IncludeServerArguments;

/// Does what the sub-command's arguments say. Returns when the include server is ready, or with `--foreground` when it
/// has ended.
///
/// # Errors
/// When the include server can't start.
pub(crate) fn run(arguments: IncludeServerArguments) -> anyhow::Result<()> {
    if arguments.simple_algorithm {
        anyhow::bail!("--simple_algorithm is not implemented");
    }
    if arguments.shutdown {
        process::shutdown()
    } else if arguments.startup {
        process::startup()
    } else if arguments.foreground {
        crate::heap::prepare();
        process::serve(arguments)
    } else {
        process::start_in_background()
    }
}
