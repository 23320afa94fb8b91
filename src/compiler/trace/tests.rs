//! Real programs, traced.

use super::*;
use std::time::Instant;

struct Tree {
    scratch: Scratch,
    work: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let work = tempfile::tempdir().expect("temporary directory");
        Self { scratch: Scratch::new().expect("temporary directory"), work }
    }

    fn path(&self) -> PathBuf {
        self.work.path().canonicalize().expect("canonical")
    }

    fn trace(&self, program: &str, arguments: &[&str]) -> Result<Traced, TraceError> {
        self.trace_for(program, arguments, Duration::from_secs(60))
    }

    fn trace_for(&self, program: &str, arguments: &[&str], time: Duration) -> Result<Traced, TraceError> {
        let request = Request {
            program: program.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            directory: self.path(),
            environment: vec![("PATH".into(), "near:/nowhere:/usr/bin:/bin".into())],
        };
        let limits = Limits { time, bytes: 1 << 20 };
        trace(&Run { request: &request, input: b"int x;\n", scratch: self.scratch.path(), limits })
    }

    fn shell(&self, script: &str) -> Result<Traced, TraceError> {
        self.trace("/bin/sh", &["-c", script])
    }
}

fn outcomes(traced: &Traced, path: impl AsRef<Path>) -> Vec<Outcome> {
    traced.looks.iter().filter(|(looked, _)| *looked == path.as_ref()).map(|(_, outcome)| outcome).collect()
}

#[test]
fn a_whole_compile_is_followed_into_all_of_its_programs() {
    let tree = Tree::new();
    let object = tree.scratch.path().join("x.o");
    let traced = tree
        .trace("/usr/bin/gcc", &["-c", "-x", "c", "-", "-o", object.to_str().expect("text")])
        .expect("a compile can be traced");
    assert_eq!(traced.code, Some(0), "{}", String::from_utf8_lossy(&traced.standard_error));
    assert!(object.is_file());
    let programs: Vec<_> = traced.looks.programs().filter_map(Path::file_name).collect();
    assert!(programs.contains(&"cc1".as_ref()) && programs.contains(&"as".as_ref()), "{programs:?}");
    assert_eq!(outcomes(&traced, "/nowhere/as"), [Outcome::Absent]);
    assert_eq!(outcomes(&traced, tree.path().join("near/as")), [Outcome::Absent]);
    assert!(traced.looks.has_relative);
    assert_eq!(outcomes(&traced, "/etc/ld.so.cache"), [Outcome::Read]);
    let specs = |(path, outcome): (&Path, Outcome)| path.ends_with("specs") && outcome == Outcome::Absent;
    assert!(traced.looks.iter().any(specs));
    assert!(!traced.looks.iter().any(|(path, _)| path.starts_with(tree.scratch.path())));
}

#[test]
fn a_line_of_standard_input_that_a_message_would_quote_hangs_on_no_directory() {
    let tree = Tree::new();
    let request = ["-x", "c", "-E", "-dD", "-v", "-"];
    let traced = tree.trace("/usr/bin/gcc", &request).expect("a compile can be traced");
    assert!(!traced.looks.iter().any(|(path, _)| path.ends_with("<stdin>")));
}

#[test]
fn outcomes_are_told_apart() {
    let tree = Tree::new();
    std::fs::create_dir(tree.path().join("listed")).expect("create");
    std::fs::write(tree.path().join("read"), "x").expect("write");
    std::os::unix::fs::symlink("read", tree.path().join("link")).expect("link");
    let traced = tree
        .shell("cat read; echo listed/*; readlink link; test -e absent; cd listed; test -e deeper; echo \"said $?\" >&2; exit 3")
        .expect("traced");
    let of = |name: &str| outcomes(&traced, tree.path().join(name));
    assert_eq!(of("read"), [Outcome::Read]);
    assert!(of("listed").contains(&Outcome::Listed), "{:?}", of("listed"));
    assert_eq!(of("link"), [Outcome::Found]);
    assert_eq!(of("absent"), [Outcome::Absent]);
    assert_eq!(of("listed/deeper"), [Outcome::Absent]);
    assert_eq!(traced.code, Some(3));
    assert_eq!(traced.standard_error, b"said 1\n");
    assert!(traced.looks.has_relative);
}

#[test]
fn what_cannot_be_followed_is_refused_before_it_happens() {
    let tree = Tree::new();
    let refused = |script: &str| match tree.shell(script) {
        Err(TraceError::Unforeseen(unforeseen)) => unforeseen.deed,
        other => panic!("{script}: {other:?}"),
    };
    let file = tree.path().join("file");
    assert_eq!(refused("echo x > file"), Deed::Writes(file.clone()));
    assert_eq!(refused("python3 -B -c 'import os; os.mkdir(\"file\")'"), Deed::Writes(file.clone()));
    assert!(!file.exists());
    assert_eq!(refused("cat /proc/cpuinfo"), Deed::Reads("/proc/cpuinfo".into()));
    assert_eq!(refused("sleep 1000 & exit"), Deed::LeavesProcesses);
    assert_eq!(refused("python3 -B -c 'import socket; socket.socket(socket.AF_INET)'"), Deed::Connects);
    assert_eq!(refused("unshare -U true"), Deed::Escapes);
}

#[test]
fn threads_and_their_children_are_followed() {
    let tree = Tree::new();
    let script = "import threading, subprocess, os\n\
        def work(): subprocess.run(['/bin/sh', '-c', 'test -e from-a-thread']); os.path.exists('in-a-thread')\n\
        threads = [threading.Thread(target=work) for _ in range(8)]\n\
        [thread.start() for thread in threads]\n[thread.join() for thread in threads]";
    let traced = tree.trace("/usr/bin/python3", &["-B", "-c", script]).expect("traced");
    assert_eq!(traced.code, Some(0), "{}", String::from_utf8_lossy(&traced.standard_error));
    for name in ["from-a-thread", "in-a-thread"] {
        assert_eq!(outcomes(&traced, tree.path().join(name)), [Outcome::Absent], "{name}");
    }
}

#[test]
fn a_thread_that_becomes_another_program_is_followed() {
    let tree = Tree::new();
    let script = "import threading, os, time\n\
        threading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n\
        def work(): os.execv('/bin/sh', ['sh', '-c', 'test -e afterwards; /bin/true; exit 3'])\n\
        thread = threading.Thread(target=work); thread.start(); thread.join()";
    let traced = tree.trace("/usr/bin/python3", &["-B", "-c", script]).expect("traced");
    assert_eq!(traced.code, Some(3), "{}", String::from_utf8_lossy(&traced.standard_error));
    assert_eq!(outcomes(&traced, "/bin/sh"), [Outcome::Executed]);
    assert_eq!(outcomes(&traced, "/bin/true"), [Outcome::Executed]);
    assert_eq!(outcomes(&traced, tree.path().join("afterwards")), [Outcome::Absent]);
}

/// A file system that answers nothing any more.
struct Frozen {
    server: std::process::Child,
    place: PathBuf,
}

impl Frozen {
    fn new(tree: &Tree) -> Self {
        let [below, place] = ["below", "frozen"].map(|name| tree.path().join(name));
        std::fs::create_dir_all(below.join("deeper")).expect("create");
        std::fs::create_dir(&place).expect("create");
        let server = std::process::Command::new("mergerfs").arg("-f").arg(&below).arg(&place).spawn();
        let server = server.expect("mergerfs, of the package mergerfs");
        while !place.join("deeper").exists() {
            std::thread::yield_now();
        }
        let id = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(id, rustix::process::Signal::STOP).expect("its server");
        Self { server, place }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

#[test]
fn a_program_whose_directory_does_not_answer_is_given_up() {
    let tree = Tree::new();
    let frozen = Frozen::new(&tree);
    let request = Request {
        program: "/bin/true".into(),
        arguments: Vec::new(),
        directory: frozen.place.join("never-looked-for"),
        environment: Vec::new(),
    };
    let limits = Limits { time: Duration::from_millis(300), bytes: 1 << 20 };
    let start = Instant::now();
    let result = trace(&Run { request: &request, input: b"", scratch: tree.scratch.path(), limits });
    assert!(matches!(result, Err(TraceError::Failed(_))), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn limits_are_kept() {
    let tree = Tree::new();
    let start = Instant::now();
    let result = tree.trace_for("/bin/sh", &["-c", "sleep 1000 | sleep 1000"], Duration::from_millis(300));
    assert!(matches!(result, Err(TraceError::Failed(_))), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
    // Too much is a signal for the one that says it.
    let traced = tree.shell("exec yes").expect("traced");
    assert_eq!(traced.code, None);
    assert!(traced.standard_output.len() <= 1 << 20);
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let tree = Tree::new();
    let error = tree.trace("/nowhere/gcc", &[]).expect_err("nothing to run").to_string();
    assert_eq!(error, "No such file or directory (os error 2)");
}

#[test]
fn many_runs_at_once_do_not_wait_for_each_other_s_children() {
    let other = std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).spawn();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let tree = Tree::new();
                let traced = tree.shell(&format!("test -e name-{number}; exit {number}")).expect("traced");
                assert_eq!(traced.code, Some(number));
                assert_eq!(outcomes(&traced, tree.path().join(format!("name-{number}"))), [Outcome::Absent]);
            });
        }
    });
    let status = other.expect("started").wait().expect("nobody else waited for it");
    assert_eq!(status.code(), Some(7));
}

#[test]
fn this_machine_can_trace() {
    assert_eq!(availability(), Ok(()));
}
