//! Several hands at once: equal compiles, other compiles, plain compilers and edits while a compile runs. Whatever that
//! leaves, each command run alone afterwards gives its own object.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{Service, succeed};
use pumphouse_tests::processes::{Process, descends, until};
use pumphouse_tests::workspace::Workspace;
use rustix::process::{Signal, kill_process};
use std::process::Command;
use tempfile::TempDir;

/// How many lines of text the slow header has: enough for half a second of gcc.
const SLOW_LINES: usize = 60_000;

/// A source whose compile takes long enough for other things to happen meanwhile, and a client without a server.
struct Site {
    client: Client,
    workspace: Workspace,
    directory: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let slow = "int slow(int);\n".repeat(SLOW_LINES);
        let workspace = Workspace::new(&[
            ("a.c", "#include <slow.h>\n#include <h.h>\n#include <sub/w.h>\nint v = V, w = W;\n"),
            ("broken.c", "#include <slow.h>\nint broken(void) { return x; }\n"),
            ("late/slow.h", &slow),
            ("late/h.h", "#define V 1\n"),
            ("late/sub/w.h", "#define W 1\n"),
            ("early/other.h", ""),
        ])?;
        Ok(Self { client: Client::new(&directory.path().join("client"), None)?, workspace, directory })
    }

    fn start(&self, name: &str, command_line: &str) -> Result<Service> {
        let mut launcher = self.client.pumphouse(command_line.split(' '));
        Service::start(launcher.current_dir(self.workspace.path()), &self.directory.path().join(name))
    }

    /// Starts a compile and waits until the compiler proper is at it.
    fn start_compiler(&self, name: &str, command_line: &str) -> Result<Service> {
        let launcher = self.start(name, command_line)?;
        compiler_of(&launcher)?;
        Ok(launcher)
    }

    /// Runs a compile, and `act` while the compiler proper stands still, soon after its start: nothing is done too late,
    /// and nothing of it is seen half done.
    fn compile_while(&self, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let mut launcher = self.start("launcher", COMPILE)?;
        let compiler = compiler_of(&launcher)?.id;
        kill_process(compiler, Signal::STOP)?;
        let acted = act(self);
        kill_process(compiler, Signal::CONT)?;
        acted?;
        ensure!(launcher.wait()?.success(), "{}", launcher.log());
        Ok(())
    }

    fn plainly(&self, command_line: &str) -> Result<String> {
        succeed(Command::new("sh").args(["-euc", command_line]).current_dir(self.workspace.path()))
    }
}

/// Waits until a launcher's compiler proper runs.
fn compiler_of(launcher: &Service) -> Result<Process> {
    until(|process, all| process.command_line.contains("/cc1 ") && descends(process, launcher.id(), all))
}

/// Makes something appear.
type Appear = fn(&Site) -> Result<()>;

const COMPILE: &str = "gcc -Iearly -Ilate -c a.c -o a.o";
const BROKEN: &str = "gcc -Ilate -c broken.c -o broken.o";
/// The daemon refuses to understand it, and still must not take its object for another command's.
const REFUSED: &str = "gcc -Iearly -Ilate -march=native -DW -g -c a.c -o a.o";

#[test]
fn equal_compiles_at_once_are_one_run() -> Result<()> {
    let site = Site::new()?;
    let mut first = site.start_compiler("first", COMPILE)?;
    let mut others = (0..5).map(|number| site.start(&number.to_string(), COMPILE)).collect::<Result<Vec<_>>>()?;
    for launcher in others.iter_mut().chain([&mut first]) {
        ensure!(launcher.wait()?.success(), "{}", launcher.log());
    }
    let stats = site.client.stats()?;
    ensure!((stats.compiles, stats.local(), stats.local_hits) == (6, 1, 5), "{stats:?}");
    site.plainly("gcc -Iearly -Ilate -c a.c -o plain.o && cmp a.o plain.o").map(drop)
}

#[test]
fn whoever_waits_for_a_killed_compile_runs_it() -> Result<()> {
    let site = Site::new()?;
    let mut first = site.start_compiler("first", COMPILE)?;
    let mut others = (0..2).map(|number| site.start(&number.to_string(), COMPILE)).collect::<Result<Vec<_>>>()?;
    first.kill()?;
    for launcher in &mut others {
        ensure!(launcher.wait()?.success(), "{}", launcher.log());
    }
    site.plainly("gcc -Iearly -Ilate -c a.c -o plain.o && cmp a.o plain.o")?;
    let stats = site.client.stats()?;
    ensure!(stats.compiles >= 2 && stats.local() <= 2, "{stats:?}");
    Ok(())
}

#[test]
fn whoever_waits_for_a_failing_compile_fails_by_itself() -> Result<()> {
    let site = Site::new()?;
    let mut first = site.start_compiler("first", BROKEN)?;
    let mut second = site.start("second", BROKEN)?;
    ensure!(!first.wait()?.success() && !second.wait()?.success());
    ensure!(first.log() == second.log() && first.log().contains("error"), "{}\n{}", first.log(), second.log());
    Ok(())
}

#[test]
fn an_output_that_others_write_meanwhile_is_not_remembered() -> Result<()> {
    for other in [
        // In place, by a rename, and by a compiler that ends later or earlier.
        "printf other > a.o",
        "printf other > new.o; mv new.o a.o",
        "exec 3>a.o",
        "gcc -DW -xc -c /dev/null -o a.o",
        "ln -f other.h a.o",
    ] {
        let site = Site::new()?;
        site.workspace.write("other.h", "other")?;
        site.compile_while(|site| site.plainly(other).map(drop))?;
        site.plainly("rm -f a.o")?;
        site.workspace.check(&site.client, COMPILE).with_context(|| other.to_owned())?;
        site.workspace.check(&site.client, COMPILE).with_context(|| other.to_owned())?;
    }
    Ok(())
}

#[test]
fn an_unknown_compile_that_writes_the_same_output_is_noticed() -> Result<()> {
    let site = Site::new()?;
    for round in 0..4 {
        let mut known = site.start_compiler(&format!("known-{round}"), COMPILE)?;
        let mut refused = site.start(&format!("refused-{round}"), REFUSED)?;
        ensure!(known.wait()?.success() && refused.wait()?.success());
        site.plainly("rm -f a.o")?;
        site.workspace.check(&site.client, COMPILE)?;
        site.workspace.write("late/h.h", &format!("#define V {round}0\n"))?;
    }
    Ok(())
}

#[test]
fn what_stands_only_while_the_compile_runs_is_not_remembered() -> Result<()> {
    let cases: [(Appear, &str); 3] = [
        // A header in an earlier directory.
        (|site| site.workspace.write("early/h.h", "#define V 2\n"), "rm early/h.h"),
        // A directory.
        (|site| site.workspace.write("early/sub/w.h", "#define W 2\n"), "rm -r early/sub"),
        // A directory in the place of another, as `git checkout` and back.
        (
            |site| {
                site.workspace.write("instead/h.h", "#define V 2\n")?;
                site.plainly("mv early kept; mv instead early").map(drop)
            },
            "rm -r early; mv kept early",
        ),
    ];
    for (appear, vanish) in cases {
        let site = Site::new()?;
        site.compile_while(appear)?;
        site.plainly(vanish)?;
        let expected = site.workspace.plainly("gcc -Iearly -Ilate -c a.c -o plain.o")?;
        ensure!(
            expected.code == Some(0) && site.plainly("gcc -Iearly -Ilate -c a.c -o plain.o; cmp a.o plain.o").is_err(),
            "{vanish}: the compile must have read the header that stood for a moment"
        );
        site.plainly("rm a.o")?;
        site.workspace.check(&site.client, COMPILE).with_context(|| vanish.to_owned())?;
        site.workspace.write("late/h.h", "#define V 3\n")?;
        site.workspace.check(&site.client, COMPILE).with_context(|| vanish.to_owned())?;
    }
    Ok(())
}

#[test]
fn objects_that_appear_beside_the_source_forbid_nothing() -> Result<()> {
    let site = Site::new()?;
    let appear = "echo 'int b;' > b.c; gcc -c b.c; touch late/x early/y; rm late/x; mkdir sub; gcc -c b.c -o sub/a.o";
    site.compile_while(|site| site.plainly(appear).map(drop))?;
    site.workspace.check(&site.client, COMPILE)?;
    ensure!(site.client.stats()?.local_hits == 1, "{:?}", site.client.stats()?);
    Ok(())
}

#[test]
fn some_random_races_leave_nothing_wrong() -> Result<()> {
    let mut fuzzer = Command::new(env!("CARGO_BIN_EXE_races"));
    let said = succeed(fuzzer.args(["--seed", "5", "--cases", "12"]))?;
    ensure!(said.contains(" 0 wrong"), "{said}");
    Ok(())
}
