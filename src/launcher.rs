//! The launcher: `pumphouse gcc -c a.c -o a.o`, or a symbolic link to `pumphouse` that is named like a compiler.
//!
//! It asks the daemon, starting one where there is none, and replays the answer. Any other program it becomes. It has no threads
//! and reads no configuration, and it knows nothing about compilers but their names. Its one invariant: whatever goes
//! wrong, the real compiler runs, exactly once with effect, as if Pumphouse were not there.

mod invocation;
mod real_compiler;
mod start;

pub use invocation::Invocation;

use crate::command::environment;
use crate::compiler::search::{self, NotFound, PASSED_VARIABLE};
use crate::inherited;
use crate::ipc::socket::{self, Directories};
use crate::ipc::vantage::Vantage;
use crate::ipc::without::{self, Told, Why, Without};
use crate::ipc::{
    self, Answer, CompileRequest, Completed, DEPTH_VARIABLE, LocalOutput, LocalRun, Report, Request, Terminal,
};
use real_compiler::Target;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Set to anything but `0`: every compile runs as if Pumphouse were not there.
pub const DISABLE_VARIABLE: &str = "PUMPHOUSE_DISABLE";

/// The greatest depth, beyond which the compiler that was asked for is a script that ends in Pumphouse again.
const DEPTH_LIMIT: u32 = 8;

/// The environment variable that says how often a launcher became a program that is no compiler, each started by the one before.
const NESTED_VARIABLE: &str = "PUMPHOUSE_NESTED";

/// The greatest such number, beyond which the program is a script that starts itself.
const NESTED_LIMIT: u32 = 64;

/// How often a launcher asks again, where the daemon left just as it was asked.
const ATTEMPTS: u32 = 3;

/// Does what `invocation` asks for, and gives the exit code; does not return where it becomes the program.
pub fn run(invocation: &Invocation) -> u8 {
    match real_compiler::target(invocation) {
        Ok(Target::Compiler) => launch(invocation),
        Ok(Target::Program(path)) => become_program(invocation, &path),
        Err(missing) => refuse(&missing),
    }
}

/// As [`run`], for what is launched only if there is a program of its name; none where there isn't.
pub fn run_if_found(invocation: &Invocation) -> Option<u8> {
    match real_compiler::target(invocation) {
        Ok(Target::Compiler) => Some(launch(invocation)),
        Ok(Target::Program(path)) => Some(become_program(invocation, &path)),
        Err(NotFound::Name(_)) => None,
        Err(missing) => Some(refuse(&missing)),
    }
}

fn refuse(missing: &NotFound) -> u8 {
    eprintln!("pumphouse: {missing}");
    missing.exit_code()
}

fn launch(invocation: &Invocation) -> u8 {
    if disabled() || !invocation.may_be_compile() {
        return become_compiler(invocation);
    }
    match ask_daemon(invocation) {
        Ok(code) => code,
        Err(without) => {
            note(&without);
            become_compiler(invocation)
        }
    }
}

/// Counts a launcher that does without the daemon. Its user is told where there is one to read it, once in a build:
/// whatever else reads standard error takes it for the compiler's.
fn note(without: &Without) {
    let Ok(directories) = Directories::from_environment() else { return };
    let told = without::count(&directories, without.why);
    if told == Told::No && !without.message.is_empty() && rustix::termios::isatty(io::stderr()) {
        eprintln!("pumphouse: warning: {}; compiling without the daemon", without.message);
    }
}

fn disabled() -> bool {
    std::env::var_os(DISABLE_VARIABLE).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Asks until the daemon has answered. An error means that nothing was run here.
fn ask_daemon(invocation: &Invocation) -> Result<u8, Without> {
    let cannot_ask = |error: io::Error| Without::new(Why::NoRequest, format!("asking the daemon: {error}"));
    let directories = Directories::from_environment().map_err(cannot_ask)?;
    let request = request(invocation, directories.vantage).map_err(cannot_ask)?.encode();
    let no_answer = |error: io::Error| Without::new(Why::NoAnswer, format!("the daemon does not answer: {error}"));
    for _ in 0..ATTEMPTS {
        let mut stream = match socket::connect(&directories.socket) {
            Ok(stream) => stream,
            Err(error) if socket::is_absence(&error) => start::start_daemon(&directories)?,
            Err(error) if socket::is_silence(&error) => return Err(start::silent(&directories)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(cannot_ask(error)),
            Err(error) => {
                let socket = directories.socket.join(socket::SOCKET);
                return Err(Without::new(Why::Unreachable, format!("{}: {error}", socket.display())));
            }
        };
        stream.set_read_timeout(Some(ipc::SILENCE_LIMIT)).map_err(no_answer)?;
        match stream.write_all(&request).and_then(|()| read_answer(&mut stream)) {
            Ok(Answer::Done(completed)) => return Ok(replay(&completed)),
            Ok(Answer::RunLocally(run)) => return Ok(run_locally(invocation, &run, &mut stream)),
            // It has left its socket already, so the next attempt starts one of this build.
            Ok(Answer::OtherBuild) => {}
            Ok(Answer::Heartbeat | Answer::Acknowledged) => return Err(no_answer(io::ErrorKind::InvalidData.into())),
            Err(error) if is_departure(&error) => {}
            Err(error) if socket::is_silence(&error) => return Err(start::silent(&directories)),
            Err(error) => return Err(no_answer(error)),
        }
    }
    Err(Without::new(Why::NoAnswer, format!("the daemon left {ATTEMPTS} times as it was asked")))
}

/// Whether an error of asking means that the daemon left at that moment.
fn is_departure(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn request(invocation: &Invocation, vantage: Vantage) -> io::Result<Request> {
    let here = std::fs::metadata(".")?;
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let mut environment: Vec<(OsString, OsString)> =
        std::env::vars_os().filter(|(name, _)| is_forwarded(name)).collect();
    environment.sort_unstable();
    let mut arguments = Vec::with_capacity(invocation.arguments.len() + 1);
    arguments.push(invocation.compiler.clone());
    arguments.extend_from_slice(&invocation.arguments);
    Ok(Request::Compile(CompileRequest {
        vantage,
        working_directory: std::env::current_dir()?,
        device: here.dev(),
        inode: here.ino(),
        umask: umask.as_raw_mode(),
        group: None,
        terminal: if rustix::termios::isatty(io::stderr()) { Terminal::Yes } else { Terminal::No },
        arguments,
        environment,
    }))
}

/// Whether the daemon is told of a variable: what compiles depend on, and what is meant for Pumphouse.
fn is_forwarded(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"PUMPHOUSE_") || environment::is_relevant(name)
}

/// Reads the next answer that is not a heartbeat.
fn read_answer(stream: &mut UnixStream) -> io::Result<Answer> {
    // One read brings the whole answer in most cases.
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        while filled < 5 {
            filled += read_some(stream, &mut buffer[filled..])?;
        }
        let (length, tag) = ipc::decode_header([buffer[0], buffer[1], buffer[2], buffer[3], buffer[4]])?;
        let end = 5 + length;
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        if filled < end {
            stream.read_exact(&mut buffer[filled..end])?;
            filled = end;
        }
        match Answer::decode(tag, &buffer[5..end])? {
            Answer::Heartbeat => {
                buffer.copy_within(end..filled, 0);
                filled -= end;
            }
            answer => return Ok(answer),
        }
    }
}

fn read_some(stream: &mut UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes what the compiler wrote, and ends as it did.
fn replay(completed: &Completed) -> u8 {
    tell(&completed.notice);
    // A closed standard output is no reason to end otherwise than the compiler, which does not look either.
    let _ = write_unbuffered(rustix::stdio::stdout(), &completed.stdout);
    let _ = write_unbuffered(io::stderr(), &completed.stderr);
    end_as(ExitStatus::from_raw(completed.wait_status))
}

/// Writes what Pumphouse itself has to say where a person reads it: anything else takes standard error for the compiler's.
fn tell(notice: &[u8]) {
    if !notice.is_empty() && rustix::termios::isatty(io::stderr()) {
        let _ = write_unbuffered(io::stderr(), notice);
    }
}

fn write_unbuffered(stream: impl std::os::fd::AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&stream, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Ends this process as another one ended: with its code, or by its signal.
fn end_as(status: ExitStatus) -> u8 {
    if let Some(code) = status.code() {
        return code as u8;
    }
    let signal = status.signal().unwrap_or(1);
    if let Some(named) = rustix::process::Signal::from_named_raw(signal) {
        // A signal that this process ignores or survives leaves the shell's way of saying the same.
        let _ = rustix::process::kill_process(rustix::process::getpid(), named);
    }
    128_u8.wrapping_add(signal as u8)
}

/// Runs the compiler for the daemon, which is told how it ended.
fn run_locally(invocation: &Invocation, run: &LocalRun, stream: &mut UnixStream) -> u8 {
    tell(&run.notice);
    let compiler =
        if run.compiler.as_os_str().is_empty() { real_compiler::compiler(&invocation.compiler).ok() } else { None };
    let compiler = compiler.as_ref().unwrap_or(&run.compiler);
    let arguments = run.arguments.as_deref().unwrap_or(&invocation.arguments);
    let mut command = compiler_command(&invocation.compiler, arguments, compiler);
    if run.output == LocalOutput::Captured {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    inherited::await_children();
    let Ok(child) = command.spawn() else {
        let _ = stream.write_all(&Report::NotStarted.encode());
        return become_compiler(invocation);
    };
    // From here on the compiler runs: what the daemon does or fails to do changes nothing for the build.
    let told = stream.write_all(&Report::Started(child.id()).encode());
    let output = match child.wait_with_output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("pumphouse: waiting for {}: {error}", compiler.display());
            return 1;
        }
    };
    let completed = Completed {
        wait_status: output.status.into_raw(),
        stdout: output.stdout,
        stderr: output.stderr,
        notice: Vec::new(),
    };
    if told.is_ok() && stream.write_all(&Report::Finished(completed.clone()).encode()).is_ok() {
        // The build may touch the outputs as soon as this process ends, so the daemon must have read them by then.
        let _ = read_answer(stream);
    }
    // What a compiler says depends on the terminal that it sees. The same run once more does to files what this one did.
    if run.output == LocalOutput::Captured
        && completed.says_anything()
        && rustix::termios::isatty(io::stderr())
        && let Ok(status) = compiler_command(&invocation.compiler, &invocation.arguments, compiler).status()
    {
        return end_as(status);
    }
    replay(&completed)
}

/// Becomes the real compiler. Returns only if that fails.
fn become_compiler(invocation: &Invocation) -> u8 {
    if count(DEPTH_VARIABLE) > DEPTH_LIMIT {
        return too_deep(invocation, DEPTH_LIMIT);
    }
    match real_compiler::compiler(&invocation.compiler) {
        Ok(compiler) => {
            cannot_run(&compiler, &compiler_command(&invocation.compiler, &invocation.arguments, &compiler).exec())
        }
        Err(missing) => refuse(&missing),
    }
}

/// Becomes a program that is no compiler. Returns only if that fails.
fn become_program(invocation: &Invocation, path: &Path) -> u8 {
    let nested = count(NESTED_VARIABLE) + 1;
    if nested > NESTED_LIMIT {
        return too_deep(invocation, NESTED_LIMIT);
    }
    let mut command = Command::new(path);
    command.arg0(&invocation.compiler).args(&invocation.arguments).env(NESTED_VARIABLE, nested.to_string());
    cannot_run(path, &command.exec())
}

fn too_deep(invocation: &Invocation, limit: u32) -> u8 {
    eprintln!("pumphouse: {} starts pumphouse again, {limit} times over", invocation.compiler.to_string_lossy());
    127
}

/// Says why a program that is there did not run, and gives a shell's exit code for it.
fn cannot_run(program: &Path, error: &io::Error) -> u8 {
    eprintln!("pumphouse: {}: {error}", program.display());
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// `compiler` with `arguments`, by the name under which it was `written` where it finds itself by that, since compilers may
/// show their name (`gcc -v`).
fn compiler_command(written: &OsStr, arguments: &[OsString], compiler: &Path) -> Command {
    let mut command = Command::new(compiler);
    if real_compiler::finds_itself(written, compiler) {
        command.arg0(written);
    }
    let passed = search::passed_on(std::env::var_os(PASSED_VARIABLE), compiler);
    command.args(arguments).env(DEPTH_VARIABLE, (count(DEPTH_VARIABLE) + 1).to_string()).env(PASSED_VARIABLE, passed);
    command
}

/// The number in an environment variable.
fn count(variable: &str) -> u32 {
    std::env::var(variable).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0)
}
