//! Paths that mean something else to each process: what stands below `/proc/self`, and all that leads there.
//!
//! The daemon looks at files for launchers and compilers, so what such a path leads to here says nothing about them.
//! What stands below a process's number is as short-lived. It knows nothing of other file systems that do the like.
//!
//! **Source:** proc(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// How many symbolic links are followed, as many as the kernel does.
const MAX_LINKS: usize = 40;

/// Whether the entry `name` of `directory`, which is free of links, is a process.
pub(crate) fn is_process(directory: &[u8], name: &[u8]) -> bool {
    directory == b"/proc" && names_process(name)
}

fn names_process(name: &[u8]) -> bool {
    name == b"self" || name == b"thread-self" || !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

/// Whether an absolute path of that kind is spelled anywhere in `text`: an argument, or a variable's value.
pub(crate) fn are_named_in(text: &[u8]) -> bool {
    // Where a relative path goes on, a name stands before the slash. A flag of unknown length may as well.
    let is_root = |at: usize| {
        let before = &text[..at];
        let component = before.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        matches!(component, [] | b"." | b".." | [.., b'=' | b',' | b':' | b';' | b'@' | b'"' | b'\'' | b' '])
            || component.len() == before.len() && before.starts_with(b"-")
    };
    memchr::memchr_iter(b'/', text).any(|at| {
        let (rest, is_process) = match &text[at + 1..] {
            [b'p', b'r', b'o', b'c', b'/', rest @ ..] => (rest, true),
            [b'd', b'e', b'v', b'/', rest @ ..] => (rest, false),
            _ => return false,
        };
        let next = rest.split(|byte| *byte == b'/').find(|name| !name.is_empty() && *name != b".").unwrap_or_default();
        // A list's next part, or what else follows in an argument, is no part of the name.
        let next = next.split(|byte| matches!(byte, b':' | b',' | b'=' | b';')).next().unwrap_or_default();
        let is_own =
            if is_process { names_process(next) } else { matches!(next, b"fd" | b"stdin" | b"stdout" | b"stderr") };
        is_own && is_root(at)
    })
}

/// Whether the absolute `path` passes through a process's directory, be it by links. Costs a look at each component.
pub(crate) fn is_reached_by(path: &Path) -> bool {
    let mut at = PathBuf::from("/");
    let mut rest: Vec<OsString> = path.components().rev().map(|component| component.as_os_str().to_owned()).collect();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(_)) => {
                if is_process(at.as_os_str().as_bytes(), name.as_bytes()) {
                    return true;
                }
                let next = at.join(&name);
                match std::fs::read_link(&next) {
                    Ok(target) if links < MAX_LINKS => {
                        links += 1;
                        rest.extend(target.components().rev().map(|component| component.as_os_str().to_owned()));
                    }
                    _ => at = next,
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_arguments_and_lists() {
        for own in [
            "/proc/self/cwd",
            "-I/proc/self/cwd/inc",
            "-isystem/proc/thread-self/cwd",
            "--sysroot=/proc/1234/root",
            "-Wp,-I,/dev/fd/7/inc",
            "/usr:/dev//fd/3",
            "/x/../proc/self",
            "/dev/stdin",
            "//proc/./self/cwd",
            "/proc/self",
            "@/dev/fd/63",
        ] {
            assert!(are_named_in(own.as_bytes()), "{own}");
        }
        for other in [
            "fs/proc/self.c",
            "fs/proc/self/a.c",
            "/src/linux/fs/proc/self",
            "/proc/version",
            "/dev/null",
            "/dev/fdx",
            "/proc/sys/kernel",
        ] {
            assert!(!are_named_in(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn links_are_followed() {
        let scratch = tempfile::tempdir().expect("scratch");
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink("/dev/../proc/self/cwd", &link).expect("linked");
        assert!(is_reached_by(&link.join("a")));
        assert!(is_reached_by(Path::new("/dev/fd/../cwd")));
        assert!(is_reached_by(Path::new("/dev/stdin")));
        assert!(!is_reached_by(scratch.path()) && !is_reached_by(Path::new("/proc/version")));
    }
}
