//! Time stamps that prove little: whole seconds, stamps that can be set back, file systems of other programs and of servers.
//! An edit that `stat` does not show, or not yet, is seen by the next compile all the same.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::mount::{Image, Served, TWO_SECONDS, WHOLE_SECONDS};
use pumphouse_tests::nfs::{on_a_kernel_with, on_a_machine_with_nfs};
use pumphouse_tests::process::{SERVICE_DEADLINE, succeed};
use pumphouse_tests::program::program;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// How many edits of each kind follow each other at once.
const EDITS: u32 = 12;

/// Sources in a place of their own, objects elsewhere.
struct Site {
    client: Client,
    sources: PathBuf,
    objects: TempDir,
}

impl Site {
    fn new(sources: &Path) -> Result<Self> {
        for directory in ["first", "second"] {
            fs::create_dir_all(sources.join(directory))?;
        }
        let objects = tempfile::tempdir()?;
        let client = Client::new(&objects.path().join("client"), None)?;
        let site = Self { client, sources: sources.to_owned(), objects };
        site.write("a.c", "#include \"h.h\"\n#include <shadowed.h>\nint numbers[] = { H, SHADOWED };\n")?;
        site.write("h.h", "#define H 100\n")?;
        site.write("second/shadowed.h", "#define SHADOWED 1\n")?;
        Ok(site)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.sources.join(name), text).with_context(|| format!("writing {name}"))
    }

    /// What a compile through `pumphouse` gives.
    fn compile(&self) -> Result<Vec<u8>> {
        let object = self.objects.path().join("a.o");
        let line = format!("gcc -Ifirst -Isecond -c a.c -o {}", object.display());
        succeed(self.client.pumphouse(line.split(' ')).current_dir(&self.sources))?;
        Ok(fs::read(object)?)
    }

    /// What the compiler gives.
    fn plainly(&self) -> Result<Vec<u8>> {
        let object = self.objects.path().join("plain.o");
        let arguments = ["-Ifirst", "-Isecond", "-c", "a.c", "-o"];
        succeed(Command::new("gcc").args(arguments).arg(&object).current_dir(&self.sources))?;
        Ok(fs::read(object)?)
    }

    /// Requires that a compile gives what the compiler gives.
    fn check(&self, what: &str) -> Result<()> {
        let actual = self.compile()?;
        ensure!(self.plainly()? == actual, "{what}: another object than the compiler's");
        Ok(())
    }

    /// Compiles until a result comes from the cache.
    fn until_remembered(&self) -> Result<()> {
        let end = Instant::now() + SERVICE_DEADLINE;
        self.client.zero()?;
        while self.client.stats()?.local_hits == 0 {
            ensure!(Instant::now() < end, "nothing is ever remembered: {:?}", self.client.stats()?);
            self.check("while it settles")?;
        }
        Ok(())
    }

    /// Edits one after another through `editor`, which shows the same files, each at once after the last look.
    fn check_edits(&self, editor: &Path) -> Result<()> {
        let at = |name: &str| editor.join(name);
        for number in 0..EDITS {
            fs::write(at("h.h"), format!("#define H {}\n", 200 + number))?;
            self.check(&format!("edit {number} in place"))?;
        }
        for number in 0..EDITS {
            fs::write(at("next.h"), format!("#define H {}\n", 300 + number))?;
            fs::rename(at("next.h"), at("h.h"))?;
            self.check(&format!("file {number} renamed over"))?;
        }
        for number in 0..EDITS {
            fs::write(at("first/shadowed.h"), format!("#define SHADOWED {}\n", 400 + number))?;
            self.check(&format!("header {number} added"))?;
            fs::remove_file(at("first/shadowed.h"))?;
            self.check(&format!("header {number} removed"))?;
        }
        Ok(())
    }
}

#[test]
fn an_edit_within_a_whole_second_is_seen() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let image = Image::new(directory.path(), WHOLE_SECONDS)?;
    let site = Site::new(image.path())?;
    site.check("at first")?;
    site.check_edits(image.path())?;
    site.until_remembered()?;
    site.check_edits(image.path())
}

/// FAT stamps by two seconds. Each pair of edits falls into them, as long as a compile takes less.
#[test]
fn an_edit_on_a_disk_that_counts_in_two_seconds_is_seen() -> Result<()> {
    let test = "time_stamps::an_edit_on_a_disk_that_counts_in_two_seconds_is_seen";
    on_a_kernel_with("vfat", test, || {
        let directory = tempfile::tempdir()?;
        let image = Image::new(directory.path(), TWO_SECONDS)?;
        let site = Site::new(image.path())?;
        let edit = |value: u32| site.write("h.h", &format!("#define H {value}\n"));
        let mut plain = Vec::new();
        for value in [500, 501] {
            edit(value)?;
            plain.push(site.plainly()?);
        }
        site.until_remembered()?;
        for number in 0..EDITS / 2 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            sleep(Duration::from_secs(now.as_secs() / 2 * 2 + 2).saturating_sub(now));
            for (value, plain) in [(500, &plain[0]), (501, &plain[1])] {
                edit(value)?;
                ensure!(site.compile()? == *plain, "pair {number}: another object than that of {value}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_edit_behind_the_back_of_a_file_system_of_another_program_is_seen() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let real = directory.path().join("real");
    fs::create_dir(&real)?;
    let place = directory.path().join("served");
    let _served = Served::new(&real, &place)?;
    let site = Site::new(&place)?;
    site.check("at first")?;
    site.check_edits(&place)?;
    site.until_remembered()?;
    // What is read is asked for, so that nothing may be read here but what Pumphouse reads.
    let edit = |value: u32| fs::write(real.join("h.h"), format!("#define H {value}\n"));
    let mut plain = Vec::new();
    for value in [600, 601] {
        edit(value)?;
        plain.push(site.plainly()?);
        site.until_remembered()?;
    }
    for number in 0..EDITS {
        for (value, plain) in [(600, &plain[0]), (601, &plain[1])] {
            edit(value)?;
            for _ in 0..2 {
                ensure!(site.compile()? == *plain, "pair {number}: another object than that of {value}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_memory_of_whole_seconds_outlives_no_daemon_before_it_has_settled() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let image = Image::new(directory.path(), WHOLE_SECONDS)?;
    let site = Site::new(image.path())?;
    for number in 0..EDITS / 2 {
        site.write("h.h", &format!("#define H {}\n", 700 + number))?;
        site.check(&format!("edit {number}"))?;
        site.client.stop()?;
    }
    Ok(())
}

#[test]
fn what_one_client_of_nfs_edits_is_seen_on_the_others() -> Result<()> {
    // Each kind of edit once, by the clients in turn.
    let variable = format!("PUMPHOUSE_PROGRAM={}", program()?.display());
    let words = ["/usr/bin/env", &variable, env!("CARGO_BIN_EXE_bench"), "nfs", "inside", "9"];
    let report = on_a_machine_with_nfs(&words, Duration::from_secs(900))?;
    ensure!(report.contains("local hits"), "{report}");
    Ok(())
}
