//! An idle daemon compiles hits again: right ones are confirmed, wrong ones are found, removed, reported and never given
//! again, and nobody notices but in the statistics.

use anyhow::{Context as _, Result, bail, ensure};
use pumphouse::local::{LocalCache, Lookup};
use pumphouse_proto::digest::Digest;
use pumphouse_tests::client::{Client, Stats};
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::program::program;
use pumphouse_tests::workspace::Workspace;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an audit may be in coming.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often the statistics are looked at, which have no event.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

const COMPILE: &str = "gcc -g -O2 -MD -Wall -c sub/a.c -o sub/a.o";

/// A developer whose every hit is compiled again.
struct Site {
    directory: TempDir,
    client: Client,
    workspace: Workspace,
}

impl Site {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("pumphouse.toml"), "audit = 1\n")?;
        let client = Client::new(directory.path(), None)?;
        let text = "#include <stdio.h>\n#include \"a.h\"\n#warning look\nint a(void) { return printf(\"%d\", A); }\n";
        let workspace = Workspace::new(&[("sub/a.c", text), ("sub/a.h", "#define A 1\n")])?;
        Ok(Self { directory, client, workspace })
    }

    fn compile(&self) -> Result<()> {
        let output = self.client.compile(self.workspace.path(), COMPILE)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until this many audits have ended, with or without a verdict.
    fn until_audited(&self, count: u64) -> Result<()> {
        self.until(|stats| stats.audits + stats.audits_open >= count).map(drop)
    }

    /// The statistics, once they say that.
    fn until(&self, is_there: impl Fn(&Stats) -> bool) -> Result<Stats> {
        let end = Instant::now() + DEADLINE;
        loop {
            let stats = self.client.stats()?;
            if is_there(&stats) {
                return Ok(stats);
            }
            if Instant::now() > end {
                bail!("too late: {stats:?}\n{}", std::fs::read_to_string(self.directory.path().join("daemon.log"))?);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The one entry of the cache: its action.
    fn action(&self) -> Result<Digest> {
        let mut found = Vec::new();
        for file in walk(&self.directory.path().join("cache"))? {
            let name = file.file_name().context("a name")?.to_string_lossy().into_owned();
            if let Some((rest, size)) = name.strip_suffix(".entry").and_then(|name| name.split_once('-')) {
                let first = file.parent().and_then(Path::file_name).context("a shard")?.to_string_lossy().into_owned();
                let hash = (0..64).step_by(2).map(|at| u8::from_str_radix(&format!("{first}{rest}")[at..at + 2], 16));
                let hash: Vec<u8> = hash.collect::<Result<_, _>>()?;
                found.push(Digest::new(hash.try_into().ok().context("a hash")?, size.parse()?));
            }
        }
        ensure!(found.len() == 1, "{found:?}");
        Ok(found[0])
    }

    /// Puts another object into the cache under the same action, as a compiler would have made it that saw other inputs.
    fn poison(&self, action: &Digest) -> Result<()> {
        let cache = LocalCache::open(&self.directory.path().join("cache"), 1 << 30)?;
        let Lookup::Hit(mut result) = cache.lookup(action) else { bail!("no entry") };
        let object = result.output_files.iter_mut().find(|file| file.path.ends_with("a.o")).context("an object")?;
        let mut content = object.contents.to_vec();
        *content.last_mut().context("an empty object")? ^= 1;
        object.digest = Some(Digest::of(&content).into());
        object.contents = content.into();
        cache.remove(action)?;
        cache.store(action, &result, &[])?;
        Ok(())
    }
}

fn walk(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(walk(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

#[test]
fn a_right_hit_is_confirmed_and_nothing_is_left_behind() -> Result<()> {
    let site = Site::new()?;
    site.compile()?;
    site.compile()?;
    let before: Vec<_> = walk(site.workspace.path())?;
    let object = site.workspace.path().join("sub/a.o");
    let (content, time) = (std::fs::read(&object)?, object.metadata()?.modified()?);
    site.until_audited(1)?;
    let stats = site.client.stats()?;
    ensure!((stats.audits, stats.audits_open, stats.audit_differences) == (1, 0, 0), "{stats:?}");
    ensure!(walk(site.workspace.path())? == before, "files appeared or went");
    ensure!((std::fs::read(&object)?, object.metadata()?.modified()?) == (content, time), "the object was touched");
    let left = std::fs::read_dir(site.directory.path())?.filter_map(Result::ok).map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("audit")).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn a_poisoned_entry_is_found_removed_and_never_believed_again() -> Result<()> {
    let site = Site::new()?;
    let expected = site.workspace.plainly(COMPILE)?;
    ensure!(site.workspace.through(&site.client, COMPILE)? == expected);
    site.poison(&site.action()?)?;
    let poisoned = site.workspace.through(&site.client, COMPILE)?;
    ensure!(poisoned != expected, "the poison has no effect, which shows nothing");
    site.until_audited(1)?;
    let stats = site.client.stats()?;
    ensure!((stats.audits, stats.audit_differences) == (1, 1), "{stats:?}");
    // The daemon does not give it again, and neither does the next one.
    for _ in 0..2 {
        let actual = site.workspace.through(&site.client, COMPILE)?;
        ensure!(actual == expected, "{actual:?}");
        ensure!(site.client.stats()?.local_runs.contains_key("distrusted"), "{:?}", site.client.stats()?);
        site.client.stop()?;
        site.client.zero()?;
    }
    // Both results and all inputs are there, and whoever asks is told.
    let reports = site.directory.path().join("audits");
    let kept = walk(&reports)?;
    for end in ["stored/0", "fresh/0", "sub/a.h", "report.txt"] {
        ensure!(kept.iter().any(|path| path.ends_with(end)), "{end} is not in {kept:?}");
    }
    let output = run(&mut site.client.pumphouse(["doctor"]))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("wrong result: "), "{said}");
    ensure!(said.contains("differs: sub/a.o"), "{said}");
    Ok(())
}

/// Another view of the file system, kept as long as this.
struct View(Child);

impl View {
    fn new() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "echo entered; read end"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let said = process.stdout.take().context("its output")?;
        ensure!(BufReader::new(said).lines().next().transpose()?.as_deref() == Some("entered"), "no namespace");
        Ok(Self(process))
    }

    fn compile(&self, site: &Site, line: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.0.id().to_string(), "sh", "-c"]);
        command.arg(format!("cd {} && {} {line}", site.workspace.path().display(), program()?.display()));
        site.client.equip(&mut command);
        succeed(&mut command).map(drop)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn nothing_is_believed_in_any_view_that_the_same_memory_may_have_made() -> Result<()> {
    let site = Site::new()?;
    let other = COMPILE.replace("a.c", "b.c").replace("a.o", "b.o");
    site.workspace.write("sub/b.c", "#include \"a.h\"\nint b = A;\n")?;
    // The daemon in the other view audits nothing. It knows both compiles.
    let settings = site.directory.path().join("pumphouse.toml");
    std::fs::write(&settings, "audit = 0\n")?;
    let view = View::new()?;
    view.compile(&site, COMPILE)?;
    let action = site.action()?;
    for line in [&other, COMPILE, &other] {
        view.compile(&site, line)?;
    }
    std::fs::write(&settings, "audit = 1\n")?;
    site.poison(&action)?;
    site.compile()?;
    site.until_audited(1)?;
    let stats = site.client.stats()?;
    ensure!((stats.audit_differences, stats.local_hits) == (1, 3), "{stats:?}");
    for line in [COMPILE, &other] {
        view.compile(&site, line)?;
        site.workspace.check(&site.client, line)?;
    }
    // A daemon writes down what it counted when it rests.
    let stats = site.until(|stats| stats.compiles == 9)?;
    // The wrong one is compiled each time. The other one is compiled once again, and is a hit then.
    ensure!(stats.local_runs.get("distrusted") == Some(&2) && stats.local_hits == 4, "{stats:?}");
    Ok(())
}

#[test]
fn what_changed_since_gives_no_verdict() -> Result<()> {
    let site = Site::new()?;
    site.compile()?;
    site.compile()?;
    site.workspace.write("sub/a.h", "#define A 2\n")?;
    site.until_audited(1)?;
    let stats = site.client.stats()?;
    ensure!((stats.audits, stats.audits_open) == (0, 1), "{stats:?}");
    Ok(())
}

#[test]
fn a_compile_that_differs_from_itself_is_not_audited() -> Result<()> {
    let site = Site::new()?;
    for _ in 0..3 {
        let output = site.client.compile(site.workspace.path(), "gcc -flto -w -c sub/a.c -o sub/a.o")?;
        ensure!(output.status.success());
    }
    // The one after it is audited, so that the first ones would have been by then.
    site.compile()?;
    site.compile()?;
    site.until_audited(1)?;
    let stats = site.client.stats()?;
    ensure!((stats.audits, stats.audits_open, stats.local_hits) == (1, 0, 3), "{stats:?}");
    Ok(())
}

#[test]
fn a_healthy_machine_has_nothing_for_the_doctor() -> Result<()> {
    let site = Site::new()?;
    let output = run(&mut site.client.pumphouse(["doctor"]))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}");
    for line in ["ok   state: ", "ok   daemon: ", "ok   server: ", "ok   audit: one in 1 hits"] {
        ensure!(said.contains(line), "{line:?} is not in\n{said}");
    }
    Ok(())
}
