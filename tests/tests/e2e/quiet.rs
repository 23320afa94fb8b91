//! A build's standard error is its compilers' alone, whatever goes wrong beside it: configure scripts read it. What went
//! wrong stands in `pumphouse stats`, and on a terminal.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::program::program;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A user with a home directory, and nothing else set.
struct User {
    root: TempDir,
    settings: Vec<(String, PathBuf)>,
}

impl User {
    fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("quiet-").tempdir()?;
        std::fs::write(root.path().join("conftest.c"), "#include <stdio.h>\nint main(void) { return 0; }\n")?;
        std::fs::create_dir(root.path().join("home"))?;
        let settings = vec![("HOME".to_owned(), root.path().join("home"))];
        let user = Self { root, settings };
        succeed(Command::new("gcc").args(["-c", "conftest.c", "-o", "plain.o"]).current_dir(user.path()))?;
        Ok(user)
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn set(&mut self, name: &str, value: impl Into<PathBuf>) {
        self.settings.push((name.to_owned(), value.into()));
    }

    /// Sets a home that nobody can make, and gives its path.
    fn no_home(&mut self) -> Result<String> {
        let name = self.path().file_name().context("a name")?.to_string_lossy().into_owned();
        let home = format!("/proc/{name}");
        self.set("HOME", &home);
        Ok(home)
    }

    fn pumphouse(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PUMPHOUSE_") || name.to_string_lossy().starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.path()).envs(self.settings.iter().cloned());
        Ok(command)
    }

    /// Compiles, and requires the compiler's object and silence.
    fn compiles_quietly(&self) -> Result<()> {
        let object = self.path().join("conftest.o");
        let _ = std::fs::remove_file(&object);
        let output = run(&mut self.pumphouse(&["gcc", "-c", "conftest.c", "-o", "conftest.o"])?)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
        ensure!(std::fs::read(&object)? == std::fs::read(self.path().join("plain.o"))?, "another object");
        Ok(())
    }

    fn stats(&self) -> Result<serde_json::Value> {
        let json = succeed(&mut self.pumphouse(&["stats", "--json"])?)?;
        serde_json::from_str(&json).with_context(|| json)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for arguments in [&["stop"][..], &["stats", "--zero"]] {
            if let Ok(mut command) = self.pumphouse(arguments) {
                let _ = run(&mut command);
            }
        }
    }
}

/// Has `user` compile twice, and requires that both launchers are counted as `reason` and that `stats` says `words`.
fn runs_without(user: &User, reason: &str, words: &str) -> Result<()> {
    user.compiles_quietly()?;
    user.compiles_quietly()?;
    let stats = user.stats()?;
    let counted: u64 =
        stats["without_daemon"].as_object().context("counts")?.values().filter_map(serde_json::Value::as_u64).sum();
    ensure!(counted == 2 && stats["without_daemon"][reason].as_u64() >= Some(1), "{stats}");
    let problems = stats["problems"].to_string();
    ensure!(problems.contains(words), "{words:?} is not in {problems}");
    Ok(())
}

#[test]
fn a_home_that_can_not_be_written_is_no_matter_for_the_compile() -> Result<()> {
    let mut user = User::new()?;
    let home = user.no_home()?;
    runs_without(&user, "directory", &home)
}

#[test]
fn a_state_directory_that_can_not_be_made_is_no_matter_for_the_compile() -> Result<()> {
    let mut user = User::new()?;
    let state = user.path().join("conftest.c/state");
    user.set("PUMPHOUSE_DIR", &state);
    runs_without(&user, "directory", &state.display().to_string())
}

#[test]
fn a_broken_configuration_is_no_matter_for_the_compile() -> Result<()> {
    let mut user = User::new()?;
    let file = user.path().join("home/.config/pumphouse.toml");
    std::fs::create_dir(user.path().join("home/.config"))?;
    std::fs::write(&file, "bogus = 1\n")?;
    user.compiles_quietly()?;
    user.compiles_quietly()?;
    let stats = user.stats()?;
    ensure!(stats["local_hits"] == 1, "{stats}");
    let problems = stats["problems"].to_string();
    ensure!(problems.contains(&file.display().to_string()) && problems.contains("bogus"), "{problems}");
    // A variable that can't be understood keeps the daemon from starting.
    succeed(&mut user.pumphouse(&["stop"])?)?;
    user.set("PUMPHOUSE_CACHE_SIZE", "big");
    runs_without(&user, "not-started", "PUMPHOUSE_CACHE_SIZE")
}

#[test]
fn a_lock_held_elsewhere_is_no_matter_for_the_compile() -> Result<()> {
    for (lock, reason) in [("start.lock", "locked"), ("daemon.lock", "not-started")] {
        let mut user = User::new()?;
        let state = user.path().join("state");
        user.set("PUMPHOUSE_DIR", &state);
        user.compiles_quietly()?;
        succeed(&mut user.pumphouse(&["stop"])?)?;
        let sockets = std::fs::read_dir(&state)?.filter_map(Result::ok);
        let socket = sockets.map(|entry| entry.path()).find(|path| path.join(lock).exists()).context("no lock")?;
        let held = std::fs::File::create(socket.join(lock))?;
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive)?;
        runs_without(&user, reason, lock)?;
    }
    Ok(())
}

#[test]
fn the_statistics_locked_elsewhere_hold_nobody_up() -> Result<()> {
    let mut user = User::new()?;
    let state = user.path().join("state");
    user.set("PUMPHOUSE_DIR", &state);
    user.compiles_quietly()?;
    let held = std::fs::File::create(state.join("stats.lock"))?;
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive)?;
    for _ in 0..3 {
        user.compiles_quietly()?;
        user.stats()?;
    }
    drop(held);
    ensure!(user.stats()?["compiles"] == 4, "{}", user.stats()?);
    Ok(())
}

#[test]
fn an_unreachable_server_is_told_of_in_the_statistics() -> Result<()> {
    let mut user = User::new()?;
    user.set("PUMPHOUSE_REMOTE", "grpc://127.0.0.1:1");
    user.compiles_quietly()?;
    user.compiles_quietly()?;
    let problems = user.stats()?["problems"].to_string();
    ensure!(problems.contains("grpc://127.0.0.1:1"), "{problems}");
    Ok(())
}

#[test]
fn a_terminal_is_told_once_in_a_build() -> Result<()> {
    let mut user = User::new()?;
    let home = user.no_home()?;
    let on_terminal = || -> Result<String> {
        let line = format!("'{}' gcc -c conftest.c -o conftest.o", program()?.display());
        let mut command = user.pumphouse(&[])?;
        let variables: Vec<_> = command
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(std::borrow::ToOwned::to_owned)))
            .collect();
        command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(user.path());
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        succeed(&mut command)
    };
    let said = [on_terminal()?, on_terminal()?, on_terminal()?];
    ensure!(said[0].contains(&format!("pumphouse: warning: {home}/.cache")), "{said:?}");
    ensure!(said[1].is_empty() && said[2].is_empty(), "{said:?}");
    Ok(())
}

#[test]
fn a_daemon_that_can_not_start_is_not_tried_by_every_compile() -> Result<()> {
    let mut user = User::new()?;
    user.set("PUMPHOUSE_CACHE_SIZE", "big");
    user.compiles_quietly()?;
    // Only what a launcher does itself is traced: the compiler takes its place, and the daemon would be a child.
    let trace = user.path().join("trace");
    let launcher = user.pumphouse(&[])?;
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&trace).arg(launcher.get_program()).args([
        "gcc",
        "-c",
        "conftest.c",
        "-o",
        "conftest.o",
    ]);
    command
        .current_dir(user.path())
        .env_remove("PUMPHOUSE_DIR")
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("XDG_CONFIG_HOME");
    command.env_remove("XDG_CACHE_HOME").envs(user.settings.iter().cloned());
    let start = Instant::now();
    succeed(&mut command)?;
    ensure!(start.elapsed() < Duration::from_secs(60), "it waited");
    let trace = std::fs::read_to_string(&trace)?;
    let own = trace.split_inclusive('\n').skip(1).take_while(|line| !line.contains("execve("));
    // What it takes to find the compiler hangs on how long PATH is.
    let own: Vec<_> = own.filter(|line| !line.contains("/gcc\"")).collect();
    let forks = |line: &&str| ["clone(", "clone3(", "fork("].iter().any(|call| line.contains(call));
    ensure!(own.len() < 75 && !own.iter().any(forks), "{} calls:\n{}", own.len(), own.concat());
    Ok(())
}
