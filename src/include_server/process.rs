//! The include server as a process: started in the background, ready when its command ends, ended by a signal.
//!
//! A process can't be forked safely once it may have threads, so the command starts its own program again and waits
//! until that says, over a socket that is its standard input, that it is ready.
//!
//! **Source:** `include_server(1)`, distcc-pump(1) and the behaviour of distcc 3.4's script.

use crate::include_server::client_root::{ClientRoots, VARIABLE};
use crate::include_server::log::Log;
use crate::include_server::options::IncludeServerArguments;
use crate::include_server::protocol;
use crate::include_server::service::Service;
use crate::include_server::statistics;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a client may be silent in the middle of a request, or not take its answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest name of a socket that distcc's client accepts, in bytes.
const MAX_SOCKET_BYTES: usize = 106;
/// How many requests are answered at a time at the least and at the most: the processors, within these bounds. One
/// more waits for a client that is slow to ask.
const THREADS: std::ops::RangeInclusive<usize> = 4..=64;
/// How long the include server has to end itself when it is told to.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const SHUTDOWN_INTERVAL: Duration = Duration::from_millis(10);

/// Starts this program again as the include server that `words` (the arguments after the sub-command's name) describe,
/// and waits until it is ready. Gives its process's number.
///
/// # Errors
/// When it does not start; it has said why on its standard error.
fn start(words: impl Iterator<Item = OsString>, output: Option<(File, File)>) -> Result<u32> {
    let (mut ours, theirs) = UnixStream::pair().context("making a pair of sockets")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pumphouse").arg("include-server").args(words).args(["--foreground", "--ready-on-stdin"]);
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    if let Some((standard_output, standard_error)) = output {
        command.stdout(standard_output).stderr(standard_error);
    }
    let mut child = command.spawn().context("starting the include server's process")?;
    // The other end is the child's alone from here on, so that its death is an end of file.
    drop(command);
    let mut byte = [0];
    if ours.read(&mut byte).context("waiting for the include server")? == 1 {
        return Ok(child.id());
    }
    let status = child.wait().context("waiting for the include server")?;
    bail!("the include server did not start ({status})")
}

/// Starts the include server in the background with the arguments of this process.
///
/// # Errors
/// When it does not start.
pub(super) fn start_in_background() -> Result<()> {
    start(std::env::args_os().skip(2), None).map(drop)
}

/// `--startup`: starts one in a directory of its own, and prints what the shell has to export.
///
/// # Errors
/// When it does not start; what it said is printed.
pub(super) fn startup() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("distcc-pump.").tempdir().context("making a directory")?;
    let socket = directory.path().join("socket");
    let create = |name: &str| {
        let path = directory.path().join(name);
        File::create(&path).with_context(|| format!("making {}", path.display()))
    };
    let words = std::env::args_os().skip(2).filter(|word| !is_abbreviation(word, "--startup"));
    let words = words.chain([OsString::from("--port"), socket.clone().into_os_string()]);
    let process = match start(words, Some((create("stdout")?, create("stderr")?))) {
        Ok(process) => process,
        Err(error) => {
            print_file(&directory.path().join("stderr"), std::io::stderr());
            return Err(error);
        }
    };
    let directory = directory.keep();
    let mut text = Vec::new();
    for (name, value) in [
        ("INCLUDE_SERVER_PID", OsStr::new(&process.to_string())),
        ("INCLUDE_SERVER_DIR", directory.as_os_str()),
        ("INCLUDE_SERVER_PORT", socket.as_os_str()),
    ] {
        text.extend_from_slice(format!("export {name}=").as_bytes());
        text.extend_from_slice(&quoted(value));
        text.push(b'\n');
    }
    std::io::stdout().write_all(&text).context("writing to standard output")
}

/// `--shutdown`: ends the one that the environment names, prints what it had to say, and removes its directory.
///
/// # Errors
/// When the environment names none, or it does not end.
pub(super) fn shutdown() -> Result<()> {
    let variable = |name: &str| std::env::var_os(name).with_context(|| format!("{name} is not set"));
    let number = variable("INCLUDE_SERVER_PID")?;
    let process = number.to_str().and_then(|number| Pid::from_raw(number.parse().ok()?));
    let process = process.with_context(|| format!("INCLUDE_SERVER_PID={} is no process", number.display()))?;
    let directory = PathBuf::from(variable("INCLUDE_SERVER_DIR")?);
    report_discrepancies(&directory);
    if rustix::process::kill_process(process, Signal::TERM).is_ok() {
        let asked = Instant::now();
        while rustix::process::test_kill_process(process).is_ok() {
            if asked.elapsed() > SHUTDOWN_TIMEOUT {
                bail!("the include server, process {}, does not end", process.as_raw_nonzero());
            }
            std::thread::sleep(SHUTDOWN_INTERVAL);
        }
    }
    print_file(&directory.join("stdout"), std::io::stdout());
    print_file(&directory.join("stderr"), std::io::stderr());
    // Only what an include server and its clients make there: the variable may say anything.
    for name in ["stdout", "stderr", "socket", "discrepancy_counter"] {
        let _ = std::fs::remove_file(directory.join(name));
    }
    std::fs::remove_dir(&directory).with_context(|| format!("removing {}", directory.display()))
}

/// What distcc's clients counted: compiles that a server failed and this machine didn't. They write a byte for each.
fn report_discrepancies(directory: &Path) {
    let count = std::fs::metadata(directory.join("discrepancy_counter")).map_or(0, |stat| stat.len());
    if count > 0 {
        eprintln!(
            "pumphouse: {count} pump-mode compilation(s) failed on server, but succeeded locally; see \"DISTCC \
             DISCREPANCY SYMPTOMS\" in pumphouse-include-server(1)"
        );
    }
}

fn print_file(path: &Path, mut to: impl std::io::Write) {
    if let Ok(text) = std::fs::read(path) {
        let _ = to.write_all(&text);
    }
}

/// Whether `word` is the flag, as long as it is not ambiguous.
fn is_abbreviation(word: &OsStr, flag: &str) -> bool {
    word.to_str().is_some_and(|word| word.len() > "--star".len() - 1 && flag.starts_with(word))
}

/// `value` as a word of the shell.
fn quoted(value: &OsStr) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in value.as_bytes() {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    word
}

/// Serves until a signal ends it; then removes all that it made.
///
/// # Errors
/// When it can't begin to serve.
pub(super) fn serve(arguments: IncludeServerArguments) -> Result<()> {
    let started = Instant::now();
    let log = Log::new(arguments.debug_pattern);
    let port = arguments.port.clone().context("--port is missing")?;
    let (pid_file, prints_time) = (arguments.pid_file.clone(), arguments.time);
    let signals =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("starting to wait for signals")?;
    let ending = signals.block_on(async { Ending::new() })?;
    let announces = arguments.ready_on_stdin;
    let client_roots = ClientRoots::new(std::env::var_os(VARIABLE).as_deref())?;
    for root in client_roots.clean_out_others() {
        log.trace(format_args!("cleaned out '{}' after defunct include server", root.display()));
    }
    let socket = Socket::bind(&port)?;
    let service = match Service::new(arguments, client_roots, log) {
        Ok(service) => Arc::new(service),
        Err(error) => {
            socket.remove();
            return Err(error);
        }
    };
    let outcome =
        prepare(&socket, &service, pid_file.as_deref()).and_then(|()| if announces { announce() } else { Ok(()) });
    if outcome.is_ok() {
        let signal = signals.block_on(ending.wait());
        log.trace(format_args!("{signal}: the include server shuts down"));
    }
    socket.remove();
    service.clean_out();
    if prints_time {
        eprintln!("{}", statistics::times(started));
    }
    outcome
}

/// Starts the threads that serve.
fn prepare(socket: &Socket, service: &Arc<Service>, pid_file: Option<&Path>) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for number in 0..(processors + 1).clamp(*THREADS.start(), *THREADS.end()) {
        let (listener, service) = (Arc::clone(&socket.listener), Arc::clone(service));
        let thread = std::thread::Builder::new().name(format!("request-{number}"));
        // The process's end is theirs: they hold nothing that outlives it.
        thread.spawn(move || answer_clients(&listener, &service)).context("starting a thread")?;
    }
    if let Some(path) = pid_file {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Says on standard input that the server is there, and closes it.
fn announce() -> Result<()> {
    rustix::io::write(std::io::stdin().as_fd(), b"\n").context("saying that the include server is ready")?;
    let null = File::open("/dev/null").context("opening /dev/null")?;
    rustix::stdio::dup2_stdin(&null).context("closing standard input")
}

fn answer_clients(listener: &UnixListener, service: &Service) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                // A client that has gone needs no answer, and no word about it.
                let _ = answer_client(&stream, service);
            }
            // Out of descriptors, say: the client waits in the queue until there are some again.
            Err(_) => std::thread::sleep(SHUTDOWN_INTERVAL),
        }
    }
}

fn answer_client(stream: &UnixStream, service: &Service) -> std::io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    match protocol::read_request(&mut BufReader::new(stream)) {
        Ok(request) => {
            let answer = service.answer(&request, Instant::now());
            (&*stream).write_all(&answer)
        }
        Err(error) => {
            service.malformed(&error);
            Ok(())
        }
    }
}

/// The socket where clients ask, and which file it is.
struct Socket {
    listener: Arc<UnixListener>,
    path: PathBuf,
    identity: (u64, u64),
}

impl Socket {
    /// Binds `path`. A socket that is there already is replaced, as distcc's own include server does; nothing else is.
    fn bind(path: &Path) -> Result<Self> {
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_BYTES {
            bail!("--port {}: {length} bytes, but distcc's clients accept at most {MAX_SOCKET_BYTES}", path.display());
        }
        match std::fs::symlink_metadata(path) {
            Ok(stat) if stat.file_type().is_socket() => {
                std::fs::remove_file(path).with_context(|| format!("removing the socket {}", path.display()))?;
            }
            Ok(_) => bail!("--port {}: there is a file which is not a socket", path.display()),
            Err(_) => {}
        }
        let listen = || format!("listening on the socket {}", path.display());
        let listener = UnixListener::bind(path).with_context(listen)?;
        let stat = std::fs::symlink_metadata(path).with_context(listen)?;
        Ok(Self { listener: Arc::new(listener), path: path.to_owned(), identity: (stat.dev(), stat.ino()) })
    }

    /// Removes the socket's file, unless another include server has put its own there.
    fn remove(&self) {
        let identity = std::fs::symlink_metadata(&self.path).map(|stat| (stat.dev(), stat.ino()));
        if identity.is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The signals that end an include server.
struct Ending {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Ending {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one, and gives its name.
    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_shell() {
        assert_eq!(quoted(OsStr::new("/tmp/it's")), b"'/tmp/it'\\''s'");
        for (word, expect) in
            [("--startup", true), ("--startu", true), ("--start", true), ("--s", false), ("-s", false)]
        {
            assert_eq!(is_abbreviation(OsStr::new(word), "--startup"), expect, "{word}");
        }
    }

    #[test]
    fn sockets() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("socket");
        let first = Socket::bind(&path).expect("bound");
        let second = Socket::bind(&path).expect("the stale one is replaced");
        first.remove();
        assert!(path.exists(), "it is the second's");
        second.remove();
        assert!(!path.exists());
        std::fs::write(&path, "precious").expect("write");
        let check = |path: &Path, expect: &str| {
            let error = Socket::bind(path).map(|_| ()).expect_err("refused");
            assert!(format!("{error:#}").contains(expect), "{error:#}");
        };
        check(&path, "there is a file which is not a socket");
        check(&directory.path().join("absent/socket"), "listening on the socket");
        check(&directory.path().join("x".repeat(100)), "but distcc's clients accept at most 106");
    }
}
