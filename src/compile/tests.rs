//! Compiles from request to answer, with the real gcc, without a server and with servers that are not to be trusted.

use super::*;
use crate::files::stamp::watch::Watch;
use crate::ipc::Terminal;
use crate::ipc::vantage::Vantage;
use crate::stats::Counters;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

mod servers;

use servers::{Behaviour, serve};

/// A daemon's insides, a build directory, and what a launcher would do.
struct Site {
    _scratch: tempfile::TempDir,
    build: PathBuf,
    state: PathBuf,
    handler: Arc<Handler>,
    runtime: tokio::runtime::Runtime,
}

/// How a compile ended.
#[derive(Debug)]
struct Ended {
    /// `local-hit`, `remote-run`, …, or the reason why it was local.
    how: &'static str,
    status: i32,
    stderr: String,
    notice: String,
}

impl Site {
    fn new() -> Self {
        Self::with(|_| None)
    }

    fn with(remote: impl FnOnce(&tokio::runtime::Runtime) -> Option<String>) -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path().canonicalize().expect("resolved");
        let [build, state] = ["build", "state"].map(|name| base.join(name));
        fs::create_dir(&build).expect("created");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runs");
        let directories =
            Directories { state: state.clone(), socket: state.clone(), vantage: Vantage::own().expect("known") };
        directories.create().expect("created");
        let config = Config {
            remote: remote(&runtime),
            credentials: pumphouse_proto::connection::Credentials::default(),
            cache_size_bytes: 1 << 30,
            idle_timeout: Duration::from_secs(1),
            local_jobs: 1,
            log: String::new(),
            // What servers do here is what counts, however busy this machine is.
            patience: crate::config::Patience { percent: 1000 },
            audit: 0,
        };
        let statistics = Arc::new(Statistics::new(&directories));
        let handler =
            Arc::new(Handler::new(Arc::new(Settings::fixed(config)), &directories, statistics).expect("opened"));
        Self { _scratch: scratch, build, state, handler, runtime }
    }

    /// Writes a source, and waits until its time stamp is that of the past.
    fn write(&self, name: &str, content: &str) {
        let path = self.build.join(name);
        fs::write(&path, content).expect("written");
        while !Watch::of(&path).holds() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.build.join(name)).expect(name)
    }

    fn compile(&self, arguments: &[&str]) -> Ended {
        self.compile_with(arguments, || {})
    }

    /// Compiles as a launcher does; `meanwhile` happens while a local compiler runs.
    fn compile_with(&self, arguments: &[&str], meanwhile: impl FnOnce()) -> Ended {
        let metadata = fs::metadata(&self.build).expect("there");
        let request = CompileRequest {
            vantage: Vantage::own().expect("known"),
            working_directory: self.build.clone(),
            device: metadata.dev(),
            inode: metadata.ino(),
            umask: 0o022,
            group: None,
            terminal: Terminal::No,
            arguments: std::iter::once("gcc").chain(arguments.iter().copied()).map(OsString::from).collect(),
            environment: vec![("PATH".into(), std::env::var_os("PATH").expect("set"))],
        };
        let mut times = StageTimes::default();
        match self.runtime.block_on(self.handler.compile(Arc::new(request), &Arc::new(Wanted::by(None)), &mut times)) {
            Decision::Done { completed, outcome } => Ended {
                how: match outcome {
                    Outcome::LocalHit => "local-hit",
                    Outcome::RemoteHit => "remote-hit",
                    Outcome::RemoteRun => "remote-run",
                    Outcome::LocalRun(_) => unreachable!("the launcher runs it"),
                },
                status: completed.wait_status,
                stderr: String::from_utf8_lossy(&completed.stderr).into_owned(),
                notice: String::from_utf8_lossy(&completed.notice).into_owned(),
            },
            Decision::Local(plan) => self.run(*plan, arguments, meanwhile),
        }
    }

    fn run(&self, mut plan: LocalPlan, arguments: &[&str], meanwhile: impl FnOnce()) -> Ended {
        let compiler = if plan.compiler.as_os_str().is_empty() { Path::new("gcc") } else { &plan.compiler };
        let witness = plan.store.as_ref().map(|store| self.handler.witness_now(store));
        let output = Command::new(compiler).args(arguments).current_dir(&self.build).output().expect("gcc runs");
        meanwhile();
        let success = if output.status.success() { Success::Yes } else { Success::No };
        self.handler.local_run_ended(&plan, success, Duration::from_millis(100));
        let completed = Completed {
            wait_status: output.status.into_raw(),
            stdout: output.stdout,
            stderr: output.stderr,
            notice: vec![],
        };
        if let (Some(store), Some(witness), Success::Yes) = (plan.store.take(), witness, success) {
            self.handler.store_now(store, &completed, &witness);
        }
        Ended {
            how: plan.fallback.reason.name(),
            status: completed.wait_status,
            stderr: String::from_utf8_lossy(&completed.stderr).into_owned(),
            notice: String::from_utf8_lossy(&plan.notice).into_owned(),
        }
    }

    fn counters(&self) -> Counters {
        self.handler.statistics.flush().expect("written");
        crate::stats::read(&self.state).expect("read")
    }
}

const UNIT: [&str; 8] = ["-Wall", "-g", "-MMD", "-c", "a.c", "-o", "a.o", "-O1"];

#[test]
fn the_second_compile_is_a_hit_with_the_same_bytes_and_words() {
    let site = Site::new();
    site.write("a.h", "#define A 1\n");
    site.write("a.c", "#include \"a.h\"\n#warning look\nint a(void) { return A; }\n");
    let first = site.compile(&UNIT);
    assert_eq!((first.how, first.status), ("no-server", 0));
    let outputs = ["a.o", "a.d"].map(|name| site.read(name));
    for name in ["a.o", "a.d"] {
        fs::remove_file(site.build.join(name)).expect("removed");
    }
    let second = site.compile(&UNIT);
    assert_eq!((second.how, second.status), ("local-hit", 0));
    assert_eq!(["a.o", "a.d"].map(|name| site.read(name)), outputs);
    assert!(second.stderr.contains("#warning look"), "{}", second.stderr);
    assert_eq!(first.stderr, second.stderr);
    assert_eq!(fs::metadata(site.build.join("a.o")).expect("there").mode() & 0o777, 0o644);
}

#[test]
fn an_edit_is_seen_and_its_undoing_too() {
    let site = Site::new();
    site.write("a.h", "#define A 1\n");
    site.write("a.c", "#include \"a.h\"\nint a(void) { return A; }\n");
    site.compile(&UNIT);
    let object = site.read("a.o");
    site.write("a.h", "#define A 2\n");
    assert_eq!(site.compile(&UNIT).how, "no-server");
    assert_ne!(site.read("a.o"), object);
    site.write("a.h", "#define A 1\n");
    assert_eq!(site.compile(&UNIT).how, "local-hit");
    assert_eq!(site.read("a.o"), object);
}

#[test]
fn an_input_that_changes_while_the_compiler_runs_names_no_result() {
    let site = Site::new();
    site.write("a.c", "int a;\n");
    let source = site.build.join("a.c");
    site.compile_with(&UNIT, || fs::write(&source, "int b;\n").expect("written"));
    site.write("a.c", "int a;\n");
    assert_eq!(site.compile(&UNIT).how, "no-server");
    // Changed and changed back: the compiler may have read what was there in between.
    site.write("c.c", "int c;\n");
    let source = site.build.join("c.c");
    let unit = ["-c", "c.c"];
    site.compile_with(&unit, || fs::write(&source, "int c;\n").expect("written"));
    assert_eq!(site.compile(&unit).how, "no-server");
}

#[test]
fn an_error_is_the_compilers_own_and_never_cached() {
    let site = Site::new();
    site.write("a.c", "int a(void) { return nothing; }\n");
    for _ in 0..2 {
        let ended = site.compile(&UNIT);
        assert_eq!(ended.how, "no-server");
        assert_ne!(ended.status, 0);
        assert!(ended.stderr.contains("nothing"), "{}", ended.stderr);
    }
    site.write("a.c", "int a;\n");
    let ended = site.compile(&["-c", "a.c", "-o", "absent/a.o"]);
    assert_eq!(ended.how, "output-place");
    assert_ne!(ended.status, 0);
}

#[test]
fn what_depends_on_the_time_is_not_cached() {
    let site = Site::new();
    site.write("a.c", "const char *a = __TIME__;\n");
    assert_eq!(site.compile(&UNIT).how, "time-dependent");
    assert_eq!(site.compile(&UNIT).how, "time-dependent");
}

#[test]
fn the_first_of_results_that_differ_is_as_good_as_any() {
    let site = Site::new();
    site.write("a.c", "int a(void) { return 1; }\n");
    let unit = ["-flto", "--coverage", "-c", "a.c"];
    assert_eq!(site.compile(&unit).how, "no-server");
    let outputs = ["a.o", "a.gcno"].map(|name| site.read(name));
    for name in ["a.o", "a.gcno"] {
        fs::remove_file(site.build.join(name)).expect("removed");
    }
    assert_eq!(site.compile(&unit).how, "local-hit");
    assert_eq!(["a.o", "a.gcno"].map(|name| site.read(name)), outputs);
}

#[test]
fn a_corrupt_entry_is_named_once_and_costs_a_compile() {
    let site = Site::new();
    site.write("a.c", "int a;\n");
    site.compile(&UNIT);
    let entry =
        walk(&site.state.join(CACHE)).into_iter().find(|path| path.extension().is_some_and(|suffix| suffix == "entry"));
    let entry = entry.expect("an entry");
    fs::write(&entry, "rubbish").expect("damaged");
    let ended = site.compile(&UNIT);
    assert_eq!((ended.how, ended.status), ("no-server", 0));
    assert!(ended.notice.contains(&entry.display().to_string()), "{:?}", ended.notice);
    assert_eq!(site.counters().corrupt_entries, 1);
    assert_eq!(site.compile(&UNIT).how, "local-hit");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn an_absent_server_is_named_once() {
    let address = "grpc://127.0.0.1:1".to_owned();
    let site = Site::with(|_| Some(address.clone()));
    site.write("a.c", "int a;\n");
    let first = site.compile(&UNIT);
    assert_eq!((first.how, first.status), ("server-error", 0));
    assert!(first.notice.contains(&address), "{:?}", first.notice);
    assert_eq!(site.compile(&UNIT).how, "local-hit");
    let third = site.compile(&["-c", "a.c"]);
    assert_eq!((third.how, third.notice.as_str()), ("server-error", ""));
}

#[test]
fn an_address_that_is_none_is_named() {
    let site = Site::with(|_| Some("http://build.example".to_owned()));
    site.write("a.c", "int a;\n");
    let ended = site.compile(&UNIT);
    assert_eq!((ended.how, ended.status), ("server-error", 0));
    assert!(ended.notice.contains("http://build.example"), "{:?}", ended.notice);
}

#[test]
fn a_hostile_server_changes_nothing_but_the_time() {
    for behaviour in Behaviour::ALL {
        let site = Site::with(|runtime| Some(serve(runtime, behaviour)));
        site.write("a.c", "int a;\n");
        let ended = site.compile(&UNIT);
        assert_eq!((ended.how, ended.status), (behaviour.expected_reason(), 0), "{behaviour:?}: {ended:?}");
        assert_eq!(
            ended.notice.contains("grpc://127.0.0.1:"),
            behaviour.is_named(),
            "{behaviour:?}: {:?}",
            ended.notice
        );
        let object = site.read("a.o");
        let status = Command::new("gcc").args(UNIT).current_dir(&site.build).status();
        assert!(status.expect("gcc runs").success());
        assert_eq!(site.read("a.o"), object, "{behaviour:?}");
        let hidden = walk(&site.build).into_iter().filter(|path| path.to_string_lossy().contains("/.pumphouse"));
        assert_eq!(hidden.count(), 0, "{behaviour:?}");
    }
}

#[test]
fn discrepancies_demote_the_build() {
    let site = Site::with(|runtime| Some(serve(runtime, Behaviour::EveryCompileFails)));
    for number in 0..=DEMOTION_LIMIT {
        let name = format!("a{number}.c");
        site.write(&name, "int a;\n");
        let ended = site.compile(&["-c", &name]);
        let expect = if number < DEMOTION_LIMIT { "remote-failed" } else { "demoted" };
        assert_eq!((ended.how, ended.status), (expect, 0), "{number}");
        assert_eq!(!ended.notice.is_empty(), number == DEMOTION_LIMIT, "{number}: {:?}", ended.notice);
    }
    assert_eq!(site.counters().discrepancies, u64::from(DEMOTION_LIMIT));
}
