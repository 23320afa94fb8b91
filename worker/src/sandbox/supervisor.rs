//! A slot's supervisor: the small process that makes the slot's namespaces once and then runs one command at a time.
//!
//! It holds what every action of the slot shares and none can change: the user, network and host name namespaces, a
//! read-only view of the replica, the host's directories and the devices. Each action gets mount, process and IPC
//! namespaces of its own, forked from here: the process is small, so that is cheap, and single-threaded, so that it
//! is safe. It knows nothing of digests, of the server, or of what outputs are.
//!
//! Invariant: when a [`Report`] is sent, every process of its command is dead.

use super::confinement;
use super::message::{Command, Ending, Level, Ready, Receiver, Report, Setup, send};
use super::mounts::Skeleton;
use super::slot::Slot;
use super::syscalls::{self, Forked, SingleThreaded};
use anyhow::Context as _;
use prost::Message as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The user and group that actions see themselves as, whatever the host calls them.
pub(super) const INNER_ID: u32 = 1000;

/// How often what is left of a command is looked for and killed where there is no process namespace to do it.
const SWEEPS: u32 = 1000;

/// The supervisor's whole life.
pub(super) fn main(proof: SingleThreaded) -> ! {
    match serve(proof) {
        Ok(()) => syscalls::exit(0),
        Err(error) => {
            let _ = writeln!(io::stderr(), "pumphouse sandbox: {error:#}");
            syscalls::exit(1)
        }
    }
}

fn serve(proof: SingleThreaded) -> anyhow::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("/dev/null")?;
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).context("duplicating the socket")?;
    rustix::stdio::dup2_stdin(&null).context("replacing standard input")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut receiver = Receiver::default();
    let Some((body, _)) = receiver.receive(&socket)? else { return Ok(()) };
    let setup = Setup::decode(body.as_slice()).context("decoding the set-up")?;
    let slot = match prepare(proof, setup, null, &socket, &mut receiver) {
        Ok(slot) => slot,
        Err(error) => {
            let ready = Ready { error: format!("{error:#}"), lacks: Vec::new() };
            return Ok(send(&socket, &ready.encode_to_vec(), &[])?);
        }
    };
    send(&socket, &Ready { error: String::new(), lacks: slot.skeleton.lacks.clone() }.encode_to_vec(), &[])?;
    while let Some((body, _)) = receiver.receive(&socket)? {
        if body.is_empty() {
            continue; // A kill for a command that ended on its own.
        }
        let command = Command::decode(body.as_slice()).context("decoding a command")?;
        let Some((report, exec_root)) = run(&slot, &command, &socket, &mut receiver)? else { return Ok(()) };
        let exec_root: Vec<BorrowedFd<'_>> = exec_root.iter().map(OwnedFd::as_fd).collect();
        send(&socket, &report.encode_to_vec(), &exec_root)?;
    }
    Ok(())
}

fn prepare(
    proof: SingleThreaded,
    setup: Setup,
    null: OwnedFd,
    socket: &OwnedFd,
    receiver: &mut Receiver,
) -> anyhow::Result<Slot> {
    for path in &setup.control_groups {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        fs::write(path, "0").with_context(|| format!("joining control group {}", path.display()))?;
    }
    let slot_dir = Path::new(std::ffi::OsStr::from_bytes(&setup.slot_dir));
    std::env::set_current_dir(slot_dir).with_context(|| format!("entering {}", slot_dir.display()))?;
    let level = Level::try_from(setup.level).context("unknown isolation level")?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let counts_processes = level == Level::Chroot || level == Level::Namespaces || is_at_least(&release, (5, 14));
    let namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWUTS;
    match level {
        Level::UserNamespaces => {
            syscalls::unshare(proof, namespaces | UnshareFlags::NEWUSER).context("making namespaces")?;
            send(socket, &[], &[])?;
            receiver.receive(socket)?.context("the worker left")?;
            become_inner_user()?;
            forbid_further_user_namespaces();
        }
        Level::Namespaces => syscalls::unshare(proof, namespaces).context("making namespaces")?,
        Level::Chroot | Level::None => {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("becoming a subreaper")?;
        }
    }
    let skeleton = match level {
        Level::UserNamespaces | Level::Namespaces => {
            rustix::system::sethostname(b"localhost").context("setting the host name")?;
            Skeleton::build(&setup)?
        }
        Level::Chroot | Level::None => Skeleton::default(),
    };
    Ok(Slot { proof, setup, level, skeleton, null, counts_processes })
}

/// Takes the ids that the new user namespace maps; the capabilities in it stay.
fn become_inner_user() -> anyhow::Result<()> {
    let uid = rustix::process::Uid::from_raw(INNER_ID);
    let gid = rustix::process::Gid::from_raw(INNER_ID);
    let bits = rustix::thread::CapabilitiesSecureBits::NO_SETUID_FIXUP;
    rustix::thread::set_capabilities_secure_bits(bits).context("keeping capabilities")?;
    // Without privileges the worker's supplementary groups can't be dropped; they are unmapped, and stay as they were.
    let _ = rustix::thread::set_thread_groups(&[]);
    rustix::thread::set_thread_res_gid(gid, gid, gid).context("taking the group of the namespace")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context("taking the user of the namespace")
}

/// An action has no use for a user namespace of its own, in which it would have capabilities again.
fn forbid_further_user_namespaces() {
    // Where /proc/sys is read-only (in most containers) it stays possible, and harmless as far as the kernel is right.
    let _ = fs::write("/proc/sys/user/max_user_namespaces", "0");
}

fn is_at_least(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= version,
        _ => false,
    }
}

/// What has come of a command so far.
struct Watch<'a> {
    socket: &'a OwnedFd,
    receiver: &'a mut Receiver,
    init: Pid,
    channel: OwnedFd,
    channel_receiver: Receiver,
    outputs: [Capture; 2],
    exec_root: Vec<OwnedFd>,
    report: Report,
    worker_is_gone: bool,
}

/// One of the command's output streams.
struct Capture {
    name: &'static str,
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
    limit: usize,
}

/// Runs a command to its end; none if the worker went away meanwhile.
fn run(
    slot: &Slot,
    command: &Command,
    socket: &OwnedFd,
    receiver: &mut Receiver,
) -> anyhow::Result<Option<(Report, Vec<OwnedFd>)>> {
    let (channel, init_channel) = UnixStream::pair().context("making a socket pair")?;
    let (stdout, stdout_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("making a pipe")?;
    let (stderr, stderr_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("making a pipe")?;
    let flags = match slot.level {
        Level::UserNamespaces | Level::Namespaces => libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC,
        Level::Chroot | Level::None => 0,
    };
    let init = match syscalls::fork(slot.proof, flags as u64) {
        Ok(Forked::Child) => {
            drop((channel, stdout, stderr));
            confinement::main(slot, command, &init_channel, stdout_writer, stderr_writer)
        }
        Ok(Forked::Parent(pid)) => pid,
        Err(error) => {
            let ending = Ending::Broken(format!("forking into new namespaces: {error}"));
            return Ok(Some((Report { ending: Some(ending), ..Report::default() }, Vec::new())));
        }
    };
    drop((init_channel, stdout_writer, stderr_writer));
    let limit = usize::try_from(command.output_size_bytes).unwrap_or(usize::MAX);
    let capture = |name, pipe| Capture { name, pipe: Some(pipe), bytes: Vec::new(), limit };
    let mut watch = Watch {
        socket,
        receiver,
        init,
        channel: channel.into(),
        channel_receiver: Receiver::default(),
        outputs: [capture("standard output", stdout), capture("standard error", stderr)],
        exec_root: Vec::new(),
        report: Report::default(),
        worker_is_gone: false,
    };
    watch.until_the_end()?;
    reap(init)?;
    if matches!(slot.level, Level::Chroot | Level::None) {
        sweep();
    }
    watch.drain()?;
    if watch.worker_is_gone {
        return Ok(None);
    }
    let Watch { outputs: [stdout, stderr], exec_root, mut report, .. } = watch;
    report.stdout = stdout.bytes.into();
    report.stderr = stderr.bytes.into();
    report.ending.get_or_insert(Ending::Signaled(Signal::KILL.as_raw()));
    Ok(Some((report, exec_root)))
}

impl Watch<'_> {
    /// Serves all four descriptors until the init process says how the command ended, or dies.
    fn until_the_end(&mut self) -> anyhow::Result<()> {
        self.obey()?; // A kill may have arrived together with the command.
        while self.report.ending.is_none() {
            let mut descriptors = vec![
                PollFd::new(self.socket, if self.worker_is_gone { PollFlags::empty() } else { PollFlags::IN }),
                PollFd::new(&self.channel, PollFlags::IN),
            ];
            let open: Vec<usize> = (0..2).filter(|&index| self.outputs[index].pipe.is_some()).collect();
            descriptors.extend(
                open.iter()
                    .filter_map(|&index| self.outputs[index].pipe.as_ref())
                    .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
            );
            match poll(&mut descriptors, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("polling"),
            }
            let is_ready: Vec<bool> = descriptors.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
            drop(descriptors);
            for (position, &index) in open.iter().enumerate() {
                if is_ready[2 + position] && !self.outputs[index].read()? {
                    self.report.overflow = self.outputs[index].name.to_owned();
                    self.kill();
                }
            }
            if is_ready[0] && !self.worker_is_gone {
                self.hear_worker()?;
            }
            if is_ready[1] && !self.hear_init()? {
                break;
            }
        }
        Ok(())
    }

    /// The worker says nothing while a command runs but "kill it", or is gone.
    fn hear_worker(&mut self) -> anyhow::Result<()> {
        if self.receiver.fill(self.socket).unwrap_or(false) {
            self.obey()?;
        } else {
            self.worker_is_gone = true;
            self.kill();
        }
        Ok(())
    }

    /// Whatever the worker has said while the command runs means "kill it".
    fn obey(&mut self) -> anyhow::Result<()> {
        while self.receiver.take()?.is_some() {
            self.kill();
        }
        Ok(())
    }

    /// False when the init process is dead.
    fn hear_init(&mut self) -> anyhow::Result<bool> {
        if !self.channel_receiver.fill(&self.channel).unwrap_or(false) {
            return Ok(false);
        }
        while let Some((body, descriptors)) = self.channel_receiver.take()? {
            self.report.merge(body.as_slice()).context("decoding what the init process says")?;
            self.exec_root.extend(descriptors);
        }
        Ok(true)
    }

    fn kill(&self) {
        // The process is a child that has not been waited for: its id can't be another's.
        let _ = rustix::process::kill_process(self.init, Signal::KILL);
    }

    /// Reads what is left in the pipes, whose writers are dead.
    fn drain(&mut self) -> anyhow::Result<()> {
        for output in &mut self.outputs {
            while output.pipe.is_some() {
                if !output.read()? {
                    self.report.overflow = output.name.to_owned();
                    output.pipe = None;
                }
            }
        }
        Ok(())
    }
}

impl Capture {
    /// Reads once; false where there is more than the limit allows.
    fn read(&mut self) -> anyhow::Result<bool> {
        let Some(pipe) = &self.pipe else { return Ok(true) };
        let mut piece = [0; 16 * 1024];
        match rustix::io::read(pipe, &mut piece) {
            Ok(0) => self.pipe = None,
            Ok(length) => {
                let room = self.limit - self.bytes.len();
                self.bytes.extend_from_slice(&piece[..length.min(room)]);
                return Ok(length <= room);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", self.name)),
        }
        Ok(true)
    }
}

fn reap(pid: Pid) -> anyhow::Result<()> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(_) | Err(Errno::CHILD) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for the init process"),
        }
    }
}

/// Kills what a command has left behind where no process namespace does it: this process is the subreaper, so
/// whatever loses its parent becomes its child. The limit on their number bounds how many rounds that takes.
fn sweep() {
    for _ in 0..SWEEPS {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in &children {
            let _ = rustix::process::kill_process(*child, Signal::KILL);
        }
        for child in children {
            let _ = reap(child);
        }
    }
}

fn children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero());
    let listed = fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().filter_map(|word| word.parse().ok().and_then(Pid::from_raw)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_by_number() {
        let check = |release: &str, expect: bool| assert_eq!(is_at_least(release, (5, 14)), expect, "{release}");
        check("5.14.0", true);
        check("5.9.1-generic", false);
        check("6.1", true);
        check("4.18.0-553.el8", false);
        check("rubbish", false);
    }
}
