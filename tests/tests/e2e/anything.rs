//! Anything may follow `pumphouse`: compilers go through the cache, every other program runs as if it stood alone, and what is
//! not there is said as a shell says it. Wrappers and our links in any order end at the compiler.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::program::program;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A developer with a directory of programs in front of `PATH`.
struct Site {
    client: Client,
    root: TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("anything-").tempdir()?;
        let client = Client::new(&root.path().join("state"), None)?;
        std::fs::create_dir(root.path().join("bin"))?;
        std::fs::write(root.path().join("a.c"), "int main(void) { return 0; }\n")?;
        succeed(Command::new("gcc").args(["-c", "a.c", "-o", "plain.o"]).current_dir(root.path()))?;
        Ok(Self { client, root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a script that is found by its name.
    fn script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
    }

    /// Makes a link to the program, and gives the directory of it.
    fn link(&self, name: &str) -> Result<PathBuf> {
        let links = self.path("links");
        std::fs::create_dir_all(&links)?;
        symlink(std::fs::canonicalize(program()?)?, links.join(name))?;
        Ok(links)
    }

    /// `command` with `directories` in front of `PATH`.
    fn with_path(&self, mut command: Command, directories: &[&Path]) -> Result<Command> {
        let plain = std::env::var_os("PATH").context("PATH")?;
        let all = directories.iter().map(|path| path.to_path_buf()).chain(std::env::split_paths(&plain));
        command.env("PATH", std::env::join_paths(all)?).current_dir(self.root.path());
        Ok(command)
    }

    /// Runs `pumphouse WORDS…`.
    fn runs(&self, words: &[&str]) -> Result<Output> {
        run(&mut self.with_path(self.client.pumphouse(words), &[&self.path("bin")])?)
    }

    /// Requires that `pumphouse WORDS… -c a.c -o a.o` gives the compiler's object, and no word.
    fn compiles(&self, words: &[&str]) -> Result<()> {
        let _ = std::fs::remove_file(self.path("a.o"));
        let output = self.runs(&[words, &["-c", "a.c", "-o", "a.o"]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{words:?}: {}: {said}", output.status);
        ensure!(std::fs::read(self.path("a.o"))? == std::fs::read(self.path("plain.o"))?, "{words:?}: another object");
        Ok(())
    }
}

#[test]
fn what_is_no_command_of_pumphouse_runs_as_it_is() -> Result<()> {
    let site = Site::new()?;
    site.script("mycc", "exec gcc \"$@\"")?;
    site.script("x86_64-acme-gcc-wrapped", "exec gcc \"$@\"")?;
    for words in [
        &["mycc"][..],
        &["x86_64-acme-gcc-wrapped"],
        &["env", "-u", "X", "gcc"],
        &["env", "A=1", "gcc"],
        &["ccache", "gcc"],
        &["pumphouse-again", "gcc"],
    ] {
        if words[0] == "pumphouse-again" {
            symlink(std::fs::canonicalize(program()?)?, site.path("bin/pumphouse-again"))?;
        }
        site.compiles(words).with_context(|| format!("{words:?}"))?;
    }
    // Through its path, too.
    site.compiles(&[&program()?.display().to_string(), "gcc"])?;
    Ok(())
}

#[test]
fn programs_keep_their_streams_codes_signals_and_options() -> Result<()> {
    let site = Site::new()?;
    let code = |words: &[&str]| -> Result<Option<i32>> { Ok(site.runs(words)?.status.code()) };
    ensure!(code(&["true"])? == Some(0) && code(&["false"])? == Some(1));
    ensure!(code(&["sh", "-c", "exit 42"])? == Some(42));
    ensure!(code(&["/bin/sh", "-c", "exit 43"])? == Some(43), "by its path");
    let killed = site.runs(&["sh", "-c", "kill -TERM $$"])?;
    ensure!(killed.status.signal() == Some(15), "{:?}", killed.status);
    let printed = site.runs(&["printf", "%s", "--help"])?;
    ensure!(printed.stdout == b"--help", "{printed:?}");
    // Broken pipes end a program, as they do without us.
    let broken = site.runs(&["sh", "-c", "yes | head -1"])?;
    ensure!(broken.stdout == b"y\n" && broken.stderr.is_empty(), "{broken:?}");
    let mut cat = site.client.pumphouse(["cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut cat.stdin.take().context("a pipe")?, b"words")?;
    ensure!(cat.wait_with_output()?.stdout == b"words");
    let stats = site.client.stats()?;
    ensure!(stats.compiles == 0, "{stats:?}");
    Ok(())
}

#[test]
fn other_names_of_a_compiler_go_through_the_cache() -> Result<()> {
    let site = Site::new()?;
    for name in ["x86_64-w64-mingw32-gcc-posix", "x86_64-w64-mingw32-gcc-12-win32", "gcc-12.2.0", "our-compiler"] {
        symlink("/usr/bin/gcc", site.path("bin").join(name))?;
        site.client.zero()?;
        site.compiles(&[name])?;
        site.compiles(&[name])?;
        let stats = site.client.stats()?;
        ensure!(stats.compiles == 2 && stats.local_hits >= 1, "{name}: {stats:?}");
    }
    Ok(())
}

#[test]
fn what_is_neither_command_nor_program_is_said_to_be_neither() -> Result<()> {
    let site = Site::new()?;
    let check = |words: &[&str], code: i32, expect: &[&str]| -> Result<()> {
        let output = site.runs(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{words:?}: {}: {said}", output.status);
        ensure!(expect.iter().all(|expect| said.contains(expect)), "{words:?}: {said}");
        Ok(())
    };
    check(&["statss"], 2, &["statss", "no command", "no program", "stats?"])?;
    check(&["no-such-thing", "--help"], 127, &["no-such-thing", "no command", "no program"])?;
    check(&["--no-such-option"], 2, &["--no-such-option"])?;
    check(&["x86_64-absent-gcc", "-c", "a.c"], 127, &["x86_64-absent-gcc: command not found"])?;
    std::fs::write(site.path("bin/unready-tool"), "")?;
    check(&["unready-tool"], 126, &["unready-tool: Permission denied"])?;
    check(&["./bin"], 126, &["./bin: Is a directory"])?;
    Ok(())
}

#[test]
fn an_absent_compiler_is_never_replaced() -> Result<()> {
    let site = Site::new()?;
    for compiler in ["/opt/absent/gcc", "./gcc", "bin/gcc", "/opt/absent/other"] {
        for arguments in
            [&["-c", "a.c", "-o", "a.o"][..], &["--version"], &["-E", "a.c"], &["-march=native", "-c", "a.c"]]
        {
            let output = site.runs(&[&[compiler], arguments].concat())?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(127), "{compiler} {arguments:?}: {}: {said}", output.status);
            ensure!(said == format!("pumphouse: {compiler}: No such file or directory\n"), "{said}");
            ensure!(!site.path("a.o").exists(), "an object of no compiler");
        }
    }
    Ok(())
}

#[test]
fn a_compiler_that_goes_away_after_a_hit_compiles_no_more() -> Result<()> {
    let site = Site::new()?;
    let link = site.path("bin/goes-gcc");
    for (words, code) in [("goes-gcc", 127), ("bin/goes-gcc", 127), ("./bin/goes-gcc", 127)] {
        symlink("/usr/bin/gcc", &link)?;
        site.compiles(&[words])?;
        site.compiles(&[words])?;
        std::fs::remove_file(&link)?;
        std::fs::remove_file(site.path("a.o"))?;
        let output = site.runs(&[words, "-c", "a.c", "-o", "a.o"])?;
        ensure!(output.status.code() == Some(code) && !site.path("a.o").exists(), "{words}: {output:?}");
    }
    // One that may no longer be run is as good as gone.
    let copy = site.path("bin/shut-gcc");
    std::fs::copy("/usr/bin/gcc", &copy)?;
    site.runs(&["shut-gcc", "-c", "a.c", "-o", "a.o"])?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644))?;
    let output = site.runs(&["shut-gcc", "-c", "a.c", "-o", "a.o"])?;
    ensure!(output.status.code() == Some(126), "{output:?}");
    Ok(())
}

#[test]
fn a_link_by_its_path_means_the_next_compiler() -> Result<()> {
    let site = Site::new()?;
    let links = site.link("gcc")?;
    let link = links.join("gcc").display().to_string();
    for directories in [&[][..], &[&*links], &[&*site.path("bin"), &*links]] {
        for arguments in [&["-c", "a.c", "-o", "a.o"][..], &["-E", "a.c", "-o", "a.i"]] {
            let mut command = Command::new(&link);
            site.client.equip(command.args(arguments));
            let output = run(&mut site.with_path(command, directories)?)?;
            ensure!(output.status.success() && output.stderr.is_empty(), "{directories:?} {arguments:?}: {output:?}");
        }
    }
    Ok(())
}

/// Runs `gcc ARGUMENTS…` as a shell finds it, with `directories` in front of `PATH`.
fn gcc(site: &Site, directories: &[&Path], arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("sh");
    site.client.equip(command.args(["-c", "gcc \"$@\"", "sh"]).args(arguments));
    run(site.with_path(command, directories)?.env("CCACHE_DIR", site.path("ccache")))
}

#[test]
fn a_compiler_is_called_by_the_name_that_was_typed() -> Result<()> {
    let site = Site::new()?;
    let line = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.lines().find(|line| line.starts_with("COLLECT_GCC=")).map(str::to_owned)
    };
    for compiler in ["gcc", "/usr/bin/gcc", "/usr/bin/../bin/gcc"] {
        for arguments in [&["-v", "-c", "a.c"][..], &["-v", "-E", "a.c"], &["-###", "a.c"]] {
            let plain = run(Command::new(compiler).args(arguments).current_dir(site.root.path()))?;
            let ours = site.runs(&[&[compiler], arguments].concat())?;
            ensure!(line(&ours).is_some() && line(&ours) == line(&plain), "{compiler} {arguments:?}: {ours:?}");
        }
    }
    Ok(())
}

#[test]
fn ccaches_links_may_stand_before_and_behind_ours() -> Result<()> {
    let site = Site::new()?;
    let links = site.link("gcc")?;
    let ccache = Path::new("/usr/lib/ccache");
    ensure!(ccache.join("gcc").exists(), "no {}: install ccache", ccache.display());
    let again = site.path("again");
    std::fs::create_dir(&again)?;
    symlink(ccache.join("gcc"), again.join("gcc"))?;
    succeed(Command::new("gcc").args(["-E", "a.c", "-o", "plain.i"]).current_dir(site.root.path()))?;
    for directories in
        [&[&*links, ccache][..], &[ccache, &*links], &[&*links, ccache, &*again], &[&*links, ccache, &*links]]
    {
        for arguments in
            ["-c a.c -o a.o", "a.o -o a", "-E a.c -o a.i", "--version", "-march=native -c a.c -o b.o", "-c a.c -o a.o"]
        {
            let arguments: Vec<_> = arguments.split(' ').collect();
            let output = gcc(&site, directories, &arguments)?;
            ensure!(output.status.success() && output.stderr.is_empty(), "{directories:?} {arguments:?}: {output:?}");
        }
        ensure!(std::fs::read(site.path("a.o"))? == std::fs::read(site.path("plain.o"))?, "{directories:?}");
        ensure!(std::fs::read(site.path("a.i"))? == std::fs::read(site.path("plain.i"))?, "{directories:?}");
        succeed(&mut Command::new(site.path("a")))?;
    }
    Ok(())
}

#[test]
fn scripts_that_come_back_to_us_end_at_the_compiler() -> Result<()> {
    let site = Site::new()?;
    let links = site.link("gcc")?;
    let ours = program()?.display().to_string();
    // One calls us by our path, one skips itself alone, as ccache does.
    for script in [format!("exec {ours} gcc \"$@\""), format!("PATH={}:$PATH exec gcc \"$@\"", links.display())] {
        site.script("gcc", &script)?;
        for directories in [&[&*site.path("bin")][..], &[&*links, &*site.path("bin")], &[&*site.path("bin"), &*links]] {
            for arguments in [&["-c", "a.c", "-o", "a.o"][..], &["-E", "a.c", "-o", "a.i"], &["--version"]] {
                let output = gcc(&site, directories, arguments)?;
                ensure!(output.status.success(), "{script} {directories:?} {arguments:?}: {output:?}");
            }
            ensure!(std::fs::read(site.path("a.o"))? == std::fs::read(site.path("plain.o"))?, "{directories:?}");
        }
    }
    Ok(())
}

#[test]
fn what_starts_itself_through_us_ends() -> Result<()> {
    let site = Site::new()?;
    let ours = program()?.display().to_string();
    site.script("round", &format!("exec {ours} round \"$@\""))?;
    site.script("only-gcc", &format!("exec {ours} only-gcc \"$@\""))?;
    for words in [&["round"][..], &["only-gcc", "-c", "a.c"], &["only-gcc", "--version"]] {
        let output = site.runs(words)?;
        ensure!(output.status.code() == Some(127) && !output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    Ok(())
}
