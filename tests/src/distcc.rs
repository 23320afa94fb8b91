//! distcc as Debian has it, unmodified: a `distccd` on the loopback, clients in pump mode, and our include server between.

use crate::process::{SERVICE_DEADLINE, Service, run, succeed};
use crate::program::program;
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::ffi::OsStr;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;
use tempfile::TempDir;

/// Variables that would change what distcc's programs do.
const FOREIGN: [&str; 7] = [
    "DISTCC_POTENTIAL_HOSTS",
    "DISTCC_SSH",
    "INCLUDE_SERVER_STUB",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "MAKEFLAGS",
];

/// A farm of one server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Distcc {
    root: TempDir,
    port: u16,
    /// `distccd`.
    pub server: Service,
}

/// A running include server. It is ended when this is dropped.
#[derive(Debug)]
pub struct IncludeServer {
    directory: PathBuf,
    hosts: String,
    /// Its process.
    pub process: Pid,
}

impl Distcc {
    /// Starts `distccd`.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("distcc-").tempdir()?;
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755))?;
        let scratch = root.path().join("server");
        std::fs::create_dir(&scratch)?;
        // The server leaves root's rights behind, where it has them.
        std::fs::set_permissions(&scratch, PermissionsExt::from_mode(0o777))?;
        // The kernel's choice is free again in a moment, and not given to anybody else that soon.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("distccd");
        command
            .args(["--daemon", "--no-detach", "--log-stderr", "--log-level", "info", "--jobs", "4"])
            .args(["--allow", "127.0.0.1", "--listen", "127.0.0.1", "--enable-tcp-insecure", "--port"])
            .arg(port.to_string())
            .env("TMPDIR", &scratch);
        if rustix::process::geteuid().is_root() {
            command.args(["--user", "nobody"]);
        }
        let server = Service::start(&mut command, &root.path().join("distccd.log"))
            .context("starting distccd, which is in Debian's package distcc")?;
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > SERVICE_DEADLINE {
                bail!("distccd does not listen\n{}", server.log());
            }
            std::thread::yield_now();
        }
        Ok(Self { root, port, server })
    }

    /// Where tests may make files of their own.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// What `DISTCC_HOSTS` says for pump mode.
    pub fn hosts(&self) -> String {
        format!("127.0.0.1:{},cpp,lzo", self.port)
    }

    /// Starts our include server in the background, as distcc-pump does, with more `arguments`. Its directory is `name`
    /// below the farm's.
    ///
    /// # Errors
    /// When it does not start.
    pub fn include_server(&self, name: &str, arguments: &[&str]) -> Result<IncludeServer> {
        let directory = self.root().join(name);
        std::fs::create_dir(&directory)?;
        IncludeServer::start(directory, self.hosts(), arguments, &[])
    }

    /// Starts an include server with more environment variables.
    ///
    /// # Errors
    /// When it does not start.
    pub fn include_server_with(
        &self,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Result<IncludeServer> {
        let directory = self.root().join(name);
        std::fs::create_dir(&directory)?;
        IncludeServer::start(directory, self.hosts(), arguments, environment)
    }
}

impl IncludeServer {
    fn start(directory: PathBuf, hosts: String, arguments: &[&str], environment: &[(&str, &OsStr)]) -> Result<Self> {
        // Where distcc's clients keep their locks: they don't make it.
        std::fs::create_dir(directory.join("client"))?;
        let pid_file = directory.join("pid");
        let mut command = Command::new(program()?);
        command.args(["include-server", "--port"]).arg(directory.join("socket")).arg("--pid_file").arg(&pid_file);
        command.args(arguments).envs(environment.iter().copied()).current_dir(&directory);
        // Not through the harness: the include server inherits the streams, and outlives its command.
        let create = |name: &str| File::create(directory.join(name));
        let status = command.stdout(create("stdout")?).stderr(create("stderr")?).status()?;
        ensure!(status.success(), "{command:?}: {status}\n{}", read(&directory.join("stderr")));
        let number = read(&pid_file);
        let process = number.trim().parse().ok().and_then(Pid::from_raw);
        let process = process.with_context(|| format!("the pid file says {number:?}"))?;
        Ok(Self { directory, hosts, process })
    }

    /// Gives `command` the environment of a client in pump mode, which never compiles on this machine instead.
    pub fn equip<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .env("DISTCC_HOSTS", &self.hosts)
            .env("DISTCC_DIR", self.directory.join("client"))
            .env("DISTCC_LOG", self.client_log())
            .env("DISTCC_VERBOSE", "1")
            .env("DISTCC_FALLBACK", "0")
            .env("DISTCC_BACKOFF_PERIOD", "0")
            .env("INCLUDE_SERVER_PORT", self.socket())
    }

    /// Runs `distcc COMMAND LINE…` in `directory`; the words of the line are separated by spaces.
    ///
    /// # Errors
    /// When it hangs or can't be started; not when the compile fails.
    pub fn compile(&self, directory: &Path, line: &str) -> Result<Output> {
        run(self.equip(Command::new("distcc").args(line.split_whitespace()).current_dir(directory)))
    }

    /// A directory in which compilers are links to distcc: who has it first in `PATH` compiles through distcc.
    ///
    /// # Errors
    /// When it can't be made, or distcc is not installed.
    pub fn masquerade(&self) -> Result<PathBuf> {
        let distcc = succeed(Command::new("sh").args(["-c", "command -v distcc"]))?;
        let directory = self.directory.join("masquerade");
        if !directory.exists() {
            std::fs::create_dir(&directory)?;
            for name in ["cc", "c++", "gcc", "g++", "clang", "clang++"] {
                std::os::unix::fs::symlink(distcc.trim(), directory.join(name))?;
            }
        }
        Ok(directory)
    }

    /// What distcc's client is told about a compile: a line for each path, `FILE`, `SYMLINK`, `DIRECTORY` or `SYSTEMDIR`
    /// before it.
    ///
    /// # Errors
    /// When the include server leaves it to the client.
    pub fn scan(&self, directory: &Path, line: &str) -> Result<String> {
        let mut command = Command::new("distcc");
        command.arg("--scan-includes").args(line.split_whitespace()).current_dir(directory);
        succeed(self.equip(&mut command))
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// What it printed on standard error.
    pub fn errors(&self) -> String {
        read(&self.directory.join("stderr"))
    }

    /// What it printed on standard output.
    pub fn output(&self) -> String {
        read(&self.directory.join("stdout"))
    }

    fn client_log(&self) -> PathBuf {
        self.directory.join("client.log")
    }

    /// Compiles that the clients sent for preprocessing on the server, and that came back well.
    pub fn remote_compiles(&self) -> usize {
        let is_remote = |line: &&str| line.contains(" on 127.0.0.1:") && line.ends_with(",cpp,lzo completed ok");
        read(&self.client_log()).lines().filter(is_remote).count()
    }

    /// Lines of the clients' log by which one says that it preprocesses by itself or compiles here what could be sent.
    pub fn local_compiles(&self) -> Vec<String> {
        let text = read(&self.client_log());
        let is_local = |line: &&str| {
            ["preprocessing locally", "running locally instead", "retrying locally"]
                .iter()
                .any(|part| line.contains(part))
        };
        text.lines().filter(is_local).map(str::to_owned).collect()
    }

    /// Ends it with SIGTERM, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn terminate(&self) -> Result<()> {
        let descriptor = pidfd_open(self.process, PidfdFlags::empty())?;
        kill_process(self.process, Signal::TERM)?;
        let limit = Timespec::try_from(SERVICE_DEADLINE)?;
        let ended = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&limit))?;
        ensure!(ended == 1, "the include server does not end\n{}", self.errors());
        Ok(())
    }
}

impl Drop for IncludeServer {
    fn drop(&mut self) {
        let _ = kill_process(self.process, Signal::TERM);
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path).map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
