//! Other views of the file system: in namespaces, sandboxes and below `chroot`, whoever compiles gets the object of the
//! files that they see, and leaves nothing wrong for those who see others.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{SERVICE_DEADLINE, succeed};
use pumphouse_tests::processes::processes;
use pumphouse_tests::program::program;
use pumphouse_tests::workspace::Workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

const COMPILE: &str = "gcc -Iinc -c a.c -o a.o";

/// What enters another view, and mounts another `inc` there, where that is not done by itself.
const ENTRANCES: &[&[&str]] = &[
    &["unshare", "--mount"],
    &["unshare", "--mount", "--pid", "--fork"],
    &["unshare", "--mount", "--pid", "--fork", "--mount-proc"],
    &["unshare", "--mount", "--map-root-user"],
    &["bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--cap-add", "CAP_SYS_ADMIN"],
];

/// A source that includes a header, another version of that header, and a client.
struct Site {
    client: Client,
    workspace: Workspace,
    _directory: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let workspace = Workspace::new(&[
            ("a.c", "#include <h.h>\nint v = V;\n"),
            ("inc/h.h", "#define V 1\n"),
            ("alt/h.h", "#define V 2\n"),
        ])?;
        Ok(Self { client: Client::new(&directory.path().join("client"), None)?, workspace, _directory: directory })
    }

    /// Runs `script` in the workspace, below `entrance`, with `$pumphouse` set.
    fn enter(&self, entrance: &[&str], script: &str) -> Result<String> {
        let (first, rest) = entrance.split_first().context("an entrance")?;
        let mut command = Command::new(first);
        command.args(rest).args(["sh", "-euc", script]).current_dir(self.workspace.path());
        self.client.equip(&mut command);
        succeed(command.env("pumphouse", program()?))
    }
}

/// Mounts the other headers, and requires their object of every compile.
fn compiles_inside() -> String {
    format!(
        "mount --bind alt inc\n{COMPILE}\nmv a.o inside.o\n
         for round in 1 2 3; do $pumphouse {COMPILE}; cmp a.o inside.o; rm a.o; done"
    )
}

#[test]
fn a_launcher_elsewhere_gets_the_object_of_the_files_that_it_sees() -> Result<()> {
    let site = Site::new()?;
    for _ in 0..2 {
        site.workspace.check(&site.client, COMPILE)?;
    }
    ensure!(site.client.stats()?.local_hits == 1, "the daemon outside knows the compile");
    for entrance in ENTRANCES {
        site.enter(entrance, &compiles_inside()).with_context(|| format!("{entrance:?}"))?;
        site.workspace.check(&site.client, COMPILE).with_context(|| format!("after {entrance:?}"))?;
    }
    Ok(())
}

#[test]
fn what_was_compiled_elsewhere_is_not_taken_for_what_is_seen_here() -> Result<()> {
    for entrance in ENTRANCES {
        // The first daemon is born inside.
        let site = Site::new()?;
        site.enter(entrance, &compiles_inside()).with_context(|| format!("{entrance:?}"))?;
        for _ in 0..2 {
            site.workspace.check(&site.client, COMPILE).with_context(|| format!("after {entrance:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_chroot_is_another_view_with_and_without_proc() -> Result<()> {
    let site = Site::new()?;
    for _ in 0..2 {
        site.workspace.check(&site.client, COMPILE)?;
    }
    let root = tempfile::tempdir()?;
    let (root, workspace) = (root.path().display(), site.workspace.path().display());
    let pumphouse = program()?;
    let pumphouse = pumphouse.display();
    for proc in ["", "mount -t proc proc $root/proc"] {
        // The namespace is there for its mounts to go away by themselves.
        let script = format!(
            "root={root}; mount -t tmpfs root $root; mkdir -p $root/usr $root/tmp $root/proc $root/dev
             mount --bind /usr $root/usr; for link in bin lib lib64; do ln -s usr/$link $root/$link; done
             mknod -m 666 $root/dev/null c 1 3; cp {pumphouse} $root/pumphouse; {proc}
             mkdir -p $root{workspace} $root$PUMPHOUSE_DIR
             mount --bind {workspace} $root{workspace}; mount --bind $PUMPHOUSE_DIR $root$PUMPHOUSE_DIR
             mount --bind {workspace}/alt $root{workspace}/inc
             chroot $root sh -euc 'cd {workspace}; {COMPILE}; mv a.o inside.o
                 for round in 1 2 3; do /pumphouse {COMPILE}; cmp a.o inside.o; rm a.o; done'"
        );
        site.enter(&["unshare", "--mount"], &script).with_context(|| format!("with `{proc}`"))?;
        site.workspace.check(&site.client, COMPILE)?;
    }
    Ok(())
}

#[test]
fn mounts_that_are_made_later_in_a_namespace_are_seen() -> Result<()> {
    let site = Site::new()?;
    let script = format!(
        "for round in 1 2; do $pumphouse {COMPILE}; done; cp a.o outer.o
         mount --bind alt inc; {COMPILE}; mv a.o inner.o
         for round in 1 2; do $pumphouse {COMPILE}; cmp a.o inner.o; done
         umount inc; $pumphouse {COMPILE}; cmp a.o outer.o; $pumphouse stats --json"
    );
    let said = site.enter(&["unshare", "--mount"], &script)?;
    ensure!(said.contains("\"local_hits\": 3"), "one daemon served them all: {said}");
    Ok(())
}

#[test]
fn every_view_has_statistics_in_common_and_a_daemon_of_its_own_to_stop() -> Result<()> {
    let site = Site::new()?;
    site.workspace.check(&site.client, COMPILE)?;
    let directory = site.client.directory();
    // What a daemon starts looks like it until it is another program, and one that has said goodbye still takes a moment.
    let outside = until_daemons(directory, |daemons| daemons.len() == 1).context("one daemon")?;
    site.enter(&["unshare", "--mount"], &format!("$pumphouse {COMPILE}; $pumphouse stop"))?;
    until_daemons(directory, |daemons| daemons == outside).context("only the daemon inside is stopped")?;
    let stats = site.client.stats()?;
    ensure!((stats.compiles, stats.local_hits) == (2, 1), "{stats:?}");
    Ok(())
}

#[test]
fn a_daemon_leaves_with_the_last_process_of_its_namespace() -> Result<()> {
    let site = Site::new()?;
    site.enter(&["unshare", "--mount"], &format!("$pumphouse {COMPILE}"))?;
    ensure!(sockets(site.client.directory())?.len() == 1);
    let start = Instant::now();
    while !daemons(site.client.directory())?.is_empty() {
        ensure!(start.elapsed() < SERVICE_DEADLINE, "it keeps its namespace alive");
        std::thread::yield_now();
    }
    ensure!(sockets(site.client.directory())?.is_empty(), "nothing is left of it");
    Ok(())
}

/// The processes of the daemons of `directory`.
fn daemons(directory: &Path) -> Result<Vec<i32>> {
    let own = format!("PUMPHOUSE_DIR={}", directory.display());
    let all = processes()?;
    let is_daemon = |command_line: &str| command_line.split(' ').nth(1) == Some("daemon");
    let daemons = all
        .iter()
        .filter(|process| is_daemon(&process.command_line) && process.environment.lines().any(|line| line == own));
    Ok(daemons.map(|process| process.id.as_raw_nonzero().get()).collect())
}

/// The processes of the daemons of `directory`, once they satisfy `condition`.
fn until_daemons(directory: &Path, condition: impl Fn(&[i32]) -> bool) -> Result<Vec<i32>> {
    let start = Instant::now();
    loop {
        let daemons = daemons(directory)?;
        if condition(&daemons) {
            return Ok(daemons);
        }
        ensure!(start.elapsed() < SERVICE_DEADLINE, "daemons {daemons:?}");
        std::thread::yield_now();
    }
}

/// The directories of sockets below `directory`.
fn sockets(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
    let is_socket = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("vantage-");
    Ok(entries.iter().filter(|entry| is_socket(&entry.file_name())).map(std::fs::DirEntry::path).collect())
}
