//! A machine with a real NFS server and three clients of it, which is an ordinary process: a kernel of its own (User-Mode
//! Linux) on this machine's files.
//!
//! The clients are `/mnt/a` (NFS 4.2), `/mnt/b` (NFS 3) and `/mnt/c` (NFS 4.2 from another network namespace); each has
//! caches of its own. Processes are slow there, since each system call is traced: what takes how long says nothing.

use crate::process::{COMMAND_DEADLINE, succeed, wait};
use crate::program::program;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the machine needs, each with its package.
const TOOLS: &[(&str, &str)] = &[
    ("linux.uml", "user-mode-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("modprobe", "kmod"),
    ("ip", "iproute2"),
    ("rpcbind", "rpcbind"),
    ("mount.nfs", "nfs-common"),
    ("exportfs", "nfs-kernel-server"),
];

/// The variable that is set there.
const INSIDE: &str = "PUMPHOUSE_TESTS_MACHINE";

/// Does `run` where the kernel knows `file_system`: here, or else such a machine does the test of the name `test` of this
/// very program.
///
/// # Errors
/// As `run`, and as [`on_a_machine_with_nfs`].
pub fn on_a_kernel_with(file_system: &str, test: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems")?;
    if known.split_whitespace().any(|known| known == file_system) {
        return run();
    }
    ensure!(std::env::var_os(INSIDE).is_none(), "the kernel of the machine doesn't know {file_system} either");
    let variable = format!("PUMPHOUSE_PROGRAM={}", program()?.display());
    let own = std::env::current_exe()?.display().to_string();
    let report = on_a_machine_with_nfs(&["/usr/bin/env", &variable, &own, "--exact", test], COMMAND_DEADLINE)?;
    ensure!(report.contains("1 passed"), "{test} was not run:\n{report}");
    Ok(())
}

/// The mount points of the clients.
pub const CLIENTS: [&str; 3] = ["/mnt/a", "/mnt/b", "/mnt/c"];

/// Starts such a machine, runs `words` there as its root, and gives what they printed. This machine's files are read-only
/// there; `/run` is not.
///
/// # Errors
/// Where the machine doesn't come up, or has not ended by `limit`; and where the command fails, with what it printed.
pub fn on_a_machine_with_nfs<S: AsRef<OsStr>>(words: &[S], limit: Duration) -> Result<String> {
    for (tool, package) in TOOLS {
        let found = std::env::split_paths("/usr/sbin:/usr/bin:/sbin:/bin").any(|place| place.join(tool).exists());
        ensure!(found, "{tool} is absent: install {package}");
    }
    let place = tempfile::Builder::new().prefix("nfs-").tempdir()?;
    let at = |name: &str| place.path().join(name);
    std::fs::File::create(at("disk"))?.set_len(1 << 30)?;
    succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(at("disk")))?;
    std::fs::write(at("init"), include_str!("nfs_machine.sh"))?;
    std::fs::set_permissions(at("init"), PermissionsExt::from_mode(0o755))?;
    let quoted = words.iter().map(|word| format!("'{}'", word.as_ref().to_string_lossy().replace('\'', r"'\''")));
    std::fs::write(at("command"), format!("export {INSIDE}=1; {}", quoted.collect::<Vec<_>>().join(" ")))?;
    let mut kernel = Command::new("linux.uml");
    kernel
        .args([
            "mem=1024M",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            "quiet",
        ])
        .arg(format!("ubd0={}", at("disk").display()))
        .arg(format!("init={}", at("init").display()))
        .arg(format!("RESULT={}", place.path().display()))
        .env("TMPDIR", "/dev/shm");
    let console = std::fs::File::create(at("console"))?;
    let mut kernel = kernel
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("starting linux.uml")?;
    let ended = wait(&mut kernel, limit)?;
    if ended.is_none() {
        kernel.kill()?;
        kernel.wait()?;
    }
    let text = |name: &str| std::fs::read(at(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let output = text("output").unwrap_or_default();
    match text("status").as_deref().map(str::trim) {
        Ok("0") => Ok(output),
        Ok(status) => bail!("{}: exit status {status}\n{output}", words[0].as_ref().as_bytes().escape_ascii()),
        Err(_) if ended.is_none() => bail!("the machine has not ended in {limit:?}\n{output}"),
        Err(_) => bail!("the machine did not come up\n{output}\n{}", text("console").unwrap_or_default()),
    }
}
