//! Whatever changes under the sources' feet, the next compile sees it, and so does the cache.

use anyhow::{Result, ensure};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::os::unix::fs::symlink;
use std::path::Path;

const COMPILE: &str = "gcc -g -Ifirst -Isecond -c a.c -o a.o";
const FILES: &[(&str, &str)] = &[
    (
        "a.c",
        "#include <value.h>\n#if __has_include(\"optional.h\")\n#include \"optional.h\"\n#endif\nint a(void) { return VALUE; }\n",
    ),
    ("second/value.h", "#define VALUE 1\n"),
    ("first/other.h", "\n"),
    ("real/value.h", "#define VALUE 7\n"),
];

/// Compiles, changes something, compiles again: both times as the compiler does, the second time not from a cache.
fn check(change: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    workspace.check(&site.client, COMPILE)?;
    // The daemon knows every file by now.
    workspace.check(&site.client, COMPILE)?;
    site.client.zero()?;
    change(workspace.path())?;
    workspace.check(&site.client, COMPILE)?;
    let stats = site.client.stats()?;
    ensure!(stats.hits() == 0, "{stats:?}");
    workspace.check(&site.client, COMPILE)?;
    Ok(())
}

#[test]
fn an_edited_header_is_seen() -> Result<()> {
    check(|at| std::fs::write(at.join("second/value.h"), "#define VALUE 42\n"))
}

#[test]
fn an_edit_of_the_same_size_in_the_same_instant_is_seen() -> Result<()> {
    check(|at| std::fs::write(at.join("second/value.h"), "#define VALUE 2\n"))
}

#[test]
fn an_edit_that_keeps_the_time_stamp_is_seen() -> Result<()> {
    check(|at| {
        let path = at.join("second/value.h");
        let modified = path.metadata()?.modified()?;
        std::fs::write(&path, "#define VALUE 3\n")?;
        std::fs::File::options().write(true).open(&path)?.set_modified(modified)
    })
}

#[test]
fn a_replaced_header_is_seen() -> Result<()> {
    check(|at| {
        std::fs::write(at.join("second/value.h.new"), "#define VALUE 4\n")?;
        std::fs::rename(at.join("second/value.h.new"), at.join("second/value.h"))
    })
}

#[test]
fn a_new_header_that_shadows_is_seen() -> Result<()> {
    check(|at| std::fs::write(at.join("first/value.h"), "#define VALUE 5\n"))
}

#[test]
fn a_header_that_is_asked_for_and_appears_is_seen() -> Result<()> {
    check(|at| std::fs::write(at.join("optional.h"), "#undef VALUE\n#define VALUE 6\n"))
}

#[test]
fn a_deleted_header_is_missed() -> Result<()> {
    check(|at| std::fs::remove_file(at.join("second/value.h")))
}

#[test]
fn a_renamed_directory_is_missed() -> Result<()> {
    check(|at| std::fs::rename(at.join("second"), at.join("third")))
}

#[test]
fn a_header_that_becomes_a_symbolic_link_is_seen() -> Result<()> {
    check(|at| {
        std::fs::remove_file(at.join("second/value.h"))?;
        symlink("../real/value.h", at.join("second/value.h"))
    })
}

#[test]
fn a_directory_that_becomes_a_symbolic_link_is_seen() -> Result<()> {
    check(|at| {
        std::fs::rename(at.join("first"), at.join("old"))?;
        symlink("real", at.join("first"))
    })
}

#[test]
fn a_header_that_becomes_unreadable_fails_as_the_compiler_does() -> Result<()> {
    // A directory in a header's place: even root can't read it as a file.
    check(|at| {
        std::fs::remove_file(at.join("second/value.h"))?;
        std::fs::create_dir(at.join("second/value.h"))
    })
}

#[test]
fn a_mere_touch_stays_a_hit() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    workspace.check(&site.client, COMPILE)?;
    site.client.zero()?;
    let header = std::fs::File::options().append(true).open(workspace.path().join("second/value.h"))?;
    header.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))?;
    workspace.check(&site.client, COMPILE)?;
    let stats = site.client.stats()?;
    ensure!((stats.compiles, stats.hits()) == (1, 1), "{stats:?}");
    Ok(())
}
