//! Which program a compiler's name means, this one left out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Which file a program is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of the running program. Below a `chroot` without `/proc`, that of the file that was started under its name.
    ///
    /// # Errors
    /// Neither is there.
    pub fn of_running_program() -> io::Result<Self> {
        let started = || Path::new(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
        std::fs::metadata("/proc/self/exe")
            .or_else(|_| std::fs::metadata(started()))
            .map(|metadata| Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Finds the compiler that `written` means: a path as it is, a bare name through `search_path` (the value of `PATH`,
/// whose relative parts start from `working_directory`). Where a path leads to this program, its last component is
/// looked for instead, and this program is skipped there.
///
/// The result is absolute where `written` or the part of `search_path` is, and is as spelled: links are not resolved.
pub fn find(written: &OsStr, search_path: &OsStr, working_directory: &Path, own: Identity) -> Option<PathBuf> {
    let mut name = written;
    if written.as_bytes().contains(&b'/') {
        let path = working_directory.join(written);
        if is_other_program(&path, own) {
            return Some(if working_directory == Path::new(".") { PathBuf::from(written) } else { path });
        }
        name = Path::new(written).file_name()?;
    }
    std::env::split_paths(search_path)
        .map(|directory| working_directory.join(directory).join(name))
        .find(|candidate| is_other_program(candidate, own))
}

fn is_other_program(path: &Path, own: Identity) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| {
        metadata.is_file()
            && metadata.mode() & 0o111 != 0
            && Identity { device: metadata.dev(), inode: metadata.ino() } != own
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn the_running_program_is_skipped() {
        let scratch = tempfile::tempdir().expect("scratch");
        let [masquerade, real] = ["masquerade", "real"].map(|name| {
            let directory = scratch.path().join(name);
            std::fs::create_dir(&directory).expect("created");
            directory
        });
        symlink("/proc/self/exe", masquerade.join("gcc")).expect("linked");
        std::fs::write(real.join("gcc"), "").expect("written");
        let search_path = std::env::join_paths([&masquerade, &real]).expect("joined");
        let own = Identity::of_running_program().expect("known");
        let check = |written: &Path, expect: Option<PathBuf>| {
            assert_eq!(find(written.as_os_str(), &search_path, Path::new("/"), own), expect, "{written:?}");
        };
        check(Path::new("gcc"), None);
        std::fs::set_permissions(real.join("gcc"), std::fs::Permissions::from_mode(0o755)).expect("set");
        check(Path::new("gcc"), Some(real.join("gcc")));
        check(&masquerade.join("gcc"), Some(real.join("gcc")));
        check(&real.join("gcc"), Some(real.join("gcc")));
        check(Path::new("g++"), None);
    }
}
