//! A user namespace with a single id, as unprivileged `unshare -r` and containers without subordinate ids make it: server,
//! worker, launcher and daemon run in one as they do outside.

use anyhow::{Result, ensure};
use pumphouse_tests::process::{Service, succeed};
use pumphouse_tests::program::program;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user without any privilege.
const NOBODY: u32 = 65_534;

/// A directory of [`NOBODY`]'s, with a copy of the program that everybody can run.
struct Home {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Home {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))?;
        let copy = directory.path().join("pumphouse");
        std::fs::copy(program()?, &copy)?;
        chown(directory.path(), Some(NOBODY), Some(NOBODY))?;
        Ok(Self { program: copy, directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `words` as [`NOBODY`], who is root of a new namespace of its own with no other user.
    fn alone<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("setpriv");
        let user = NOBODY.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "unshare", "-r"]).args(words);
        command.current_dir(self.path()).env("PUMPHOUSE_DIR", self.path().join("state"));
        command.env("XDG_CONFIG_HOME", self.path()).env_remove("PUMPHOUSE_REMOTE");
        command
    }
}

#[test]
fn server_and_worker_serve_in_a_user_namespace_with_a_single_id() -> Result<()> {
    let home = Home::new()?;
    let program = home.program.display().to_string();
    let mut up = home.alone([&program, "up", "--listen", "127.0.0.1:0", "--dir", "server", "--slots", "2"]);
    let service = Service::start(&mut up, &home.path().join("log"))?;
    let remote = format!("grpc://{}", service.says("listening on ")?);
    let site = tempfile::tempdir()?;
    let client = pumphouse_tests::client::Client::new(site.path(), Some(&remote))?;
    let workspace = pumphouse_tests::workspace::Workspace::new(&[("a.c", "#include <stdio.h>\nint a = BUFSIZ;\n")])?;
    for line in ["gcc -g -c a.c", "gcc -O2 -c a.c -MD", "clang -c a.c"] {
        workspace.check(&client, line)?;
    }
    let stats = client.stats()?;
    ensure!(stats.remote_runs == 3 && stats.local() == 0, "{stats:?}\n{}", service.log());
    Ok(())
}

#[test]
fn launcher_and_daemon_work_in_a_user_namespace_with_a_single_id() -> Result<()> {
    let home = Home::new()?;
    std::fs::write(home.path().join("a.c"), "#include <stdio.h>\nint a = BUFSIZ;\n")?;
    let script = "set -e
        gcc -g -c a.c -o plain.o
        for object in first second; do ./pumphouse gcc -g -c a.c -o $object.o; cmp plain.o $object.o; done
        ./pumphouse gcc -g -c a.c -o first.o; cmp plain.o first.o
        ./pumphouse stats --json; ./pumphouse stop";
    let said = succeed(&mut home.alone(["sh", "-c", script]))?;
    let hits = said.lines().find(|line| line.contains("\"local_hits\"")).unwrap_or_default();
    ensure!(hits.contains('1') || hits.contains('2'), "{said}");
    ensure!(said.contains("\"compiles\": 3"), "{said}");
    Ok(())
}
