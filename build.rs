//! Gives the program its build id: a hash of its sources, so that a daemon of one build never serves launchers of another.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = BTreeSet::new();
    for directory in ["src", "proto/src", "proto/build", "proto/pumphouse"] {
        println!("cargo::rerun-if-changed={directory}");
        collect(&root.join(directory), &mut files)?;
    }
    println!("cargo::rerun-if-changed=Cargo.lock");
    files.insert(root.join("Cargo.lock"));
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(&root).unwrap_or(&file).hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    println!("cargo::rustc-env=PUMPHOUSE_BUILD_ID={:016x}", hasher.finish());
    Ok(())
}

fn collect(directory: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.insert(entry.path());
        }
    }
    Ok(())
}
