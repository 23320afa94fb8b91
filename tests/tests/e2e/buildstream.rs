//! `BuildStream` as a client: it stages whole roots, builds them on a worker through a CAS daemon of its own, and keeps its
//! artifacts by the Remote Asset API.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use std::path::Path;
use std::process::Command;

const MANUAL: &str = "kind: manual
build-depends:
- base.bst
sources:
- kind: local
  path: files/source
config:
  build-commands:
  - cat greeting > out; pwd >> out; echo /* >> out
  install-commands:
  - mkdir -p %{install-root}/share; cp out %{install-root}/share/out
";

/// The directory of `BuildStream`'s programs, where `tests/tools` has put them: `tests/run` says it by `PATH`.
fn bst(configuration: &Path, project: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("bst");
    command.arg("--config").arg(configuration).arg("--no-interactive").args(arguments).current_dir(project);
    command
}

/// What `bst` is told, with files of its own below `directory`.
fn configuration(directory: &Path, server: &str) -> String {
    let place = |name: &str| format!("{name}: {}\n", directory.join(name).display());
    let places: String = ["cachedir", "logdir", "sourcedir", "workspacedir"].map(place).concat();
    let url = format!("url: http://{server}");
    format!(
        "{places}artifacts:\n  servers:\n  - {url}\n    push: true\nremote-execution:\n  execution-service:\n    {url}\n  \
         storage-service:\n    {url}\n  action-cache-service:\n    {url}\n"
    )
}

#[test]
fn buildstream_builds_whole_roots_on_a_worker_and_finds_its_artifacts_again() -> Result<()> {
    let site = Pumphouse::start("up", &["--slots", "2", "--input-root", "/"])?;
    let project = Workspace::new(&[
        ("project.conf", "name: hello\nmin-version: 2.0\nelement-path: elements\n"),
        ("elements/base.bst", "kind: import\nsources:\n- kind: local\n  path: files/base\n"),
        ("elements/hello.bst", MANUAL),
        ("files/source/greeting", "hello\n"),
    ])?;
    let programs = project.path().join("files/base/bin");
    std::fs::create_dir_all(&programs)?;
    std::fs::copy("/bin/busybox", programs.join("busybox")).context("busybox is the package busybox-static")?;
    for name in ["sh", "cat", "cp", "mkdir"] {
        std::os::unix::fs::symlink("busybox", programs.join(name))?;
    }
    for developer in ["one", "other"] {
        let own = site.root().join(format!("bst-{developer}"));
        std::fs::create_dir(&own)?;
        let file = own.join("buildstream.conf");
        std::fs::write(&file, configuration(&own, site.address()))?;
        let mut build = bst(&file, project.path(), &["build", "hello.bst"]);
        let output = run(&mut build).context("bst is installed by tests/tools; tests/run has it on PATH")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{developer}: {said}\n{}", site.server.log());
        let is_built = said.contains("SUCCESS Waiting for the remote build to complete");
        ensure!(is_built == (developer == "one"), "{developer}: only the first one builds it\n{said}");
        let out = own.join("out");
        let checkout = ["artifact", "checkout", "hello.bst", "--directory", &out.display().to_string()];
        succeed(&mut bst(&file, project.path(), &checkout))?;
        let made = std::fs::read_to_string(out.join("share/out"))?;
        let (greeting, rest) = made.split_once('\n').context("a line")?;
        ensure!(greeting == "hello" && rest.contains("/bin") && !rest.contains("/usr"), "{made}");
    }
    Ok(())
}
