//! Credentials and certificates in files, as [`Reread`] keeps them: read whole, within a bound, with errors that name them.

use anyhow::Context as _;
use pumphouse_proto::reread::Reread;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest file.
const FILE_SIZE_BYTES: u64 = 16 * 1024 * 1024;

/// What files say; where they become unreadable, or nonsense, what they said before.
pub(crate) type Reloaded<T> = Reread<T, anyhow::Error>;

/// Reads the file at `path`.
///
/// # Errors
/// It can't be read, or `parse` says no; names it.
pub(crate) fn open<T: 'static>(path: &Path, parse: fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Reloaded<T>> {
    open_all(vec![path.to_owned()], move |contents| parse(std::str::from_utf8(&contents[0])?))
}

/// Reads files that belong together: their contents come in order.
///
/// # Errors
/// One can't be read, or `parse` says no; names them.
pub(crate) fn open_all<T: 'static>(
    paths: Vec<PathBuf>,
    parse: impl Fn(&[Vec<u8>]) -> anyhow::Result<T> + Send + Sync + 'static,
) -> anyhow::Result<Reloaded<T>> {
    Reread::open(paths, Box::new(move |paths| read(paths, &parse)))
}

fn read<T>(paths: &[PathBuf], parse: impl Fn(&[Vec<u8>]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let names = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut contents = Vec::new();
    for path in paths {
        let mut content = Vec::new();
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        file.take(FILE_SIZE_BYTES).read_to_end(&mut content).with_context(|| path.display().to_string())?;
        contents.push(content);
    }
    parse(&contents).with_context(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("number");
        let number = |text: &str| Ok(text.parse::<u32>()?);
        assert!(format!("{:#}", open(&path, number).expect_err("is absent")).contains("number"));
        std::fs::write(&path, "nonsense").expect("written");
        assert!(format!("{:#}", open(&path, number).expect_err("is nonsense")).contains("number"));
        std::fs::write(&path, "1").expect("written");
        assert_eq!(*open(&path, number).expect("a number").current(), 1);
    }
}
