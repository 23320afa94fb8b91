//! Correct or local: what is not understood, and what breaks, is compiled here, with a named reason and the right bytes.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::mount::SmallDisk;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

const FILES: &[(&str, &str)] = &[
    ("a.c", "#include \"a.h\"\nint a(void) { return A; }\n"),
    ("a.h", "#define A 1\n"),
    ("b.c", "int b;\n"),
    ("module.cc", "export module m;\n"),
    ("time.c", "const char *built = \"at \" __TIME__;\n"),
    ("pch.h", "#define PCH 1\n"),
    ("profiled.c", "int p(int x) { return x ? 1 : 2; }\n"),
];

/// Command lines that no worker gets, with the reason that `pumphouse stats` counts.
const LOCAL: &[(&str, &str)] = &[
    ("gcc -march=native -c a.c", "host-dependent"),
    ("gcc -c a.c b.c", "source-count"),
    ("gcc -c", "source-count"),
    ("gcc -c -o /dev/null a.c", "standard-stream"),
    ("gcc -c -S a.c -o -", "standard-stream"),
    ("gcc -c a.c -o", "malformed-flag"),
    ("gcc -c a.c -I", "malformed-flag"),
    ("gcc -c a.c -Wl,--as-needed -no-such-flag", "unknown-flag"),
    ("gcc -c a.c @no-such-file", "response-file"),
    ("gcc -fdump-tree-all -c a.c", "unsupported-flag"),
    // A compiled module holds the time at which it was made.
    ("SOURCE_DATE_EPOCH=1700000000 g++ -std=c++20 -fmodules-ts -c module.cc", "modules"),
];

/// Command lines that compile nothing: the compiler is simply run.
const NOT_COMPILES: &[&str] = &[
    "gcc -E a.c",
    "gcc -M a.c",
    "gcc -MM a.c",
    "gcc --version",
    "gcc -dumpmachine",
    "gcc -print-search-dirs",
    "gcc a.c -shared -fPIC -o liba.so",
    "clang-14 --version",
];

#[test]
fn what_is_no_compile_is_not_counted_as_one() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    for command_line in NOT_COMPILES {
        workspace.check(&site.client, command_line)?;
    }
    let stats = site.client.stats()?;
    let others = stats.compiles - stats.local_runs.get("not-a-compile").unwrap_or(&0);
    ensure!(others == 0, "{stats:?}");
    Ok(())
}

#[test]
fn a_precompiled_header_is_made_here() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    // No two of them are the same, so only its use can be compared.
    let output = site.client.compile(workspace.path(), "gcc -c pch.h -o pch.h.gch")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    workspace.check(&site.client, "gcc -c -include pch.h a.c")?;
    let stats = site.client.stats()?;
    ensure!(stats.local_runs.get("precompiled-header") == Some(&2), "{stats:?}");
    Ok(())
}

#[test]
fn what_is_not_understood_runs_here_under_a_name() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    let mut wrong = Vec::new();
    for (command_line, reason) in LOCAL {
        site.client.zero()?;
        if let Err(error) = workspace.check(&site.client, command_line) {
            wrong.push(format!("{error:#}"));
        }
        let stats = site.client.stats()?;
        if stats.local_runs.get(*reason) != Some(&1) || stats.remote_runs + stats.plain_runs != 0 {
            wrong.push(format!("{command_line}: not {reason}: {stats:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_time_of_day_is_never_remembered() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(FILES)?;
    for _ in 0..2 {
        let output = site.client.compile(workspace.path(), "gcc -c time.c")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let stats = site.client.stats()?;
    ensure!(stats.hits() == 0 && stats.compiles == 2, "{stats:?}");
    Ok(())
}

/// The object is the compiler's, and so is all that is said.
fn compiles_right(workspace: &Workspace, client: &Client, command_line: &str) -> Result<()> {
    let expected = workspace.plainly(command_line)?;
    let actual = workspace.through(client, command_line)?;
    ensure!(actual.code == Some(0), "{command_line}: {:?}\n{}", actual.code, actual.stderr);
    ensure!(actual.stderr == expected.stderr, "{}", actual.stderr);
    ensure!(actual.leaves_the_same(&expected), "{command_line}: {:?} {}", actual.files(), actual.stderr);
    Ok(())
}

#[test]
fn an_unreachable_server_leaves_the_compiles_here() -> Result<()> {
    // Bound and not listening: connections are refused, and no one else gets the port.
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), Some(&format!("grpc://127.0.0.1:{port}")))?;
    let workspace = Workspace::new(FILES)?;
    for command_line in ["gcc -c a.c", "gcc -c b.c", "gcc -O1 -c a.c", "gcc -O1 -c b.c"] {
        compiles_right(&workspace, &client, command_line)?;
    }
    let stats = client.stats()?;
    ensure!(stats.local() == 4, "{stats:?}");
    Ok(())
}

#[test]
fn a_hostile_server_costs_nothing_but_time() -> Result<()> {
    // One that answers rubbish, and one that never answers.
    for answers in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming().map_while(Result::ok) {
                let mut connection = connection;
                if answers {
                    let mut request = [0; 1024];
                    let _ = connection.read(&mut request);
                    let _ = connection.write_all(&[0x55; 4096]);
                }
                held.push(connection);
            }
        });
        let directory = tempfile::tempdir()?;
        let client = Client::new(directory.path(), Some(&format!("grpc://{address}")))?;
        let workspace = Workspace::new(FILES)?;
        for command_line in ["gcc -c a.c", "gcc -c b.c"] {
            compiles_right(&workspace, &client, command_line).with_context(|| format!("answers: {answers}"))?;
        }
        let stats = client.stats()?;
        ensure!(stats.local() == 2, "{stats:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_on_the_developers_side_is_survived() -> Result<()> {
    let site = Pumphouse::up()?;
    let disk = SmallDisk::new(&site.root().join("small"), 256)?;
    let workspace = Workspace::new(FILES)?;
    // Full from the beginning but for the socket and a few small files.
    let client = Client::new(disk.path(), Some(&site.remote()))?;
    fill(disk.path())?;
    for command_line in ["gcc -g -c a.c", "gcc -g -c b.c", "gcc -g -c a.c"] {
        compiles_right(&workspace, &client, command_line)?;
    }
    Ok(())
}

#[test]
fn a_full_disk_on_the_servers_side_is_survived() -> Result<()> {
    let root = tempfile::tempdir()?;
    // Too small for a compiler's programs.
    let disk = SmallDisk::new(&root.path().join("small"), 4096)?;
    let mut command = std::process::Command::new(pumphouse_tests::program::program()?);
    command.args(["up", "--listen", "127.0.0.1:0", "--dir"]).arg(disk.path());
    let server = pumphouse_tests::process::Service::start(&mut command, &root.path().join("log"))?;
    let address = server.says("listening on ")?;
    let client = Client::new(&root.path().join("client"), Some(&format!("grpc://{address}")))?;
    let workspace = Workspace::new(FILES)?;
    for command_line in ["gcc -g -c a.c", "gcc -g -c b.c", "gcc -g -c a.c"] {
        compiles_right(&workspace, &client, command_line)?;
    }
    Ok(())
}

fn fill(directory: &Path) -> Result<()> {
    let mut file = std::fs::File::create(directory.join("ballast"))?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

#[test]
fn a_full_disk_under_the_object_fails_as_the_compiler_does() -> Result<()> {
    let site = Pumphouse::up()?;
    let disk = SmallDisk::new(&site.root().join("small"), 64)?;
    fill(disk.path())?;
    let workspace = Workspace::new(FILES)?;
    let object = disk.path().join("a.o");
    let output = site.client.compile(workspace.path(), &format!("gcc -g -c a.c -o {}", object.display()))?;
    ensure!(!output.status.success(), "it did not fail");
    ensure!(!output.stderr.is_empty(), "it failed silently");
    // Nothing that looks like a finished object may be left.
    ensure!(std::fs::metadata(&object).map_or(0, |metadata| metadata.len()) == 0, "half an object is left");
    Ok(())
}

#[test]
fn corrupt_blobs_of_the_local_cache_are_noticed() -> Result<()> {
    for corrupt in [overwrite as fn(&Path) -> Result<()>, truncate, lengthen] {
        let site = Pumphouse::up()?;
        let workspace = Workspace::new(FILES)?;
        workspace.check(&site.client, "gcc -g -c a.c")?;
        site.client.stop()?;
        each_file(site.client.directory(), corrupt)?;
        compiles_right(&workspace, &site.client, "gcc -g -c a.c")?;
        // And again, from whatever is there by now.
        compiles_right(&workspace, &site.client, "gcc -g -c a.c")?;
    }
    Ok(())
}

#[test]
fn corrupt_blobs_of_the_server_are_noticed() -> Result<()> {
    for corrupt in [overwrite as fn(&Path) -> Result<()>, truncate, lengthen] {
        for restarts in [false, true] {
            let mut site = Pumphouse::up()?;
            let workspace = Workspace::new(FILES)?;
            workspace.check(&site.client, "gcc -g -c a.c")?;
            if restarts {
                site.server.terminate()?;
            }
            each_file(&site.storage(), corrupt)?;
            if restarts {
                site.restart("up")?;
            }
            let other = site.another_client("other")?;
            compiles_right(&workspace, &other, "gcc -g -c a.c")?;
            compiles_right(&workspace, &other, "gcc -g -c b.c")?;
        }
    }
    Ok(())
}

/// Applies `corrupt` to every regular file below `directory` but sockets and logs.
fn each_file(directory: &Path, corrupt: fn(&Path) -> Result<()>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each_file(&entry.path(), corrupt)?;
        } else if kind.is_file() {
            corrupt(&entry.path()).with_context(|| format!("corrupting {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Other bytes, as many.
fn overwrite(path: &Path) -> Result<()> {
    let bytes: Vec<u8> = std::fs::read(path)?.iter().map(|byte| byte ^ 0x20).collect();
    Ok(std::fs::File::options().write(true).open(path)?.write_all(&bytes)?)
}

/// The first half.
fn truncate(path: &Path) -> Result<()> {
    let file = std::fs::File::options().write(true).open(path)?;
    Ok(file.set_len(file.metadata()?.len() / 2)?)
}

/// A tail that does not belong to it.
fn lengthen(path: &Path) -> Result<()> {
    Ok(std::fs::File::options().append(true).open(path)?.write_all(b"tail")?)
}
