//! SIGTERM: what runs is finished, nothing new is taken, and the exit code is 0.

use anyhow::{Result, ensure};
use pumphouse_tests::process::{SERVICE_DEADLINE, Service, wait};
use pumphouse_tests::program::program;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use rustix::process::Signal;

/// About a second of compiling, so that a signal meets it in the middle.
const SLOW: &str = "#include <map>\n#include <string>\n#include <regex>\n#include <iostream>\n\
    int main(int argc, char **argv) { std::map<std::string, int> m; std::regex r(argv[0]); \
    for (int i = 0; i < argc; i++) if (std::regex_match(argv[i], r)) m[argv[i]]++; for (auto &x : m) std::cout << x.first; }\n";

#[test]
fn each_service_leaves_when_it_is_told_to() -> Result<()> {
    for mut site in [Pumphouse::split()?, Pumphouse::up()?] {
        // Whatever can compile has started.
        let workspace = Workspace::new(&[("a.c", "int a;\n")])?;
        workspace.check(&site.client, "gcc -c a.c")?;
        for worker in &mut site.workers {
            worker.terminate()?;
        }
        site.server.terminate()?;
    }
    Ok(())
}

#[test]
fn an_interrupt_from_the_keyboard_ends_it_as_well() -> Result<()> {
    let mut site = Pumphouse::up()?;
    site.server.signal(Signal::INT)?;
    ensure!(site.server.wait()?.success(), "{}", site.server.log());
    Ok(())
}

/// Starts a slow compile, tells `pick`ed service to leave as soon as an action runs, and gives the site back.
fn drain(mut site: Pumphouse, pick: fn(&mut Pumphouse) -> &mut Service) -> Result<(Pumphouse, Workspace)> {
    let workspace = Workspace::new(&[("slow.cc", SLOW)])?;
    let expected = workspace.plainly("g++ -O2 -g -c slow.cc")?;
    let mut command = site.client.pumphouse(["g++", "-O2", "-g", "-c", "slow.cc"]);
    let mut compile = command.current_dir(workspace.path()).spawn()?;
    site.until_an_action_runs()?;
    pick(&mut site).terminate()?;
    let status = wait(&mut compile, SERVICE_DEADLINE)?;
    ensure!(status.is_some_and(|status| status.success()), "{status:?}\n{}", site.server.log());
    std::fs::rename(workspace.path().join("slow.o"), workspace.path().join("got.o"))?;
    let again = workspace.plainly("g++ -O2 -g -c slow.cc -o slow.o")?;
    ensure!(again == expected);
    Ok((site, workspace))
}

#[test]
fn a_draining_worker_finishes_what_it_runs() -> Result<()> {
    let (site, _workspace) = drain(Pumphouse::split()?, |site| &mut site.workers[0])?;
    let stats = site.client.stats()?;
    ensure!((stats.remote_runs, stats.local()) == (1, 0), "{stats:?}\n{}", site.server.log());
    Ok(())
}

#[test]
fn a_draining_site_leaves_no_compile_undone() -> Result<()> {
    let (site, _workspace) = drain(Pumphouse::up()?, |site| &mut site.server)?;
    let stats = site.client.stats()?;
    ensure!(stats.compiles == 1 && stats.failed == 0, "{stats:?}");
    Ok(())
}

#[test]
fn a_second_service_at_the_same_address_says_so() -> Result<()> {
    let site = Pumphouse::up()?;
    let directory = tempfile::tempdir()?;
    let mut command = std::process::Command::new(program()?);
    command.args(["up", "--listen", site.address(), "--dir"]).arg(directory.path());
    let output = pumphouse_tests::process::run(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains(site.address()), "{said}");
    Ok(())
}
