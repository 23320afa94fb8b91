//! Nothing is compiled twice: not for the same developer, not for the next one, not after restarts.

use anyhow::{Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;

const FILES: &[(&str, &str)] =
    &[("a.c", "#include \"a.h\"\nint a(void) { return A; }\n"), ("a.h", "#define A 1\n"), ("b.c", "int b;\n")];
const COMPILE: &str = "gcc -g -O2 -c a.c -o a.o";

#[test]
fn the_second_compile_is_a_local_hit() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    workspace.check(&site.client, COMPILE)?;
    site.client.zero()?;
    workspace.check(&site.client, COMPILE)?;
    let stats = site.client.stats()?;
    ensure!((stats.compiles, stats.local_hits) == (1, 1), "{stats:?}");
    ensure!((stats.bytes_uploaded, stats.bytes_downloaded) == (0, 0), "{stats:?}");
    Ok(())
}

#[test]
fn another_developer_hits_what_the_first_one_compiled() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    workspace.check(&site.client, COMPILE)?;
    let other = site.another_client("other")?;
    workspace.check(&other, COMPILE)?;
    let stats = other.stats()?;
    ensure!((stats.compiles, stats.remote_hits, stats.bytes_uploaded) == (1, 1, 0), "{stats:?}");
    Ok(())
}

#[test]
fn both_caches_outlive_their_processes() -> Result<()> {
    let mut site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    workspace.check(&site.client, COMPILE)?;
    site.client.stop()?;
    site.server.terminate()?;
    site.restart("up")?;
    workspace.check(&site.client, COMPILE)?;
    let stats = site.client.stats()?;
    ensure!(stats.local_hits >= 1 && stats.remote_runs <= 1, "{stats:?}");
    let other = site.another_client("other")?;
    workspace.check(&other, COMPILE)?;
    let stats = other.stats()?;
    ensure!(stats.remote_hits == 1, "{stats:?}");
    Ok(())
}

#[test]
fn the_local_cache_needs_no_server() -> Result<()> {
    let mut site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    workspace.check(&site.client, COMPILE)?;
    site.server.terminate()?;
    site.client.zero()?;
    workspace.check(&site.client, COMPILE)?;
    let stats = site.client.stats()?;
    ensure!(stats.local_hits == 1, "{stats:?}");
    Ok(())
}

#[test]
fn a_client_of_no_server_caches_what_it_compiles_itself() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let workspace = Workspace::new(FILES)?;
    for _ in 0..2 {
        let effect = workspace.through(&client, COMPILE)?;
        ensure!(effect.code == Some(0), "{effect:?}");
    }
    workspace.check(&client, COMPILE)?;
    let stats = client.stats()?;
    ensure!((stats.compiles, stats.local(), stats.local_hits) == (3, 1, 2), "{stats:?}");
    Ok(())
}

#[test]
fn writing_into_an_object_does_not_reach_the_cache() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    let expected = workspace.plainly(COMPILE)?;
    for _ in 0..3 {
        let output = site.client.compile(workspace.path(), COMPILE)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // As `strip` or `objcopy --add-section` do, in place.
        workspace.write("a.o", "overwritten")?;
    }
    std::fs::remove_file(workspace.path().join("a.o"))?;
    ensure!(workspace.through(&site.client, COMPILE)? == expected);
    Ok(())
}

#[test]
fn what_changes_the_result_changes_the_action() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    for command_line in
        ["gcc -c a.c -o a.o", "gcc -O2 -c a.c -o a.o", "gcc -DX -g -c a.c -o a.o", "gcc -g -c ./a.c -o a.o"]
    {
        workspace.check(&site.client, command_line)?;
    }
    let stats = site.client.stats()?;
    ensure!(stats.remote_runs == 4, "{stats:?}");
    // The directory is part of debug information: equal sources elsewhere are another compile.
    let elsewhere = Workspace::new(FILES)?;
    elsewhere.check(&site.client, "gcc -g -O2 -c a.c -o a.o")?;
    workspace.check(&site.client, "gcc -g -O2 -c a.c -o a.o")?;
    let stats = site.client.stats()?;
    ensure!((stats.remote_runs, stats.hits()) == (6, 0), "{stats:?}");
    Ok(())
}
