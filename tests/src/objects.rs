//! What builds leave: object files, compared byte for byte.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Contents by path below the build's directory.
pub type Objects = BTreeMap<PathBuf, Vec<u8>>;

/// Every object file (`.o`, `.dwo`) below `directory`.
///
/// # Errors
/// When something can't be read.
pub fn objects(directory: &Path) -> Result<Objects> {
    let mut found = Objects::new();
    collect(directory, Path::new(""), &mut found)?;
    Ok(found)
}

fn collect(top: &Path, below: &Path, found: &mut Objects) -> Result<()> {
    let directory = top.join(below);
    for entry in std::fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(top, &path, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|suffix| suffix == "o" || suffix == "dwo") {
            found.insert(path, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// How two builds differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many objects are the same, byte for byte.
    pub identical: usize,
    /// Objects of other bytes.
    pub different: Vec<PathBuf>,
    /// Objects that only one of the builds made.
    pub unmatched: Vec<PathBuf>,
}

impl Comparison {
    /// Whether there was something to compare and nothing differs.
    pub fn is_identical(&self) -> bool {
        self.identical > 0 && self.different.is_empty() && self.unmatched.is_empty()
    }
}

/// Compares two builds object by object.
pub fn compare(expected: &Objects, actual: &Objects) -> Comparison {
    let mut comparison = Comparison::default();
    for (path, bytes) in expected {
        match actual.get(path) {
            Some(other) if other == bytes => comparison.identical += 1,
            Some(_) => comparison.different.push(path.clone()),
            None => comparison.unmatched.push(path.clone()),
        }
    }
    comparison.unmatched.extend(actual.keys().filter(|path| !expected.contains_key(*path)).cloned());
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(files: &[(&str, &str)]) -> Objects {
        files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn nothing_is_not_identical() {
        assert!(!compare(&Objects::new(), &Objects::new()).is_identical());
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        let expected = build(&[("a.o", "1"), ("b.o", "2"), ("c.o", "3")]);
        let actual = build(&[("a.o", "1"), ("b.o", "x"), ("d.o", "4")]);
        let comparison = compare(&expected, &actual);
        assert_eq!(comparison.identical, 1);
        assert_eq!(comparison.different, [PathBuf::from("b.o")]);
        assert_eq!(comparison.unmatched, [PathBuf::from("c.o"), PathBuf::from("d.o")]);
        assert!(compare(&expected, &expected).is_identical());
    }
}
