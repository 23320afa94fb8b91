//! The include server as a process: how it starts, what it leaves, and how distcc's own script starts it.

use anyhow::{Context as _, Result, ensure};
use pumphouse_tests::distcc::Distcc;
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::program::program;
use pumphouse_tests::workspace::Workspace;
use rustix::process::{Pid, test_kill_process};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

/// The client roots of a process.
fn roots(process: Pid) -> Result<Vec<String>> {
    let mark = format!(".include_server-{}-", process.as_raw_nonzero());
    let names = std::fs::read_dir("/dev/shm")?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<_>>>()?;
    Ok(names.into_iter().filter(|name| name.contains(&mark)).collect())
}

#[test]
fn nothing_is_left() -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &["-t"])?;
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    ensure!(server.scan(workspace.path(), "gcc -c a.c")?.contains("/a.c"));
    ensure!(!roots(server.process)?.is_empty());
    server.terminate()?;
    ensure!(roots(server.process)?.is_empty() && !server.socket().exists());
    ensure!(server.errors().starts_with("Include server timing. Elapsed: "), "{}", server.errors());
    Ok(())
}

#[test]
fn what_others_left() -> Result<()> {
    let farm = Distcc::start()?;
    // A process that has ended, and whose number is not given again so soon.
    let mut child = Command::new("true").spawn()?;
    child.wait()?;
    let orphan = format!("/dev/shm/tmpABCDEF.include_server-{}-1", child.id());
    std::fs::create_dir_all(format!("{orphan}/usr/src"))?;
    let alive = format!("/dev/shm/tmpABCDEF.include_server-{}-1", std::process::id());
    std::fs::create_dir(&alive)?;
    // A socket on which nobody listens any more.
    let directory = farm.root().join("stale");
    std::fs::create_dir(&directory)?;
    drop(UnixListener::bind(directory.join("socket"))?);
    let mut command = Command::new(program()?);
    command
        .args(["include-server", "--pid_file"])
        .arg(directory.join("pid"))
        .arg("--port")
        .arg(directory.join("socket"));
    let status = command.stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success() && UnixStream::connect(directory.join("socket")).is_ok());
    let number = std::fs::read_to_string(directory.join("pid"))?;
    succeed(Command::new("kill").arg(number.trim()))?;
    ensure!(!Path::new(&orphan).exists(), "{orphan}");
    ensure!(Path::new(&alive).exists(), "{alive}");
    std::fs::remove_dir(&alive)?;
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let workspace = Workspace::new(&[("file", "precious\n")])?;
    let check = |arguments: &[&str], variable: Option<(&str, &str)>, expect: &str| {
        let mut command = Command::new(program()?);
        command.arg("include-server").args(arguments).current_dir(workspace.path()).envs(variable);
        let output = run(&mut command)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains(expect), "{arguments:?}: {said}");
        Ok(())
    };
    check(&[], None, "--port <SOCKET>")?;
    check(&["--port", "file"], None, "--port file: there is a file which is not a socket")?;
    check(&["--port", "absent/socket"], None, "listening on the socket absent/socket: No such file or directory")?;
    check(&["--port", &"x".repeat(107)], None, "107 bytes, but distcc's clients accept at most 106")?;
    check(&["--port", "s", "--pid_file", "absent/pid"], None, "writing absent/pid: No such file or directory")?;
    check(
        &["--port", "s"],
        Some(("DISTCC_CLIENT_TMP", "/nowhere")),
        "DISTCC_CLIENT_TMP=/nowhere: not a directory that can be",
    )?;
    check(&["--port", "s"], Some(("DISTCC_CLIENT_TMP", "/a/b/c")), "must have one or two directory levels")?;
    check(&["--port", "s", "--path_observation_re", "("], None, "'(' for '--path_observation_re <RE>'")?;
    check(&["--port", "s", "--simple_algorithm"], None, "--simple_algorithm is not implemented")?;
    check(&["--shutdown"], Some(("INCLUDE_SERVER_PID", "x")), "INCLUDE_SERVER_PID=x is no process")?;
    ensure!(workspace.read("file")? == b"precious\n" && !workspace.path().join("s").exists());
    Ok(())
}

#[test]
fn start_and_shutdown_by_the_shell() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
    let script = "set -e\n\
                  eval \"$(\"$PROGRAM\" include-server --startup -t)\"\n\
                  trap '\"$PROGRAM\" include-server --shutdown' EXIT\n\
                  distcc gcc -c a.c -o a.o\n\
                  echo \"$INCLUDE_SERVER_PID $INCLUDE_SERVER_DIR\"\n\
                  printf '@' >\"$INCLUDE_SERVER_DIR/discrepancy_counter\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("PROGRAM", program()?).current_dir(workspace.path());
    command.env("DISTCC_HOSTS", farm.hosts()).env("DISTCC_FALLBACK", "0").env("DISTCC_DIR", farm.root());
    let output = run(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(said.contains("1 pump-mode compilation(s) failed") && said.contains("Include server timing."), "{said}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (process, directory) = text.trim().split_once(' ').context("two words")?;
    ensure!(!Path::new(directory).exists());
    let process = process.parse().ok().and_then(Pid::from_raw).context("a process")?;
    ensure!(test_kill_process(process).is_err() && roots(process)?.is_empty());
    Ok(())
}

/// Debian's `distcc-pump`, unmodified, as the manual page says.
#[test]
fn under_distccs_own_script() -> Result<()> {
    let farm = Distcc::start()?;
    let page = include_str!("../../../man/pumphouse-include-server.1");
    let module = page.split(".\\\" sitecustomize.py\n").nth(1).context("the page holds the module")?;
    let module = module.split(".fi\n").next().context("to its end")?.replace(".nf\n", "").replace("\\&", "");
    let workspace = Workspace::new(&[("a.c", "int a;\n"), ("python/sitecustomize.py", &module)])?;
    let bin = workspace.path().join("bin");
    std::fs::create_dir(&bin)?;
    std::os::unix::fs::symlink(program()?, bin.join("pumphouse"))?;
    let log = farm.root().join("client.log");
    let mut command = Command::new("distcc-pump");
    command.args(["distcc", "gcc", "-c", "a.c", "-o", "a.o"]).current_dir(workspace.path());
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH")?));
    command.env("PYTHONPATH", workspace.path().join("python")).env("INCLUDE_SERVER_ARGS", "-t");
    command.env("DISTCC_HOSTS", farm.hosts()).env("DISTCC_FALLBACK", "0").env("DISTCC_DIR", farm.root());
    command.env("DISTCC_LOG", &log).env("DISTCC_VERBOSE", "1");
    let output = run(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("Include server timing."), "{said}");
    ensure!(std::fs::read_to_string(&log)?.contains(",cpp,lzo completed ok"), "{said}");
    Ok(())
}
