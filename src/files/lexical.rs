//! Paths as they are spelled, without a look at the disk.

use crate::files::as_path;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// `path`, from `start` where it is relative, without `.` and `..`.
pub(crate) fn lexical(start: &Path, path: &[u8]) -> Arc<Path> {
    let base = if path.starts_with(b"/") { &b"/"[..] } else { start.as_os_str().as_bytes() };
    let mut lexical = Vec::with_capacity(base.len() + 1 + path.len());
    lexical.extend_from_slice(base.strip_suffix(b"/").unwrap_or(base));
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => lexical.truncate(memchr::memrchr(b'/', &lexical).unwrap_or(0)),
            name => {
                lexical.push(b'/');
                lexical.extend_from_slice(name);
            }
        }
    }
    if lexical.is_empty() {
        lexical.push(b'/');
    }
    Arc::from(as_path(&lexical))
}

#[cfg(test)]
mod tests {
    use super::lexical;
    use std::path::Path;

    #[test]
    fn lexical_paths() {
        let check = |start: &str, path: &str, expect: &str| {
            assert_eq!(lexical(Path::new(start), path.as_bytes()).as_ref(), Path::new(expect), "{start}, {path}");
        };
        check("/a/b", "c.h", "/a/b/c.h");
        check("/a/b", "./c//d/../e.h", "/a/b/c/e.h");
        check("/a/b", "../../../e.h", "/e.h");
        check("/a/b", "/x/./y", "/x/y");
        check("/", "c.h", "/c.h");
        check("/a", "..", "/");
    }
}
