//! A compile like any other, with the same arguments in the same directory, whose outputs go elsewhere.
//!
//! A helper process lays an overlay over each output's directory in a mount namespace of its own, compiles there, and copies
//! what appeared at the outputs' places. The user's files are never written. It knows nothing about what is compiled.
//!
//! **Source:** `mount_namespaces(7)`, `user_namespaces(7)`, and the kernel's `overlayfs.rst` (`userxattr`).

use anyhow::{Context as _, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Resource, Rlimit, Signal, setrlimit};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The hidden sub-command by which the daemon starts the helper.
pub(crate) const SUB_COMMAND: &str = "compile-apart";

/// How much processor time and, by the daemon's clock, how much time one compile may take.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(120);

/// What outputs may take of memory, as tmpfs says it.
const LAYER_SIZE: &std::ffi::CStr = c"size=1g,mode=0700";

/// How little the helper and its compiler ask for the processor.
const NICENESS: i32 = 19;

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    /// An empty directory, for what comes out.
    pub scratch: PathBuf,
    /// Where it runs.
    pub directory: PathBuf,
    /// The outputs' places: absolute.
    pub outputs: Vec<PathBuf>,
    /// The compiler and its arguments; none only looks whether it would be possible.
    pub command: Vec<OsString>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// The exit code.
    pub code: i32,
    /// Standard output and standard error.
    pub streams: [Vec<u8>; 2],
    /// What is at each output's place; none where nothing is.
    pub outputs: Vec<Option<Vec<u8>>>,
}

impl Apart {
    /// Compiles within namespaces: the helper's whole work. Files for [`Self::made`] are in the scratch directory then.
    ///
    /// # Errors
    /// Namespaces or overlays are not to be had here, or the compiler is not.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(
            !self.covered().any(|covered| self.scratch.starts_with(covered)),
            "the scratch directory is an output's"
        );
        rustix::process::nice(NICENESS).context("being nice")?;
        let seconds = Some(TIME_LIMIT.as_secs());
        setrlimit(Resource::Cpu, Rlimit { current: seconds, maximum: seconds }).context("limiting the time")?;
        let layers = self.scratch.join("layers");
        fs::create_dir(&layers)?;
        enter_namespaces()?;
        mount("tmpfs", &layers, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, LAYER_SIZE)
            .context("mounting memory")?;
        for (number, directory) in self.covered().enumerate() {
            cover(directory, &layers.join(number.to_string()))
                .with_context(|| format!("laying an overlay over {}", directory.display()))?;
        }
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        for output in &self.outputs {
            match fs::remove_file(output) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context("removing an output");
                }
                _ => {}
            }
        }
        // By its path, since the directory that the helper stands in is the one below the overlay.
        std::env::set_current_dir(&self.directory)?;
        let status = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(self.scratch.join("stdout"))?)
            .stderr(File::create(self.scratch.join("stderr"))?)
            .status()
            .context("starting the compiler")?;
        let Some(code) = status.code() else { bail!("the compiler was ended by signal {:?}", status.signal()) };
        for (number, output) in self.outputs.iter().enumerate() {
            match fs::copy(output, self.scratch.join(number.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context("keeping an output");
                }
                _ => {}
            }
        }
        fs::write(self.scratch.join("code"), code.to_string())?;
        Ok(())
    }

    /// What a helper that has ended well has left.
    ///
    /// # Errors
    /// It left something else.
    pub(crate) fn made(&self) -> anyhow::Result<Made> {
        let output = |number: usize| match fs::read(self.scratch.join(number.to_string())) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Made {
            code: fs::read_to_string(self.scratch.join("code"))?.parse()?,
            streams: [fs::read(self.scratch.join("stdout"))?, fs::read(self.scratch.join("stderr"))?],
            outputs: (0..self.outputs.len()).map(output).collect::<io::Result<_>>()?,
        })
    }

    /// The helper's command line.
    pub(crate) fn helper(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg(SUB_COMMAND).arg("--scratch").arg(&self.scratch).arg("--directory").arg(&self.directory);
        for output in &self.outputs {
            command.arg("--output").arg(output);
        }
        command.arg("--").args(&self.command);
        command
    }

    /// The outputs' directories, each once, outer ones first.
    fn covered(&self) -> impl Iterator<Item = &Path> {
        let mut directories: Vec<&Path> = self.outputs.iter().filter_map(|output| output.parent()).collect();
        directories.sort_unstable();
        directories.dedup();
        directories.into_iter()
    }
}

/// A process group that is ended with this value.
#[derive(Debug)]
pub(crate) struct Group(pub Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Where it has ended by itself, there is nothing to end.
        let _ = rustix::process::kill_process_group(self.0, Signal::KILL);
    }
}

/// A mount namespace of its own; for anybody but root, within a user namespace in which the user is who they are.
fn enter_namespaces() -> anyhow::Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if !user.is_root() || unshare(CloneFlags::CLONE_NEWNS).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context("making namespaces")?;
        fs::write("/proc/self/setgroups", "deny").context("giving up groups")?;
        let (user, group) = (user.as_raw(), group.as_raw());
        fs::write("/proc/self/uid_map", format!("{user} {user} 1")).context("mapping the user")?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1")).context("mapping the group")?;
    }
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).context("keeping mounts private")
}

/// Has what is written to `directory` go to `layer` instead.
fn cover(directory: &Path, layer: &Path) -> anyhow::Result<()> {
    let [upper, work] = ["upper", "work"].map(|name| layer.join(name));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let mut options = OsString::from("userxattr");
    for (name, path) in [(",lowerdir=", directory), (",upperdir=", &upper), (",workdir=", &work)] {
        // What would have to be escaped is rare, and left alone.
        ensure!(
            !path.to_string_lossy().contains([',', ':', '\\']),
            "{}: a path that can't be an option",
            path.display()
        );
        options.push(name);
        options.push(path);
    }
    mount("overlay", directory, "overlay", MountFlags::empty(), Some(&*c_string(&options)?)).context("mounting")
}

fn c_string(text: &std::ffi::OsStr) -> anyhow::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(text))?)
}
