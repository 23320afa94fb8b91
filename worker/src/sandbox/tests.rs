//! The sandbox against real commands, hostile ones among them, at every level that this machine allows.
//!
//! Escapes are tried against files of a scratch directory only.

use super::{
    Command, ControlGroups, ExecRoot, Finished, Level, Limits, NEUTRAL_EXEC_ROOT, Outcome, Sandbox, SlotGroups,
};
use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Each sandbox is a slot of its own, with a user of its own.
static SLOTS: AtomicUsize = AtomicUsize::new(0);

const TIMEOUT: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        host_entries: ["/bin", "/etc", "/lib", "/lib64", "/usr"].iter().map(PathBuf::from).collect(),
        scratch_size_bytes: 16 * 1024 * 1024,
        scratch_files: 10_000,
        processes: 64,
        memory_size_bytes: None,
        output_size_bytes: 64 * 1024,
    }
}

struct Bench {
    sandbox: Sandbox,
    dir: TempDir,
}

impl Bench {
    async fn new(level: Level) -> Self {
        Self::with(level, &limits()).await
    }

    async fn with(level: Level, limits: &Limits) -> Self {
        Self::in_groups(level, limits, &SlotGroups::default()).await
    }

    async fn in_groups(level: Level, limits: &Limits, groups: &SlotGroups) -> Self {
        let dir = TempDir::new().expect("a scratch directory");
        for name in ["root", "stage"] {
            fs::create_dir(dir.path().join(name)).expect("created");
        }
        fs::write(dir.path().join("root/input"), "input\n").expect("written");
        fs::set_permissions(dir.path().join("root/input"), fs::Permissions::from_mode(0o444)).expect("set");
        let slot = SLOTS.fetch_add(1, Ordering::Relaxed);
        if rustix::process::geteuid().is_root() {
            let id = Some(super::action_id(slot));
            std::os::unix::fs::chown(dir.path().join("root"), id, id).expect("given away");
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        }
        let sandbox = Sandbox::start(level, limits, groups, slot, dir.path()).await.expect("the level can be had");
        Self { sandbox, dir }
    }

    async fn sh(&mut self, script: &str) -> Finished {
        self.run(&shell(script), TIMEOUT).await
    }

    async fn run(&mut self, command: &Command, timeout: Duration) -> Finished {
        self.sandbox.run(command, timeout, &CancellationToken::new()).await.expect("the sandbox works")
    }
}

fn shell(script: &str) -> Command {
    Command {
        arguments: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        exec_root: PathBuf::from(NEUTRAL_EXEC_ROOT),
        ..Command::default()
    }
}

fn stdout(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

fn read(root: Option<&ExecRoot>, path: &str) -> Option<String> {
    let flags = rustix::fs::OFlags::RDONLY;
    let file = rustix::fs::openat(root?.as_fd(), path, flags, rustix::fs::Mode::empty()).ok()?;
    let mut text = String::new();
    fs::File::from(file).read_to_string(&mut text).expect("readable");
    Some(text)
}

fn levels() -> Vec<Level> {
    if rustix::process::geteuid().is_root() {
        vec![Level::UserNamespaces, Level::Namespaces, Level::Chroot, Level::None]
    } else {
        vec![Level::UserNamespaces, Level::None]
    }
}

fn confined_levels() -> Vec<Level> {
    levels().into_iter().filter(|level| *level <= Level::Namespaces).collect()
}

#[tokio::test]
async fn commands_run_and_their_outputs_are_reached() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let finished = bench.sh("cat input; echo problem >&2; echo made > output; exit 3").await;
        assert_eq!(finished.outcome, Outcome::Exited(3), "{level:?} {finished:?}");
        assert_eq!((stdout(&finished).as_str(), &finished.stderr[..]), ("input\n", &b"problem\n"[..]));
        assert_eq!(read(finished.exec_root.as_ref(), "output").as_deref(), Some("made\n"));
        let again = bench.sh("ls").await;
        if level <= Level::Namespaces {
            assert_eq!(stdout(&again), "input\n", "nothing of an action is there for the next one");
        }
    }
}

#[tokio::test]
async fn inputs_stay_as_they_are() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let script = "chmod 666 input; echo bad >> input; rm -f input; mv input x; ln input y; echo bad > y; true";
        let finished = bench.sh(script).await;
        assert_eq!(finished.outcome, Outcome::Exited(0), "{finished:?}");
        let path = bench.dir.path().join("root/input");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "input\n", "{level:?}");
        assert_eq!(fs::metadata(&path).expect("still there").permissions().mode() & 0o777, 0o444);
        assert_eq!(fs::read_dir(bench.dir.path().join("root")).expect("readable").count(), 1);
    }
}

#[tokio::test]
async fn nothing_outside_can_be_written_or_seen() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let canary = bench.dir.path().join("canary");
        fs::write(&canary, "alive").expect("written");
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o666)).expect("set");
        let script = format!(
            "cat {0} 2>/dev/null && echo seen; echo dead > {0}; echo x > /usr/x && echo wrote; \
             echo x > /etc/x && echo wrote; echo x > /x && echo wrote; ls -A / /dev; ls /root /home /sys 2>/dev/null; true",
            canary.display()
        );
        let finished = bench.sh(&script).await;
        assert_eq!(fs::read_to_string(&canary).expect("still there"), "alive");
        let listed = stdout(&finished);
        let expect = "/:\nbin\ndev\netc\nexecroot\nlib\nlib64\nproc\ntmp\nusr\nvar\n\n\
                      /dev:\nfd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n";
        assert_eq!(listed, expect, "{level:?} {finished:?}");
    }
}

#[tokio::test]
async fn the_input_root_can_be_the_whole_root() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let root = bench.dir.path().join("root");
        copy_program(Path::new("/bin/sh"), &root);
        let command = Command {
            arguments: vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                "echo *; pwd; echo x > ../made; echo /etc/*".to_owned(),
            ],
            exec_root: PathBuf::from("/"),
            working_directory: PathBuf::from("home/me/build"),
            directories: vec![PathBuf::from("home/me/build/../obj")],
            ..Command::default()
        };
        let finished = bench.run(&command, TIMEOUT).await;
        assert_eq!(finished.outcome, Outcome::Exited(0), "{level:?} {finished:?}");
        assert_eq!(stdout(&finished), "*\n/home/me/build\n/etc/*\n");
        assert_eq!(read(finished.exec_root.as_ref(), "home/me/made").as_deref(), Some("x\n"));
    }
}

/// Copies a program and the libraries that it is linked with to the same paths below `root`.
fn copy_program(program: &Path, root: &Path) {
    let listed = std::process::Command::new("ldd").arg(program).output().expect("ldd of libc-bin runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for path in libraries.chain([program.to_owned()]) {
        let target = root.join(path.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(target.parent().expect("a parent")).expect("created");
        fs::copy(&path, &target).expect("copied");
    }
}

#[tokio::test]
async fn the_input_root_can_be_somewhere_below_the_root() {
    let mut bench = Bench::new(Level::UserNamespaces).await;
    let at = |path: &str| Command { exec_root: PathBuf::from(path), ..shell("pwd; cat input") };
    let finished = bench.run(&at("/home/me/project"), TIMEOUT).await;
    assert_eq!(stdout(&finished), "/home/me/project\ninput\n", "{finished:?}");
    for path in ["/usr/not/there", "/proc/x", "/dev", "/bin/x", "relative", "/a/../b"] {
        let finished = bench.run(&at(path), TIMEOUT).await;
        assert!(matches!(finished.outcome, Outcome::Refused(_)), "{path}: {finished:?}");
    }
}

#[tokio::test]
async fn the_environment_is_the_command_s() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let command = Command {
            arguments: vec!["env".to_owned()],
            environment: vec![("PATH".to_owned(), "/nowhere:/usr/bin".to_owned()), ("A".to_owned(), "b=c".to_owned())],
            ..shell("")
        };
        let finished = bench.run(&command, TIMEOUT).await;
        let mut lines: Vec<String> = stdout(&finished).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["A=b=c", "PATH=/nowhere:/usr/bin"], "{finished:?}");
        let finished = bench.sh("umask; id -u; cat; ulimit -c; hostname").await;
        assert!(stdout(&finished).starts_with("0022\n"), "{finished:?}");
        if level == Level::UserNamespaces {
            assert_eq!(stdout(&finished), "0022\n1000\n0\nlocalhost\n");
        }
    }
}

#[tokio::test]
async fn commands_that_cannot_start_are_refused() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let check = |program: &str, directory: &str| Command {
            arguments: vec![program.to_owned()],
            working_directory: PathBuf::from(directory),
            ..shell("")
        };
        for (program, directory) in
            [("nothing", ""), ("/no/such", ""), ("./input", ""), ("true", "missing"), ("true", "input")]
        {
            let finished = bench.run(&check(program, directory), TIMEOUT).await;
            assert!(matches!(finished.outcome, Outcome::Refused(_)), "{level:?} {program} {finished:?}");
        }
        let finished = bench.run(&check("true", ""), TIMEOUT).await;
        assert_eq!(finished.outcome, Outcome::Exited(0), "the sandbox goes on after refusals");
    }
}

#[tokio::test]
async fn everything_dies_with_the_command() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let marker = format!("{}.5", 100_000 + std::process::id());
        let script = format!("(setsid sleep {marker} &) ; (sleep {marker} & sleep {marker}) & echo started");
        let finished = bench.sh(&script).await;
        assert_eq!((finished.outcome.clone(), stdout(&finished).as_str()), (Outcome::Exited(0), "started\n"));
        assert_eq!(processes_named(&marker), 0, "{level:?}");
    }
}

#[tokio::test]
async fn time_runs_out_and_what_was_printed_stays() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let marker = format!("{}.6", 100_000 + std::process::id());
        let script = format!("echo before; (setsid sleep {marker} &); sleep {marker}");
        let started = Instant::now();
        let finished = bench.run(&shell(&script), Duration::from_millis(300)).await;
        assert_eq!((finished.outcome.clone(), stdout(&finished).as_str()), (Outcome::TimedOut, "before\n"));
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(processes_named(&marker), 0, "{level:?}");
    }
}

#[tokio::test]
async fn a_cancelled_command_is_killed() {
    let mut bench = Bench::new(Level::UserNamespaces).await;
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let finished = bench.sandbox.run(&shell("sleep 1000"), TIMEOUT, &cancelled).await.expect("killed");
    assert_eq!(finished.outcome, Outcome::Cancelled);
    assert_eq!(bench.sh("echo on").await.outcome, Outcome::Exited(0));
}

#[tokio::test]
async fn a_dropped_sandbox_leaves_nothing_running() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let marker = format!("{}.7", 100_000 + std::process::id());
        let script = format!("touch started; sleep {marker}");
        let command = shell(&script);
        let cancelled = CancellationToken::new();
        let run = bench.sandbox.run(&command, TIMEOUT, &cancelled);
        assert!(tokio::time::timeout(Duration::from_millis(300), run).await.is_err());
        assert!(!bench.sandbox.is_usable());
        drop(bench);
        assert_eq!(processes_named(&marker), 0, "{level:?}");
    }
}

fn processes_named(marker: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes()))
        .count()
}

#[tokio::test]
async fn outputs_have_limits() {
    for level in levels() {
        let mut bench = Bench::new(level).await;
        let finished = bench.sh("yes").await;
        assert_eq!(finished.outcome, Outcome::OutputTooLarge("standard output".to_owned()));
        assert_eq!(finished.stdout.len(), 64 * 1024);
        let finished = bench.sh("head -c 65536 /dev/zero >&2").await;
        assert_eq!((finished.outcome, finished.stderr.len()), (Outcome::Exited(0), 64 * 1024));
    }
}

#[tokio::test]
async fn the_disk_cannot_be_filled() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let finished = bench.sh("head -c 17000000 /dev/zero > big").await;
        assert_eq!(finished.outcome, Outcome::Exited(1), "{finished:?}");
        let finished = bench.sh("i=0; while [ $i -lt 11000 ] && : > f$i; do i=$((i+1)); done; echo $i").await;
        let created: u32 = stdout(&finished).trim().parse().unwrap_or_default();
        assert!(created < 10_000, "{finished:?}");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_contained() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let marker = format!("{}.8", 100_000 + std::process::id());
        let script = format!("i=0; while [ $i -lt 200 ]; do sleep {marker} & i=$((i+1)); done; sleep {marker}");
        let finished = bench.run(&shell(&script), Duration::from_secs(2)).await;
        let complaint = String::from_utf8_lossy(&finished.stderr).into_owned();
        assert!(complaint.contains("fork"), "{level:?} {finished:?}");
        assert_eq!(processes_named(&marker), 0);
    }
}

#[tokio::test]
async fn there_is_no_network() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script = format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)");
        let command = Command { arguments: vec!["python3".to_owned(), "-c".to_owned(), script], ..shell("") };
        let finished = bench.run(&command, TIMEOUT).await;
        let complaint = String::from_utf8_lossy(&finished.stderr).into_owned();
        assert!(complaint.contains("Network is unreachable"), "{level:?} {finished:?}");
    }
}

#[tokio::test]
async fn privileges_are_gone_for_good() {
    for level in confined_levels() {
        let mut bench = Bench::new(level).await;
        let unshare =
            if level == Level::UserNamespaces { "unshare -Ur true 2>/dev/null && echo namespace;" } else { "" };
        let script = "grep -E '^(CapPrm|CapEff|NoNewPrivs)' /proc/self/status; \
                      kill -9 1; kill -9 -1; mount -t tmpfs x /tmp 2>/dev/null && echo mounted; \
                      cat /etc/shadow 2>/dev/null; ls /proc | grep -c '^[0-9]'";
        let finished = bench.sh(&format!("{unshare}{script}")).await;
        let expect = "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n";
        assert!(stdout(&finished).starts_with(expect), "{level:?} {finished:?}");
        let rest = stdout(&finished)[expect.len()..].to_owned();
        let processes: u32 = rest.trim().parse().unwrap_or_else(|_| panic!("{level:?} {finished:?}"));
        assert!(processes <= 5, "only the action's own processes are seen: {rest}");
    }
}

#[tokio::test]
async fn memory_has_a_limit() {
    let hungry = "head -c 200000000 /dev/zero | tail -c 199999999 | wc -c";
    let limits = Limits { memory_size_bytes: Some(64 * 1024 * 1024), ..limits() };
    let mut bench = Bench::with(Level::UserNamespaces, &limits).await;
    let finished = bench.sh(hungry).await;
    assert!(!stdout(&finished).contains("199999999"), "without groups: {finished:?}");
    // Where this process may not make groups there are none to test.
    let Ok(groups) = ControlGroups::create(1, limits.memory_size_bytes, limits.processes) else { return };
    let before = groups.slot(0).refusals();
    let mut bench = Bench::in_groups(Level::UserNamespaces, &limits, &groups.slot(0)).await;
    let finished = bench.sh(hungry).await;
    assert!(!stdout(&finished).contains("199999999"), "with groups: {finished:?}");
    let after = groups.slot(0).refusals();
    assert!(after.killed_for_memory > before.killed_for_memory, "{after:?}");
    let finished = bench.sh("i=0; while [ $i -lt 200 ]; do sleep 100 & i=$((i+1)); done").await;
    assert_ne!(finished.outcome, Outcome::Exited(0));
}

#[test]
fn a_user_namespace_says_which_ids_it_has() {
    assert!(super::covers("         0          0 4294967295\n", 1_000_000));
    assert!(super::covers("0 1000 1\n1 100000 65536\n", 65536));
    assert!(!super::covers("0 1000 1\n1 100000 65536\n", 65537));
    assert!(!super::covers("0 65534 1\n", 1));
    assert!(!super::covers("", 0));
}
