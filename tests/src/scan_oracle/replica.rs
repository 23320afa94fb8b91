//! A root directory that holds the toolchain and, of the case, nothing but the closure.
//!
//! Works as root, in mount namespaces of its own: nothing that it mounts is ever seen outside of the one run, and what it
//! shares of the system is read-only. The system's headers come with `/usr`; a case's own tree must not lie there.

use anyhow::{Context, Result, bail};
use pumphouse::scan::closure::Closure;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Mounts the toolchain and the scratch directory below the replica's root, read-only but for the latter, and goes in.
const ENTER: &str = r#"set -e
root=$1 scratch=$2 directory=$3; shift 3
mount --bind /usr "$root/usr"
mount -o remount,bind,ro "$root/usr"
mount --bind /dev/null "$root/dev/null"
mount --bind "$scratch" "$root$scratch"
exec /usr/sbin/chroot "$root" /usr/bin/env -C "$directory" PWD="$directory" "$@""#;

/// A replica and the scratch directory that it shares with local runs.
#[derive(Debug)]
pub struct Replica {
    root: PathBuf,
    scratch: PathBuf,
    case: PathBuf,
}

impl Replica {
    /// Lays out an empty replica in `root` (a new directory) for cases that lie in `case`.
    ///
    /// # Errors
    /// Where the directories can't be made.
    pub fn new(root: &Path, scratch: &Path, case: &Path) -> Result<Self> {
        if case.starts_with("/usr") {
            bail!("{}: a case below /usr is not hidden from its replica", case.display());
        }
        for directory in ["usr", "dev", "tmp"] {
            fs::create_dir_all(root.join(directory)).with_context(|| format!("make {}", root.display()))?;
        }
        fs::write(root.join("dev/null"), "")?;
        for name in ["bin", "lib", "lib32", "lib64", "libx32"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, root.join(name))?;
            }
        }
        fs::create_dir_all(inside(root, scratch))?;
        Ok(Self { root: root.into(), scratch: scratch.into(), case: case.into() })
    }

    /// Empties the case's place and puts the closure's part of it there, and the working directory.
    ///
    /// # Errors
    /// Where an entry of the closure contradicts another, or its file can't be copied.
    pub fn fill(&self, closure: &Closure, directory: &Path) -> Result<()> {
        let place = inside(&self.root, &self.case);
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::create_dir_all(&place)?;
        let within = |path: &Path| path.starts_with(&self.case);
        for (path, target) in closure.symlinks.iter().filter(|(path, _)| within(path)) {
            let made = make_parent(&self.root, path).and_then(|path| Ok(symlink(target, path)?));
            made.with_context(|| format!("link {}", path.display()))?;
        }
        for path in closure.directories.iter().filter(|path| within(path)) {
            fs::create_dir_all(inside(&self.root, path)).with_context(|| format!("directory {}", path.display()))?;
        }
        for file in closure.files.iter().filter(|file| within(&file.path)) {
            let made = make_parent(&self.root, &file.path).and_then(|path| {
                fs::copy(&file.path, &path)?;
                let mode = if file.is_executable { 0o755 } else { 0o644 };
                Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
            });
            made.with_context(|| format!("file {}", file.path.display()))?;
        }
        // The worker makes the working directory in any case; behind links it comes with the closure's.
        let _ = fs::create_dir_all(inside(&self.root, directory));
        Ok(())
    }

    /// The words before a command line that runs it in the replica, in `directory`.
    pub fn prefix(&self, directory: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", ENTER, "sh"]
                .map(OsString::from)
                .into();
        words.extend([&*self.root, &*self.scratch, directory].map(OsString::from));
        words
    }
}

/// The place of an absolute path below `root`.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parent(root: &Path, path: &Path) -> Result<PathBuf> {
    let place = inside(root, path);
    let parent = place.parent().context("the root itself")?;
    fs::create_dir_all(parent)?;
    Ok(place)
}
