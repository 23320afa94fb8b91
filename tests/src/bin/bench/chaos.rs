//! Builds while everything breaks: the server is killed and started again, workers are, and the network is cut, at random.
//!
//! This is no matter of time: it counts objects. Each is compared with what the compiler alone makes. Half of the builds have a
//! server whose store has room for the compiler, which comes as inputs, and for little else.

use crate::table::Table;
use anyhow::{Context, Result, bail, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{Service, run as run_command, succeed};
use pumphouse_tests::program::program;
use pumphouse_tests::random::Random;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How many builds there are where nobody says.
const BUILDS: usize = 50;
/// How many units each has.
const UNITS: usize = 300;
/// How many headers there are; each unit reads some of them.
const HEADERS: usize = 40;
/// One unit in so many is another one in each build.
const NEW: usize = 3;
/// What the smaller stores hold.
const SMALL_STORE: &str = "64M";
/// How long it is quiet between two faults, at most.
const QUIET: Duration = Duration::from_millis(800);

/// What happened in the builds.
#[derive(Debug, Default)]
struct Faults {
    servers: usize,
    workers: usize,
    cuts: usize,
}

/// A network that can be cut: what is connected through it ends, and so does what comes while it is cut.
struct Network {
    address: String,
    cut: watch::Sender<bool>,
    _runtime: tokio::runtime::Runtime,
}

impl Network {
    fn before(server: String) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?.to_string();
        let (cut, is_cut) = watch::channel(false);
        runtime.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut is_cut) = (server.clone(), is_cut.clone());
                tokio::spawn(async move {
                    if *is_cut.borrow_and_update() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(&server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, cut, _runtime: runtime })
    }
}

/// A server, its workers and the way to it.
struct Site {
    directory: tempfile::TempDir,
    arguments: Vec<&'static str>,
    address: String,
    server: Service,
    workers: Vec<Service>,
    network: Network,
}

impl Site {
    fn start(arguments: &[&'static str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (server, address) = serve(directory.path(), arguments, "127.0.0.1:0")?;
        let network = Network::before(address.clone())?;
        let mut site = Self { directory, arguments: arguments.to_vec(), address, server, workers: Vec::new(), network };
        for number in 0..2 {
            let worker = site.worker(number)?;
            site.workers.push(worker);
        }
        Ok(site)
    }

    fn worker(&self, number: usize) -> Result<Service> {
        let mut command = Command::new(program()?);
        let name = format!("worker-{number}");
        command.args(["worker", "--slots", "2", "--server", &format!("grpc://{}", self.address), "--dir"]);
        command.arg(self.directory.path().join(&name));
        Service::start(&mut command, &self.directory.path().join(name + ".log"))
    }

    /// Breaks something, and repairs it.
    fn break_something(&mut self, random: &mut Random, faults: &mut Faults) -> Result<()> {
        match random.below(3) {
            0 => {
                faults.servers += 1;
                self.server.kill()?;
                std::thread::sleep(Duration::from_millis(random.below(500) as u64));
                self.server = serve(self.directory.path(), &self.arguments, &self.address)?.0;
            }
            1 => {
                faults.workers += 1;
                let number = random.below(self.workers.len());
                self.workers[number].kill()?;
                self.workers[number] = self.worker(number)?;
            }
            _ => {
                faults.cuts += 1;
                self.network.cut.send_replace(true);
                std::thread::sleep(Duration::from_millis(random.below(1000) as u64));
                self.network.cut.send_replace(false);
            }
        }
        Ok(())
    }
}

fn serve(directory: &Path, arguments: &[&str], listen: &str) -> Result<(Service, String)> {
    let mut command = Command::new(program()?);
    command.args(["server", "--listen", listen, "--dir"]).arg(directory.join("server")).args(arguments);
    let server = Service::start(&mut command, &directory.join("server.log"))?;
    let address = server.says("listening on ")?;
    Ok((server, address))
}

/// Writes the sources, and a makefile that compiles them with `$(CC)` into `$(OUT)`.
fn write_sources(directory: &Path) -> Result<()> {
    for header in 0..HEADERS {
        let mut text = format!("#ifndef H{header}\n#define H{header}\n");
        for number in 0..40 {
            writeln!(text, "static inline int f{header}_{number}(int x) {{ return x * {number} + {header}; }}")?;
        }
        fs::write(directory.join(format!("h{header}.h")), text + "#endif\n")?;
    }
    let mut makefile = "OBJECTS =\n".to_owned();
    for unit in 0..UNITS {
        let mut text = String::new();
        for step in 0..8 {
            writeln!(text, "#include \"h{}.h\"", (unit * 7 + step * 5) % HEADERS)?;
        }
        let (one, other) = (unit * 7 % HEADERS, (unit * 7 + 5) % HEADERS);
        writeln!(
            text,
            "#include <stdio.h>\nint u{unit}(int x) {{ return f{one}_3(x) + f{other}_{}(x) + B; }}",
            unit % 40
        )?;
        fs::write(directory.join(format!("u{unit}.c")), text)?;
        let build = if unit.is_multiple_of(NEW) { "$(BUILD)" } else { "0" };
        write!(
            makefile,
            "OBJECTS += $(OUT)/u{unit}.o\n$(OUT)/u{unit}.o:\n\t$(CC) -O1 -g -DB={build} -c u{unit}.c -o $@\n"
        )?;
    }
    fs::write(directory.join("Makefile"), format!("all: all-of-it\n{makefile}all-of-it: $(OBJECTS)\n"))?;
    Ok(())
}

fn make(directory: &Path, build: usize, out: &str, compiler: &str) -> Result<Command> {
    let _ = fs::remove_dir_all(directory.join(out));
    fs::create_dir_all(directory.join(out))?;
    let mut command = Command::new("make");
    command.current_dir(directory).args(["-s", "-j8", "all"]);
    command.args([format!("CC={compiler}"), format!("OUT={out}"), format!("BUILD={build}")]);
    Ok(command)
}

/// One build through `site` while it breaks; gives how many objects are unlike the compiler's own.
fn build(site: &mut Site, sources: &Path, number: usize, faults: &mut Faults) -> Result<(usize, u64)> {
    succeed(&mut make(sources, number, "plain", "gcc")?)?;
    let client = Client::new(
        &site.directory.path().join(format!("client-{number}")),
        Some(&format!("grpc://{}", site.network.address)),
    )?
    .impatient();
    let compiler = format!("{} gcc", program()?.display());
    let mut command = make(sources, number, "through", &compiler)?;
    client.equip(&mut command);
    let is_built = AtomicBool::new(false);
    let mut random = Random::of_case(2026, number as u64);
    let output = std::thread::scope(|scope| {
        let building = scope.spawn(|| {
            let output = run_command(&mut command);
            is_built.store(true, Ordering::Release);
            output
        });
        while !is_built.load(Ordering::Acquire) {
            std::thread::sleep(QUIET * random.below(100) as u32 / 100);
            site.break_something(&mut random, faults)?;
        }
        building.join().map_err(|_| anyhow::anyhow!("the build panicked"))?
    })?;
    if !output.status.success() {
        bail!("build {number} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let object = |out: &str, unit: usize| fs::read(sources.join(out).join(format!("u{unit}.o")));
    let mut unlike = 0;
    for unit in 0..UNITS {
        unlike += usize::from(object("plain", unit).context("gcc's")? != object("through", unit).context("ours")?);
    }
    let stats = client.stats()?;
    Ok((unlike, stats.remote_runs + stats.remote_hits))
}

/// Builds as often as is asked for.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let builds = match arguments {
        [builds] => builds.parse().context("a number of builds")?,
        _ => BUILDS,
    };
    let sources = tempfile::tempdir()?;
    write_sources(sources.path())?;
    let mut table =
        Table::new(&["store", "builds", "objects", "unlike", "by the farm", "servers killed", "workers", "cuts"]);
    let mut wrong = 0;
    for (name, arguments) in
        [("large", &[][..]), ("small", &["--cas-size", SMALL_STORE, "--promised-lifetime", "0"][..])]
    {
        let mut site = Site::start(arguments)?;
        let (mut faults, mut unlike, mut remote) = (Faults::default(), 0, 0);
        for number in 0..builds.div_ceil(2) {
            let (wrong, done) = build(&mut site, sources.path(), number + 1, &mut faults)?;
            unlike += wrong;
            remote += done;
        }
        wrong += unlike;
        let objects = builds.div_ceil(2) * UNITS;
        let figures =
            [builds.div_ceil(2), objects, unlike, remote as usize, faults.servers, faults.workers, faults.cuts];
        let cells = std::iter::once(name.to_owned()).chain(figures.iter().map(ToString::to_string));
        table.row(cells);
    }
    table.print();
    ensure!(wrong == 0, "{wrong} objects are wrong");
    Ok(())
}
