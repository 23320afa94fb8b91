//! What a hit costs: wall and processor time of one compile that was done before, beside ccache and sccache.
//!
//! Each contender answers the same command lines, in turns, so that the machine's moods hit all alike. The processor
//! time of daemons counts: it is paid on the same machine.

use crate::table::Table;
use crate::usage::{children, milliseconds, process, quantile, ratio};
use anyhow::{Context, Result, ensure};
use pumphouse_tests::process::succeed;
use pumphouse_tests::processes::processes;
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::workspace::Workspace;
use rustix::process::Pid;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Hits of each contender and each source.
const HITS: usize = 400;

/// Hits of one contender before the next one's turn.
const TURN: usize = 20;

const SOURCES: &[(&str, &str)] = &[
    ("small.c", "#include <stdio.h>\nint main(void) { return puts(\"hello\"); }\n"),
    (
        "large.cc",
        "#include <algorithm>\n#include <chrono>\n#include <filesystem>\n#include <functional>\n#include <future>\n\
         #include <iostream>\n#include <map>\n#include <memory>\n#include <random>\n#include <regex>\n#include <set>\n\
         #include <string>\n#include <thread>\n#include <unordered_map>\n#include <vector>\n\
         int main() { std::map<int, std::string> m; return int(m.size()); }\n",
    ),
];

const COMPILES: &[[&str; 6]] =
    &[["gcc", "-O2", "-c", "small.c", "-o", "small.o"], ["g++", "-O2", "-c", "large.cc", "-o", "large.o"]];

/// The command that answers a compile of these words.
type Answer = Box<dyn Fn(&[&str]) -> Command>;

/// What answers a compile, and what of it stays running.
struct Contender {
    name: &'static str,
    command: Answer,
    daemon: Option<Pid>,
    wall: Vec<Duration>,
    cpu: Duration,
    daemon_cpu: Duration,
}

impl Contender {
    fn new(name: &'static str, command: impl Fn(&[&str]) -> Command + 'static) -> Self {
        let (wall, cpu, daemon_cpu) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        Self { name, command: Box::new(command), daemon: None, wall, cpu, daemon_cpu }
    }

    /// Answers `count` compiles and adds what they cost.
    fn turn(&mut self, words: &[&str], count: usize) -> Result<()> {
        let daemon_before = self.daemon.map(process).transpose()?;
        let before = children()?;
        for _ in 0..count {
            let mut command = (self.command)(words);
            let start = Instant::now();
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
            self.wall.push(start.elapsed());
            ensure!(status.success(), "{command:?}: {status}");
        }
        self.cpu += children()?.saturating_sub(before);
        if let (Some(daemon), Some(before)) = (self.daemon, daemon_before) {
            self.daemon_cpu += process(daemon)?.saturating_sub(before);
        }
        Ok(())
    }
}

/// Prints the table.
pub(crate) fn run() -> Result<()> {
    let site = Pumphouse::up()?;
    let workspace = Workspace::new(SOURCES)?;
    let mut contenders = contenders(&site, &workspace)?;
    for compile in COMPILES {
        let headers = succeed(Command::new(compile[0]).args(["-M", compile[3]]).current_dir(workspace.path()))?;
        println!("{}: {} headers", compile[3], headers.split_whitespace().filter(|word| *word != "\\").count() - 2);
        for contender in &mut contenders {
            // The first compile fills the cache, the second one warms the way to it.
            contender.turn(compile, 3)?;
        }
        find_daemons(&site, &mut contenders)?;
        for contender in &mut contenders {
            (contender.wall, contender.cpu, contender.daemon_cpu) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        }
        site.client.zero()?;
        for _ in 0..HITS / TURN {
            for contender in &mut contenders {
                contender.turn(compile, TURN)?;
            }
        }
        let stats = site.client.stats()?;
        ensure!(stats.hits() == HITS as u64, "not all were hits: {stats:?}");
        print(&mut contenders);
    }
    Ok(())
}

fn contenders(site: &Pumphouse, workspace: &Workspace) -> Result<Vec<Contender>> {
    let at = workspace.path().to_owned();
    let within = move |mut command: Command| {
        command.current_dir(&at);
        command
    };
    let equipped = |program: &str, variables: Vec<(&'static str, OsString)>| {
        let (within, program) = (within.clone(), program.to_owned());
        move |words: &[&str]| {
            let mut command = Command::new(&program);
            command.args(words).envs(variables.iter().cloned());
            within(command)
        }
    };
    let floor = within.clone();
    let port = free_port()?.to_string();
    let own = pumphouse_tests::program::program()?.display().to_string();
    Ok(vec![
        Contender::new("spawning /bin/true", move |_| floor(Command::new("/bin/true"))),
        Contender::new(
            "pumphouse",
            equipped(
                &own,
                vec![("PUMPHOUSE_DIR", site.client.directory().into()), ("PUMPHOUSE_REMOTE", site.remote().into())],
            ),
        ),
        Contender::new("ccache", equipped("ccache", vec![("CCACHE_DIR", site.root().join("ccache").into())])),
        Contender::new(
            "sccache",
            equipped(
                "sccache",
                vec![
                    ("SCCACHE_DIR", site.root().join("sccache").into()),
                    ("SCCACHE_SERVER_PORT", port.into()),
                    // Its server leaves by itself soon after the bench.
                    ("SCCACHE_IDLE_TIMEOUT", "60".into()),
                ],
            ),
        ),
    ])
}

/// A port that nobody uses at this moment.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn find_daemons(site: &Pumphouse, contenders: &mut [Contender]) -> Result<()> {
    let cache = format!("SCCACHE_DIR={}", site.root().join("sccache").display());
    for contender in contenders {
        contender.daemon = match contender.name {
            "pumphouse" => Some(site.client.daemon()?.context("pumphouse's daemon does not run")?),
            "sccache" => Some(
                processes()?
                    .into_iter()
                    .find(|process| process.environment.lines().any(|line| line == cache))
                    .context("sccache's server does not run")?
                    .id,
            ),
            _ => None,
        };
    }
    Ok(())
}

fn print(contenders: &mut [Contender]) {
    let mut table =
        Table::new(&["a hit", "wall min", "wall p50", "wall p95", "cpu", "daemon cpu", "cpu in all", "ratio"]);
    let total = |contender: &Contender| (contender.cpu + contender.daemon_cpu) / HITS as u32;
    let own = contenders.iter().find(|contender| contender.name == "pumphouse").map(total).unwrap_or_default();
    for contender in contenders {
        let total = total(contender);
        table.row([
            contender.name.to_owned(),
            milliseconds(quantile(&mut contender.wall, 0.0)),
            milliseconds(quantile(&mut contender.wall, 0.5)),
            milliseconds(quantile(&mut contender.wall, 0.95)),
            milliseconds(contender.cpu / HITS as u32),
            milliseconds(contender.daemon_cpu / HITS as u32),
            milliseconds(total),
            ratio(own, total),
        ]);
    }
    table.print();
}
