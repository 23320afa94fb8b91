//! Requests byte by byte: what is no request disturbs nobody.

use anyhow::{Result, ensure};
use pumphouse_tests::distcc::{Distcc, IncludeServer};
use pumphouse_tests::workspace::Workspace;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Sends `bytes` and gives all that comes back.
fn exchange(server: &IncludeServer, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(server.socket())?;
    // A request that is too long is not read to its end.
    let _ = stream.write_all(bytes);
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(answer)
}

fn request(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let directory = directory.display().to_string();
    let mut text = format!("CDIR{:08x}{directory}ARGC{:08x}", directory.len(), arguments.len());
    for argument in arguments {
        write!(text, "ARGV{:08x}{argument}", argument.len()).expect("a string grows");
    }
    text.into_bytes()
}

#[test]
fn what_is_no_request() -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    for bytes in [
        &b""[..],
        b"x",
        b"GET / HTTP/1.1\r\n\r\n",
        b"CDIRffffffff",
        b"CDIR00000001/ARGCffffffff",
        b"CDIR00000001/ARGC00000001ARGVffffffff",
        b"CDIR00000001/ARGC00000002ARGV00000003gcc",
        b"CDIR00000004\0\0\0\0ARGC00000000",
    ] {
        ensure!(exchange(&server, bytes)?.is_empty(), "{}", String::from_utf8_lossy(bytes));
    }
    ensure!(server.errors().contains("a request can't be understood: a number of arguments of 4294967295"));
    // Requests that are none of a compile get the empty answer, by which the client preprocesses.
    for arguments in [
        &[][..],
        &["gcc"],
        &["nonesuch", "-c", "a.c"],
        &["gcc", "-c", "a.c", "b.c"],
        &["gcc", "-c", "absent.c"],
        &["", ""],
    ] {
        let answer = exchange(&server, &request(workspace.path(), arguments))?;
        ensure!(answer == b"ARGC00000000", "{arguments:?}: {}", String::from_utf8_lossy(&answer));
    }
    ensure!(exchange(&server, &request(Path::new("/nowhere"), &["gcc", "-c", "a.c"]))? == b"ARGC00000000");
    // Many that say nothing, and stay.
    let silent: Vec<_> = (0..3).map(|_| UnixStream::connect(server.socket())).collect::<Result<_, _>>()?;
    // One that goes without its answer.
    UnixStream::connect(server.socket())?.write_all(&request(workspace.path(), &["gcc", "-c", "a.c"]))?;
    let answer = exchange(&server, &request(workspace.path(), &["gcc", "-c", "a.c"]))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure!(answer.contains("/a.c.lzo"), "{answer}");
    drop(silent);
    // Each path is below a root of three components.
    for path in answer.split("ARGV").skip(1) {
        let components: Vec<_> = path[8..].split('/').collect();
        ensure!(components[..3] == ["", "dev", "shm"] && components[3].contains(".include_server-"), "{path}");
    }
    ensure!(exchange(&server, &request(workspace.path(), &["gcc", "-c", "a.c"]))? == answer.as_bytes());
    Ok(())
}
