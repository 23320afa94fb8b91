//! Where the program under test is, and where the repository is.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The program under test: `PUMPHOUSE_PROGRAM`, or the release binary beside the test's own build directory.
///
/// # Errors
/// When there is no such file; the message says how to make it.
pub fn program() -> Result<PathBuf> {
    let path = match std::env::var_os("PUMPHOUSE_PROGRAM") {
        Some(path) => PathBuf::from(path),
        None => target_directory()?.join("release/pumphouse"),
    };
    if !path.is_file() {
        bail!("no program at {}: run `cargo build --release`, or set PUMPHOUSE_PROGRAM", path.display());
    }
    Ok(path)
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Cargo's target directory, found from where this very program lies (`TARGET/PROFILE/[deps/]NAME`).
///
/// # Errors
/// When the program was moved out of it.
pub fn target_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    match own.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file()) {
        Some(target) => Ok(target.to_owned()),
        None => bail!("{} does not lie in a cargo target directory", own.display()),
    }
}
