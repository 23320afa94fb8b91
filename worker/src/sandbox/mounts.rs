//! The mounts: those that a slot's supervisor makes once, and the root directory that each action gets.
//!
//! The skeleton, which is all that a supervisor sees of file systems after [`Skeleton::build`]:
//!
//! ```text
//! /replica   the slot's replica, read-only
//! /host      the host's directories that actions may see, read-only
//! /dev       a few devices, read-only as a directory
//! /proc      the host's, because the kernel lets only those mount a fresh one who can see one
//! /scratch   where an action's own tmpfs comes
//! /root      where an action's root directory comes
//! ```
//!
//! Invariants: everything is mounted in a mount namespace of its own, whose mounts are private first of all. An action
//! can write nowhere but to its own tmpfs: what it sees of the replica is the lower layer of an overlay.
//!
//! **Source:** mount(2), `mount_setattr(2)`, `pivot_root(2)`, `user_namespaces(7)`; the kernel's `overlayfs.rst`.

use super::failure::Failure;
use super::message::{Command, Level, Setup};
use super::syscalls;
use crate::in_root;
use anyhow::Context as _;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

/// The devices that actions have.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The links that `/dev` has.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Where an input root can't be put: these are the sandbox's own.
const RESERVED: [&str; 2] = ["/proc", "/dev"];

/// What the supervisor has mounted once.
#[derive(Debug, Default)]
pub(super) struct Skeleton {
    directories: Vec<OsString>,
    links: Vec<(OsString, PathBuf)>,
    /// What actions have to do without, in words.
    pub(super) lacks: Vec<String>,
}

impl Skeleton {
    /// Mounts the skeleton below `stage/` in the current directory and makes it this process's root directory.
    pub(super) fn build(setup: &Setup) -> anyhow::Result<Self> {
        let stage = Path::new("stage");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .context("making mounts private")?;
        mount_tmpfs(stage, "mode=755,size=1m,nr_inodes=1k").context("mounting the skeleton")?;
        for name in ["replica", "host", "dev", "proc", "scratch", "root"] {
            fs::create_dir(stage.join(name)).with_context(|| format!("creating /{name}"))?;
        }
        mount_bind("root", stage.join("replica")).context("mounting the replica")?;
        syscalls::make_read_only(&stage.join("replica")).context("making the replica read-only")?;
        let mut skeleton = Self::default();
        for entry in &setup.host_entries {
            let path = Path::new(OsStr::from_bytes(entry));
            skeleton
                .add_host_entry(path, &stage.join("host"))
                .with_context(|| format!("mounting {}", path.display()))?;
        }
        mount_bind_recursive("/proc", stage.join("proc")).context("mounting the host's /proc")?;
        mount_devices(&stage.join("dev")).context("mounting devices")?;
        enter(stage).context("entering the skeleton")?;
        Ok(skeleton)
    }

    /// Shows a directory directly below the host's root, or repeats a link there; what the host lacks is left out.
    fn add_host_entry(&mut self, path: &Path, host: &Path) -> anyhow::Result<()> {
        let Some(name) = path.file_name() else { anyhow::bail!("not a directory below /") };
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        if metadata.is_symlink() {
            self.links.push((name.to_owned(), fs::read_link(path)?));
        } else if metadata.is_dir() {
            let target = host.join(name);
            fs::create_dir(&target)?;
            mount_bind_recursive(path, &target)?;
            syscalls::make_all_read_only(&target).context("making it read-only")?;
            self.directories.push(name.to_owned());
        }
        Ok(())
    }
}

/// An action's root directory, which is the process's own by now.
#[derive(Debug)]
pub(super) struct Root {
    /// The directory of the input root, writable, through the overlay.
    pub(super) exec_root: OwnedFd,
    /// What the action has to do without, in words.
    pub(super) lacks: Vec<String>,
}

impl Root {
    /// Mounts the root directory that `command` asks for and enters it.
    pub(super) fn build(setup: &Setup, level: Level, skeleton: &Skeleton, command: &Command) -> Result<Self, Failure> {
        mount_scratch(setup, level)?;
        let exec_root = Path::new(OsStr::from_bytes(&command.exec_root));
        let root = Path::new("/root");
        let exec_root_mount = if exec_root == Path::new("/") {
            mount_overlay(level, root)?;
            let directory = open_directory(root)?;
            for name in ["proc", "dev"] {
                claim_directory(directory.as_fd(), name)?;
            }
            provide_tmp(directory.as_fd())?;
            directory
        } else {
            mount_host_root(skeleton, root)?;
            place_exec_root(root, exec_root)?;
            let target = root.join(exec_root.strip_prefix("/").unwrap_or(exec_root));
            mount_overlay(level, &target)?;
            open_directory(&target)?
        };
        let lacks = mount_proc(&root.join("proc"))?;
        mount_bind_recursive("/dev", root.join("dev")).context("mounting devices")?;
        mount_bind("/scratch/shm", root.join("dev/shm")).context("mounting shared memory")?;
        if exec_root != Path::new("/") {
            syscalls::make_read_only(root).context("making the root read-only")?;
        }
        enter(root).context("entering the root directory")?;
        Ok(Self { exec_root: exec_root_mount, lacks })
    }
}

/// Creates `path` below `root`, and the directories above it. Links are followed and `..` obeyed, inside `root`.
pub(super) fn create_directories(root: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
    if in_root::open_directory(root, path).is_ok() {
        return Ok(());
    }
    let mut parent = in_root::open_directory(root, Path::new(".")).context("opening the exec root")?;
    let mut walked = PathBuf::new();
    for component in path.components() {
        walked.push(component);
        let next = match in_root::open_directory(root, &walked) {
            Err(Errno::NOENT) => {
                if let Component::Normal(name) = component {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                        .map_err(|error| not_creatable(&walked, error))?;
                }
                in_root::open_directory(root, &walked)
            }
            outcome => outcome,
        };
        parent = next.map_err(|error| not_creatable(&walked, error))?;
    }
    Ok(())
}

fn not_creatable(path: &Path, error: Errno) -> Failure {
    Failure::Refused(format!("directory {} can't be created in the input root: {error}", path.display()))
}

fn mount_tmpfs(target: &Path, options: &str) -> anyhow::Result<()> {
    let options = CString::new(options).context("options of a tmpfs")?;
    Ok(mount("pumphouse", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

/// The action's own file system, which holds all that it writes.
fn mount_scratch(setup: &Setup, level: Level) -> anyhow::Result<()> {
    let options = format!("mode=755,size={},nr_inodes={}", setup.scratch_size_bytes, setup.scratch_files);
    mount_tmpfs(Path::new("/scratch"), &options).context("mounting the scratch space")?;
    for (name, mode) in [("upper", 0o755), ("work", 0o755), ("root", 0o755), ("tmp", 0o1777), ("shm", 0o1777)] {
        let path = Path::new("/scratch").join(name);
        fs::create_dir(&path).context("filling the scratch space")?;
        if mode != 0o755 {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context("filling the scratch space")?;
        }
        if level == Level::Namespaces {
            std::os::unix::fs::chown(&path, Some(setup.action_id), Some(setup.action_id))
                .context("giving the scratch space to the action")?;
        }
    }
    Ok(())
}

fn mount_overlay(level: Level, target: &Path) -> anyhow::Result<()> {
    let options = match level {
        Level::UserNamespaces => c"lowerdir=/replica,upperdir=/scratch/upper,workdir=/scratch/work,userxattr",
        _ => c"lowerdir=/replica,upperdir=/scratch/upper,workdir=/scratch/work",
    };
    mount("pumphouse", target, "overlay", MountFlags::NOSUID | MountFlags::NODEV, options)
        .context("mounting an overlay over the replica")
}

/// A root of directories of the host, with room for the exec root and the sandbox's own directories.
fn mount_host_root(skeleton: &Skeleton, root: &Path) -> Result<(), Failure> {
    mount_bind("/scratch/root", root).context("mounting the root directory")?;
    for name in &skeleton.directories {
        let target = root.join(name);
        fs::create_dir(&target).context("filling the root directory")?;
        mount_bind_recursive(Path::new("/host").join(name), &target).context("mounting a directory of the host")?;
    }
    for (name, target) in &skeleton.links {
        symlink(target, root.join(name)).context("filling the root directory")?;
    }
    for name in ["proc", "dev", "tmp", "var"] {
        match fs::create_dir(root.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(anyhow::Error::new(error).context("filling the root directory").into());
            }
            _ => {}
        }
    }
    mount_bind("/scratch/tmp", root.join("tmp")).context("mounting /tmp")?;
    // Fails only where the host's own /var is shown.
    let _ = symlink("/tmp", root.join("var/tmp"));
    Ok(())
}

/// Makes the directory where the input root comes, which may lie in a directory of the host only if it exists there.
fn place_exec_root(root: &Path, exec_root: &Path) -> Result<(), Failure> {
    let refused = |why: String| Failure::Refused(format!("input root can't be put at {}: {why}", exec_root.display()));
    if !exec_root.is_absolute() || exec_root.components().any(|part| part == Component::ParentDir) {
        return Err(refused("not an absolute path without `..`".to_owned()));
    }
    if RESERVED.iter().any(|reserved| exec_root.starts_with(reserved)) {
        return Err(refused("that place is the sandbox's own".to_owned()));
    }
    let mut path = root.to_owned();
    for component in exec_root.components().filter(|part| matches!(part, Component::Normal(_))) {
        path.push(component);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let metadata = fs::symlink_metadata(&path).context("looking at the exec root's place")?;
                if !metadata.is_dir() {
                    return Err(refused("something on the way is no directory".to_owned()));
                }
            }
            outcome => outcome.map_err(|error| refused(error.to_string()))?,
        }
    }
    Ok(())
}

/// Makes sure that the sandbox has a directory `name` to mount on.
fn claim_directory(root: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
    match rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(root, name, flags, Mode::empty());
            opened.map(drop).map_err(|_| Failure::Refused(format!("/{name} of the input root is no directory")))
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("creating /{name}")).into()),
    }
}

/// A `/tmp` that everybody can write to, unless the input root has something of its own there.
fn provide_tmp(root: BorrowedFd<'_>) -> anyhow::Result<()> {
    match rustix::fs::mkdirat(root, "tmp", Mode::from_raw_mode(0o777)) {
        Ok(()) => rustix::fs::chmodat(root, "tmp", Mode::from_raw_mode(0o1777), rustix::fs::AtFlags::empty())
            .context("opening /tmp to everybody"),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).context("creating /tmp"),
    }
}

/// A fresh `/proc` that shows the action's processes alone, or else the host's, read-only.
fn mount_proc(target: &Path) -> anyhow::Result<Vec<String>> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("proc", target, "proc", flags, None) {
        Ok(()) => Ok(Vec::new()),
        Err(error) => {
            mount_bind_recursive("/proc", target).context("mounting the host's /proc")?;
            syscalls::make_all_read_only(target).context("making the host's /proc read-only")?;
            Ok(vec![format!("a /proc of its own ({error})")])
        }
    }
}

/// A directory with a few of the host's devices, and a place for shared memory.
fn mount_devices(target: &Path) -> anyhow::Result<()> {
    mount_tmpfs(target, "mode=755,size=64k,nr_inodes=64")?;
    for name in DEVICES {
        fs::write(target.join(name), "")?;
        mount_bind(Path::new("/dev").join(name), target.join(name)).with_context(|| format!("/dev/{name}"))?;
    }
    for (name, points_to) in DEVICE_LINKS {
        symlink(points_to, target.join(name))?;
    }
    fs::create_dir(target.join("shm"))?;
    syscalls::make_read_only(target).context("making it read-only")
}

/// Makes the mount at `root` this process's root directory and lets go of the old one.
fn enter(root: &Path) -> anyhow::Result<()> {
    std::env::set_current_dir(root)?;
    // The old root is put on top of the new one, where it is detached at once.
    rustix::process::pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("detaching the old root")?;
    Ok(std::env::set_current_dir("/")?)
}

fn open_directory(path: &Path) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).with_context(|| format!("opening {}", path.display()))
}
