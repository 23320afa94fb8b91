//! What a compile leaves at the places of its outputs, besides their content: permissions, groups, and whether an old file was
//! filled or replaced. Each through the launcher as by the compiler alone, for misses and for hits.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const COMMANDS: [&str; 5] = [
    "gcc -MD -c a.c -o a.o",
    "gcc -S a.c -o a.s",
    "gcc -g -gsplit-dwarf -fstack-usage -c a.c -o a.o",
    "clang -MD -c a.c -o a.o",
    "clang -g -gsplit-dwarf -c a.c -o a.o",
];

/// What was there before: shell, run in the workspace.
const BEFORE: [&str; 7] = [
    "true",
    "touch a.o a.s a.d a.su a.dwo; chmod 600 a.o a.s a.d a.su a.dwo",
    "for name in a.o a.s a.d a.su a.dwo; do echo old > $name; done; chmod 640 a.o a.s a.d a.su a.dwo",
    "for name in a.o a.s a.d a.su a.dwo; do echo old > $name; done; chgrp 7 a.o a.s a.d a.su a.dwo",
    "chgrp 7 .; chmod g+s .",
    "setfacl -d -m u::rw,g::rw,o::-,u:7:rw .",
    "setfacl -d -m u::rw,g::rw,o::rw,m::rw .; for name in a.o a.s a.d a.su a.dwo; do echo old > $name; done",
];

const OUTPUTS: [&str; 5] = ["a.o", "a.s", "a.d", "a.su", "a.dwo"];

/// Permissions, owner, group, names and content.
type State = Option<(String, u32, u32, u64, Vec<u8>)>;

fn states(workspace: &Workspace) -> Result<Vec<State>> {
    let state = |name: &&str| {
        let path = workspace.path().join(name);
        let Ok(metadata) = std::fs::metadata(&path) else { return Ok(None) };
        let list = succeed(Command::new("getfacl").args(["-cnp"]).arg(&path))?;
        let permissions = format!("{:o}\n{list}", metadata.mode());
        Ok(Some((permissions, metadata.uid(), metadata.gid(), metadata.nlink(), std::fs::read(&path)?)))
    };
    OUTPUTS.iter().map(state).collect()
}

/// Requires that `command_line` leaves the same in all ways of running it, where `before` was done before each.
fn check(client: &Client, before: &str, prefix: &[&str], command_line: &str) -> Result<()> {
    let workspace = Workspace::new(&[("a.c", "int f(int a) { return a + 1; }\n")])?;
    let prepare = format!("rm -f {}; chgrp 0 .; chmod g-s .; setfacl -k .; {before}", OUTPUTS.join(" "));
    let mut expected = None;
    for way in ["plainly", "first", "second", "third"] {
        succeed(Command::new("sh").args(["-euc", &prepare]).current_dir(workspace.path()))?;
        let words = command_line.split(' ').map(str::to_owned);
        let launcher = client.pumphouse([""; 0]);
        let program = (way != "plainly").then(|| launcher.get_program().to_string_lossy().into_owned());
        let words: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).chain(program).chain(words).collect();
        let mut command = Command::new(&words[0]);
        let output = run(client.equip(command.args(&words[1..])).current_dir(workspace.path()))?;
        ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let found = states(&workspace)?;
        let expected = expected.get_or_insert_with(|| found.clone());
        ensure!(*expected == found, "{words:?} after `{before}`, {way}: {expected:?} and not {found:?}");
    }
    Ok(())
}

#[test]
fn old_outputs_are_filled_or_replaced_as_by_the_compiler() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    for command_line in COMMANDS {
        for before in BEFORE {
            check(&client, before, &[], command_line).with_context(|| command_line.to_owned())?;
        }
    }
    ensure!(client.stats()?.local_hits >= 40, "{:?}", client.stats()?);
    Ok(())
}

#[test]
fn results_of_workers_fill_and_replace_alike() -> Result<()> {
    let site = Pumphouse::up()?;
    for before in BEFORE {
        check(&site.client, before, &[], COMMANDS[0])?;
    }
    Ok(())
}

#[test]
fn outputs_have_the_group_of_whoever_compiles() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    for before in BEFORE {
        // The daemon is of another group.
        check(&client, "true", &[], COMMANDS[0])?;
        check(&client, before, &["setpriv", "--regid", "7", "--keep-groups"], COMMANDS[0])?;
    }
    Ok(())
}

#[test]
fn a_depfile_that_is_kept_open_is_the_one_that_is_written() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(&[("a.c", "int a;\n"), ("a.d", "old")])?;
    let inode = || std::fs::metadata(workspace.path().join("a.d")).map(|metadata| metadata.ino());
    let before = inode()?;
    for _ in 0..3 {
        let output = client.compile(workspace.path(), COMMANDS[0])?;
        ensure!(output.status.success() && workspace.read("a.d")?.starts_with(b"a.o: a.c"));
        ensure!(inode()? == before);
    }
    Ok(())
}
