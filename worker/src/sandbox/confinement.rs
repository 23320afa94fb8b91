//! What happens between the supervisor's fork and the command: the init process of an action.
//!
//! Under the namespace levels it is process 1 of the action's process namespace: when it ends, the kernel kills
//! everything in it. It builds the root directory, drops what privileges there are, starts the command as its child,
//! buries orphans, and says how the command ended.
//!
//! **Source:** `pid_namespaces(7)`, capabilities(7) (what an exec does to them),
//! setrlimit(2); Remote Execution API v2, message `Command`.

use super::failure::Failure;
use super::message::{Command, Ending, Level, Report, send};
use super::mounts::{Root, create_directories};
use super::slot::Slot;
use super::syscalls;
use crate::in_root;
use anyhow::Context as _;
use prost::Message as _;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Where bare program names are looked for when the command has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// How many descriptors a command may have open until it raises its own limit.
const OPEN_FILES: u64 = 1024;

/// What the kernel shall kill first when memory runs out.
const OOM_SCORE_ADJUSTMENT: &str = "500";

/// The init process's whole life.
pub(super) fn main(slot: &Slot, command: &Command, channel: &UnixStream, stdout: OwnedFd, stderr: OwnedFd) -> ! {
    let ending = match confine_and_run(slot, command, channel, stdout, stderr) {
        Ok(ending) => ending,
        Err(Failure::Refused(why)) => Ending::Refused(why),
        Err(Failure::Broken(error)) => Ending::Broken(format!("{error:#}")),
    };
    let usage = syscalls::children_usage();
    let report = Report {
        ending: Some(ending),
        user_us: usage.user_us,
        system_us: usage.system_us,
        peak_resident_bytes: usage.peak_resident_bytes,
        ..Report::default()
    };
    let sent = send(channel, &report.encode_to_vec(), &[]);
    syscalls::exit(i32::from(sent.is_err()))
}

fn confine_and_run(
    slot: &Slot,
    command: &Command,
    channel: &UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<Ending, Failure> {
    let _ = rustix::process::setsid();
    // Best effort: without /proc there is nothing to write to.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
    let (exec_root, lacks) = match slot.level {
        Level::UserNamespaces | Level::Namespaces => {
            let root = Root::build(&slot.setup, slot.level, &slot.skeleton, command)?;
            (root.exec_root, root.lacks)
        }
        Level::Chroot | Level::None => (enter_tree(slot, command)?, Vec::new()),
    };
    if matches!(slot.level, Level::Namespaces | Level::Chroot) {
        become_action_user(slot.setup.action_id)?;
    }
    // After the change of user, which would undo it. A parent that is dead already is noticed by the hand-over below.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("tying its life to the parent's")?;
    // What came from the worker's memory, if anything, is not for the action to read.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context("hiding its memory")?;
    rustix::thread::set_no_new_privs(true).context("giving up privileges")?;
    limit(slot)?;
    for directory in &command.directories {
        create_directories(exec_root.as_fd(), Path::new(OsStr::from_bytes(directory)))?;
    }
    enter_working_directory(&exec_root, command)?;
    hand_over(slot, channel, &exec_root, lacks)?;
    drop(exec_root);
    if command.arguments.is_empty() {
        return Ok(Ending::Exited(0)); // A probe.
    }
    let child = start(slot, command, &stdout, &stderr)?;
    drop((stdout, stderr));
    Ok(wait_for(child)?)
}

/// Gives the supervisor the exec root, and the mount namespace with it: the mount would else be taken out of its
/// namespace when the last process is gone, and look-ups of `..` in it would fail.
fn hand_over(slot: &Slot, channel: &UnixStream, exec_root: &OwnedFd, lacks: Vec<String>) -> anyhow::Result<()> {
    let report = Report { lacks, ..Report::default() }.encode_to_vec();
    let namespace = match slot.level {
        Level::UserNamespaces | Level::Namespaces => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            Some(rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty()).context("opening the mount namespace")?)
        }
        Level::Chroot | Level::None => None,
    };
    let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(exec_root).chain(&namespace).map(OwnedFd::as_fd).collect();
    send(channel, &report, &descriptors).context("handing over the exec root")
}

/// Gives up root for the action's user, for good.
fn become_action_user(id: u32) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).context("dropping groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).context("taking the action's group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context("taking the action's user")
}

/// Without namespaces: the tree that the worker has laid out in the slot's directory, as root directory or as it is.
fn enter_tree(slot: &Slot, command: &Command) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = Path::new(OsStr::from_bytes(&slot.setup.slot_dir)).join("root");
    if slot.level == Level::Chroot && command.exec_root == b"/" {
        rustix::process::chroot(&tree).context("changing the root directory")?;
        provide_devices().context("making devices")?;
        return Ok(rustix::fs::open("/", flags, Mode::empty()).context("opening the exec root")?);
    }
    Ok(rustix::fs::open(&tree, flags, Mode::empty()).context("opening the exec root")?)
}

/// What a root directory needs besides the input root, where nothing can be mounted. A machine that allows no devices
/// gives none.
fn provide_devices() -> io::Result<()> {
    for (path, mode) in [("/dev", 0o755), ("/dev/shm", 0o1777), ("/tmp", 0o1777)] {
        match fs::create_dir(path) {
            Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let path = Path::new("/dev").join(name);
        let device = rustix::fs::makedev(1, minor);
        let made = rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device);
        if made.is_ok() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        }
    }
    Ok(())
}

fn enter_working_directory(exec_root: &OwnedFd, command: &Command) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(&command.working_directory));
    let directory = in_root::open_directory(exec_root.as_fd(), path)
        .map_err(|error| Failure::Refused(format!("working directory {} can't be entered: {error}", path.display())))?;
    rustix::process::fchdir(&directory)
        .map_err(|error| Failure::Refused(format!("working directory {} can't be entered: {error}", path.display())))
}

fn limit(slot: &Slot) -> anyhow::Result<()> {
    let set = |resource, limit: u64| {
        let hard = rustix::process::getrlimit(resource).maximum.map_or(limit, |maximum| maximum.min(limit));
        rustix::process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
    };
    set(Resource::Core, 0).context("forbidding core files")?;
    if slot.counts_processes {
        // The supervisor and this process count, too.
        set(Resource::Nproc, slot.setup.processes.saturating_add(2)).context("limiting processes")?;
    }
    if slot.setup.process_memory_bytes != 0 {
        set(Resource::Data, slot.setup.process_memory_bytes).context("limiting memory")?;
    }
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let current = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })
        .context("limiting open files")
}

/// Starts the command. Its capabilities are gone by then: they don't outlive an exec of a user that is not root.
fn start(slot: &Slot, command: &Command, stdout: &OwnedFd, stderr: &OwnedFd) -> Result<Pid, Failure> {
    let words: Vec<&OsStr> = command.arguments.iter().map(|word| OsStr::from_bytes(word)).collect();
    let name = words[0];
    let shared = |descriptor: &OwnedFd| descriptor.try_clone().map(Stdio::from).context("duplicating a descriptor");
    let mut denied = None;
    for program in candidates(name, &command.environment) {
        let mut process = std::process::Command::new(&program);
        process.arg0(name).args(&words[1..]).env_clear();
        for pair in command.environment.chunks_exact(2) {
            process.env(OsStr::from_bytes(&pair[0]), OsStr::from_bytes(&pair[1]));
        }
        process.stdin(shared(&slot.null)?).stdout(shared(stdout)?).stderr(shared(stderr)?);
        match process.spawn() {
            Ok(child) => return Ok(Pid::from_child(&child)),
            Err(error) if is_elsewhere(&error) => denied = denied.or(Some(error)),
            Err(error) => return Err(Failure::Refused(format!("running {}: {error}", program.display()))),
        }
    }
    let why = denied.map_or_else(|| "not found".to_owned(), |error| error.to_string());
    Err(Failure::Refused(format!("running {}: {why}", name.display())))
}

/// Whether the program may be in a later directory of the path.
fn is_elsewhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied)
}

/// Where a program is looked for: at its path, or for a bare name through the command's own `PATH`.
fn candidates(name: &OsStr, environment: &[Vec<u8>]) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    let path = environment.chunks_exact(2).find(|pair| pair[0] == b"PATH").map_or(DEFAULT_PATH, |pair| &pair[1]);
    let directories = path.split(|byte| *byte == b':').map(|directory| match directory {
        b"" => Path::new("."),
        directory => Path::new(OsStr::from_bytes(directory)),
    });
    directories.map(|directory| directory.join(name)).collect()
}

/// Buries whoever dies until the command does.
fn wait_for(child: Pid) -> anyhow::Result<Ending> {
    loop {
        match rustix::process::waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ending::Exited(code),
                    (None, Some(signal)) => Ending::Signaled(signal),
                    (None, None) => continue,
                });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for the command"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_as_the_command_says() {
        let check = |name: &str, path: Option<&str>, expect: &[&str]| {
            let environment = path.map(|path| vec![b"PATH".to_vec(), path.as_bytes().to_vec()]).unwrap_or_default();
            let found = candidates(OsStr::new(name), &environment);
            assert_eq!(found, expect.iter().map(PathBuf::from).collect::<Vec<_>>(), "{name} {path:?}");
        };
        check("gcc", Some("/a:/b"), &["/a/gcc", "/b/gcc"]);
        check("gcc", Some("tools::/b"), &["tools/gcc", "./gcc", "/b/gcc"]);
        check("gcc", None, &["/bin/gcc", "/usr/bin/gcc"]);
        check("./gcc", Some("/a"), &["./gcc"]);
        check("bin/gcc", Some("/a"), &["bin/gcc"]);
        check("/usr/bin/gcc", None, &["/usr/bin/gcc"]);
    }
}
