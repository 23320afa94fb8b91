//! The command line of every sub-command. The launcher never comes here.

mod control;
mod daemon;
mod doctor;
mod failure;
mod log;
mod scan;
mod services;

use crate::include_server::{self, IncludeServerArguments};
use crate::inherited;
use crate::launcher::Invocation;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

/// What a user sees of a command line that is wrong.
const USAGE_ERROR: u8 = 2;

/// What a shell ends with where there is no such program.
const NO_SUCH_PROGRAM: u8 = 127;

/// Distributed, cached C and C++ builds that give the same bytes as a local build.
///
/// In front of a compiler, pumphouse launches it: `pumphouse gcc -c a.c -o a.o`, `CC="pumphouse gcc"`,
/// `CMAKE_CXX_COMPILER_LAUNCHER=pumphouse`, or a symbolic link to pumphouse that is named like the compiler. In front of any
/// other program that is none of its commands, it runs that.
#[derive(Debug, Parser)]
#[command(name = "pumphouse", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = ENVIRONMENT_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: SubCommand,
}

const ENVIRONMENT_HELP: &str = "\
Environment:
  PUMPHOUSE_REMOTE        the server, as grpc://HOST:PORT[/INSTANCE], or grpcs:// where it is encrypted
  PUMPHOUSE_REMOTE_TOKEN_FILE, PUMPHOUSE_REMOTE_CA_FILE, PUMPHOUSE_REMOTE_CERTIFICATE_FILE, PUMPHOUSE_REMOTE_KEY_FILE
                          files by which this user and the server know each other
  PUMPHOUSE_DIR           the directory of socket, cache and state [default: ~/.cache/pumphouse]
  PUMPHOUSE_CACHE_SIZE    the bound of the local cache, such as 500M or 10G [default: 10G]
  PUMPHOUSE_LOCAL_JOBS    compiles that run on this machine at a time [default: its processors]
  PUMPHOUSE_IDLE_TIMEOUT  seconds without work after which the daemon leaves [default: 900]
  PUMPHOUSE_PATIENCE      how long compiles wait for a slow server while there is room here, in percent [default: 100]
  PUMPHOUSE_AUDIT         one in so many hits is compiled again when there is time, 0 for none [default: 1000]
  PUMPHOUSE_LOG           what the daemon logs, as tracing directives [default: info]
  PUMPHOUSE_DISABLE       anything but 0: compilers run as if pumphouse were not there

The same can stand in ~/.config/pumphouse.toml as remote, cache_size, local_jobs, idle_timeout_seconds,
patience, audit and log.";

#[derive(Debug, Subcommand)]
enum SubCommand {
    /// Run a server and a worker in one process, with nothing else to set up
    Up(services::UpArguments),
    /// Run a server: storage, action cache and scheduler
    Server(services::ServerArguments),
    /// Run a worker of a server
    Worker(services::WorkerArguments),
    /// Serve this user's compiles; launchers start it by themselves
    Daemon(daemon::DaemonArguments),
    /// Print which files a compile reads, without running it: `pumphouse scan -- gcc -c a.c`
    Scan(scan::ScanArguments),
    /// End the daemon of `PUMPHOUSE_DIR`, after the compiles that it is serving
    Stop,
    /// Show what happened to the compiles
    Stats(control::StatsArguments),
    /// Say what is not as it should be on this machine
    Doctor,
    /// Run a compile whose outputs go elsewhere (the daemon does so)
    #[command(name = crate::audit::apart::SUB_COMMAND, hide = true)]
    CompileApart(doctor::ApartArguments),
    /// Answer distcc's clients which files a compile needs: the include server of its pump mode
    IncludeServer(Box<IncludeServerArguments>),
}

/// What `arguments` (the program's own name first) name instead of a sub-command or an option: a program to run, if there is
/// one.
pub fn program(mut arguments: impl Iterator<Item = OsString>) -> Option<Invocation> {
    let first = arguments.nth(1)?;
    if first.is_empty() || first.as_bytes().starts_with(b"-") {
        return None;
    }
    let mut known = Arguments::command();
    // Its own `help` is among the sub-commands from then on.
    known.build();
    let is_known = known.get_subcommands().any(|command| command.get_name() == first);
    (!is_known).then(|| Invocation { compiler: first, arguments: arguments.collect() })
}

/// Says that there is neither a sub-command nor a program of this name. What resembles a sub-command is a slip of the pen.
fn say_unknown(name: &OsStr, error: &clap::Error) -> u8 {
    let name = name.to_string_lossy();
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(similar)) => similar.first().cloned(),
        Some(ContextValue::String(similar)) => Some(similar.clone()),
        _ => None,
    };
    match similar {
        Some(similar) => {
            eprintln!("pumphouse: {name}: no command of pumphouse, and no program on PATH; did you mean {similar}?");
            USAGE_ERROR
        }
        None => {
            eprintln!("pumphouse: {name}: no program on PATH, and no command of pumphouse; see pumphouse --help");
            NO_SUCH_PROGRAM
        }
    }
}

/// Does what the program's arguments say, and gives its exit code.
///
/// The code is a number rather than an `ExitCode`, since the program's `main` is C's.
pub fn run() -> u8 {
    inherited::await_children();
    inherited::unblock_all();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if let Some(program) = program(std::env::args_os()) {
                return say_unknown(&program.compiler, &error);
            }
            // Help and the version come this way too, for standard output and with success.
            let _ = error.print();
            return if error.use_stderr() { USAGE_ERROR } else { 0 };
        }
    };
    let result = match arguments.command {
        SubCommand::Scan(arguments) => scan::run(&arguments),
        SubCommand::Up(arguments) => services::up(&arguments).map(|()| 0),
        SubCommand::Server(arguments) => services::server(&arguments).map(|()| 0),
        SubCommand::Worker(arguments) => services::worker(arguments).map(|()| 0),
        SubCommand::Daemon(arguments) => daemon::run(&arguments).map(|()| 0),
        SubCommand::Stop => control::stop().map(|()| 0),
        SubCommand::Stats(arguments) => control::stats(&arguments).map(|()| 0),
        SubCommand::Doctor => doctor::run(),
        SubCommand::CompileApart(arguments) => doctor::compile_apart(arguments).map(|()| 0),
        SubCommand::IncludeServer(arguments) => include_server::run(*arguments).map(|()| 0),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be a pipe that nobody reads any more.
            let _ = writeln!(std::io::stderr(), "pumphouse: {}", failure::words(&error));
            1
        }
    }
}
