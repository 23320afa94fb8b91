//! Where compressed files lie until clients send them: directories that look like the root of the client's file system.
//!
//! distcc's client takes the first three components off every path that it is told of, and sends the rest as the
//! file's name. So each client root has exactly three: `/dev/shm/tmpX.include_server-PID-GENERATION`, or
//! `/tmp/tmpX.include_server-PID-GENERATION/padding`. The names say whose they are; an include server that starts
//! removes the roots of those that are no more.
//!
//! What it does not know: what is put into a root.
//!
//! **Source:** `include_server(1)` and the behaviour of distcc 3.4's include server, whose roots are named alike, so that
//! either cleans up after the other.

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The variable that names the directory for client roots.
pub(super) const VARIABLE: &str = "DISTCC_CLIENT_TMP";
/// How many components distcc's client takes off.
const DEPTH: usize = 3;
/// What stands between the random part of a root's name and the number of its process.
const MARK: &[u8] = b".include_server-";

/// The client roots of this process. They are not removed when this is dropped: see [`ClientRoots::clean_out`].
#[derive(Debug)]
pub(super) struct ClientRoots {
    parent: PathBuf,
    generation: u32,
}

impl ClientRoots {
    /// Client roots in the directory that `DISTCC_CLIENT_TMP` names (`configured`), or else in `/dev/shm` or `/tmp`.
    ///
    /// # Errors
    /// When the directory is not one for client roots.
    pub(super) fn new(configured: Option<&OsStr>) -> Result<Self> {
        let parent = match configured {
            Some(name) => PathBuf::from(name),
            None if is_usable(Path::new("/dev/shm")) => "/dev/shm".into(),
            None => "/tmp".into(),
        };
        if !parent.is_absolute() {
            bail!("{VARIABLE}={} must start with '/'", parent.display());
        }
        // Without doubled and trailing slashes, since the client counts them.
        let parent: PathBuf = parent.components().collect();
        let depth = parent.components().count() - 1;
        if depth >= DEPTH || depth == 0 || parent.components().any(|part| part.as_os_str() == "..") {
            bail!("{VARIABLE}={} must have one or two directory levels", parent.display());
        }
        if !is_usable(&parent) {
            bail!("{VARIABLE}={}: not a directory that can be written to", parent.display());
        }
        Ok(Self { parent, generation: 0 })
    }

    /// Makes one more root, and gives its path of three components.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub(super) fn make(&mut self) -> Result<PathBuf> {
        self.generation += 1;
        let suffix = format!(".include_server-{}-{}", std::process::id(), self.generation);
        let directory = tempfile::Builder::new()
            .prefix("tmp")
            .rand_bytes(8)
            .suffix(&suffix)
            .tempdir_in(&self.parent)
            .with_context(|| format!("making a client root directory in {}", self.parent.display()))?;
        let mut root = directory.keep();
        while root.components().count() - 1 < DEPTH {
            root.push("padding");
            std::fs::create_dir(&root).with_context(|| format!("making the directory {}", root.display()))?;
        }
        Ok(root)
    }

    /// Removes all roots of this process, as well as it can.
    pub(super) fn clean_out(&self) {
        let own = std::process::id();
        self.remove(|process| process.as_raw_nonzero().get() as u32 == own);
    }

    /// Removes the roots of include servers that are no more, and gives their paths.
    pub(super) fn clean_out_others(&self) -> Vec<PathBuf> {
        self.remove(|process| rustix::process::test_kill_process(process) == Err(Errno::SRCH))
    }

    /// Removes `root`, which [`ClientRoots::make`] gave, as well as it can.
    pub(super) fn discard(&self, root: &Path) {
        let depth = self.parent.components().count() + 1;
        let unpadded: PathBuf = root.components().take(depth).collect();
        let _ = std::fs::remove_dir_all(unpadded);
    }

    fn remove(&self, is_doomed: impl Fn(Pid) -> bool) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.parent) else { return Vec::new() };
        let mut removed = Vec::new();
        for entry in entries.flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && owner(&entry.file_name()).is_some_and(&is_doomed) {
                // Another user's can't be removed, and need not.
                if std::fs::remove_dir_all(entry.path()).is_ok() {
                    removed.push(entry.path());
                }
            }
        }
        removed
    }
}

/// Whether files can be made in `directory`.
fn is_usable(directory: &Path) -> bool {
    use rustix::fs::Access;
    directory.is_dir() && rustix::fs::access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// The process that a root's name speaks of.
fn owner(name: &OsStr) -> Option<Pid> {
    let name = name.as_bytes();
    let mark = name.windows(MARK.len()).rposition(|part| part == MARK)?;
    let numbers = std::str::from_utf8(&name[mark + MARK.len()..]).ok()?;
    let (process, generation) = numbers.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(process) || !is_number(generation) {
        return None;
    }
    Pid::from_raw(process.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        let check = |name: &str, expect: Result<&str, &str>| {
            let found = ClientRoots::new(Some(OsStr::new(name)));
            let found = found.map(|roots| roots.parent).map_err(|error| error.to_string());
            assert_eq!(found, expect.map(PathBuf::from).map_err(str::to_owned), "{name}");
        };
        check("/tmp", Ok("/tmp"));
        check("/var//tmp/", Ok("/var/tmp"));
        check("tmp", Err("DISTCC_CLIENT_TMP=tmp must start with '/'"));
        check("", Err("DISTCC_CLIENT_TMP= must start with '/'"));
        check("/", Err("DISTCC_CLIENT_TMP=/ must have one or two directory levels"));
        check("/tmp/../tmp", Err("DISTCC_CLIENT_TMP=/tmp/../tmp must have one or two directory levels"));
        check("/usr/share/doc", Err("DISTCC_CLIENT_TMP=/usr/share/doc must have one or two directory levels"));
        check("/nowhere", Err("DISTCC_CLIENT_TMP=/nowhere: not a directory that can be written to"));
    }

    #[test]
    fn owners() {
        let check = |name: &str, expect: Option<i32>| {
            assert_eq!(owner(OsStr::new(name)).map(|process| process.as_raw_nonzero().get()), expect, "{name}");
        };
        check("tmpBDoZQV.include_server-6642-13", Some(6642));
        check("x.include_server-1.include_server-2-1", Some(2));
        check("tmpBDoZQV.include_server-6642", None);
        check("tmpBDoZQV.include_server--3", None);
        check("tmpBDoZQV.include_server-0-1", None);
        check("tmpBDoZQV.include_server-99999999999-1", None);
        check("tmp", None);
    }

    #[test]
    fn roots_have_three_components_and_go() {
        for parent in ["/tmp", "/dev/shm", "/var/tmp"] {
            let mut roots = ClientRoots::new(Some(OsStr::new(parent))).expect("a usable directory");
            // Nobody has this number: it is past the greatest that the kernel gives.
            let orphan = Path::new(parent).join(format!("tmp{}.include_server-2147483647-1", std::process::id()));
            std::fs::create_dir(&orphan).expect("create");
            let [first, second] = [(); 2].map(|()| roots.make().expect("a root"));
            assert_ne!(first, second);
            assert_eq!(first.components().count(), 1 + DEPTH);
            std::fs::create_dir(first.join("usr")).expect("create");
            assert!(roots.clean_out_others().contains(&orphan));
            assert!(!orphan.exists() && first.exists());
            roots.discard(&first);
            assert!(!first.exists() && second.exists());
            roots.clean_out();
            assert!(!second.exists());
            if parent == "/tmp" {
                assert!(!second.parent().expect("a parent").exists());
            }
        }
    }
}
