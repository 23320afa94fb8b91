//! Real C and C++, and how each project is built: with its own build files, plainly or through `pumphouse`.

use crate::client::{Client, Stats};
use crate::distcc::IncludeServer;
use crate::objects::{Comparison, Objects, compare, objects};
use crate::process::succeed;
use crate::program::{program, repository};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many compiles a build tool starts at a time.
pub const JOBS: &str = "-j4";

/// Time stamps that build files write into sources (redis) are fixed, so that two builds can be compared.
const SOURCE_DATE_EPOCH: &str = "1700000000";

/// A project whose sources come from Debian.
#[derive(Debug, Clone, Copy)]
pub struct Project {
    /// Its name in tables.
    pub name: &'static str,
    source: Source,
    build: Build,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// The source package of this name.
    Debian(&'static str),
    /// The source package of this name, without Debian's patches.
    Upstream(&'static str),
    /// A directory that a binary package installs.
    Installed(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Build {
    /// `make` in a directory below the sources, with these arguments, and flags that follow the compiler's name.
    Make { directory: &'static str, compiler_flags: &'static str, arguments: &'static [&'static str] },
    /// `cmake -G Ninja` with these arguments, then `ninja`.
    Cmake { arguments: &'static [&'static str] },
}

/// Lua 5.4, with make.
pub const LUA: Project = Project {
    name: "lua",
    source: Source::Upstream("lua5.4"),
    build: Build::Make { directory: "src", compiler_flags: " -std=gnu99", arguments: &["linux", "MYCFLAGS=-g"] },
};

/// The library of Zstandard, with make.
pub const ZSTD: Project = Project {
    name: "zstd",
    source: Source::Debian("libzstd"),
    build: Build::Make {
        directory: "lib",
        compiler_flags: "",
        arguments: &["libzstd.a", "BUILD_DIR=obj", "CFLAGS=-O2 -g"],
    },
};

/// Redis with the libraries that it brings, with make.
pub const REDIS: Project = Project {
    name: "redis",
    source: Source::Debian("redis"),
    build: Build::Make {
        directory: "src",
        compiler_flags: "",
        arguments: &["redis-server", "redis-cli", "MALLOC=libc", "OPTIMIZATION=-O2", "USE_SYSTEMD=no"],
    },
};

/// {fmt} with its tests, with cmake and ninja.
pub const FMT: Project = Project {
    name: "fmt",
    source: Source::Debian("fmtlib"),
    build: Build::Cmake { arguments: &["-DFMT_TEST=ON", "-DFMT_DOC=OFF"] },
};

/// `GoogleTest` and `GoogleMock` with their samples, with cmake and ninja.
pub const GOOGLETEST: Project = Project {
    name: "googletest",
    source: Source::Installed("/usr/src/googletest"),
    build: Build::Cmake { arguments: &["-Dgtest_build_samples=ON"] },
};

/// All of them, smallest first.
pub const ALL: [Project; 5] = [LUA, ZSTD, GOOGLETEST, REDIS, FMT];

/// One build of a project.
#[derive(Debug)]
pub struct Built {
    /// What it left.
    pub objects: Objects,
    /// How long the build tool took, without configuration.
    pub wall: Duration,
}

/// A project's plain build, its first through `pumphouse` and its second, all at the same path.
#[derive(Debug)]
pub struct Trial {
    /// Wall times of the three builds.
    pub wall: [Duration; 3],
    /// The first build's objects beside the plain ones.
    pub first: Comparison,
    /// The second build's objects beside the plain ones.
    pub second: Comparison,
    /// What was counted in the first build.
    pub first_stats: Stats,
    /// What was counted in the second build.
    pub second_stats: Stats,
}

/// Compiles of files into files. Links and questions to the compiler go through the launcher too, and so do build files'
/// probes, which compile standard input, or into nothing.
pub fn compiles(stats: &Stats) -> u64 {
    let others = ["not-a-compile", "standard-stream"].map(|reason| stats.local_runs.get(reason).unwrap_or(&0));
    stats.compiles - others.into_iter().sum::<u64>()
}

impl Trial {
    /// Compiles of the first build that a worker ran or the server knew, among the compiles of files.
    pub fn remote_share(&self) -> f64 {
        let stats = &self.first_stats;
        let remote = stats.remote_runs + stats.plain_runs + stats.hits();
        remote as f64 / compiles(stats).max(1) as f64
    }

    /// Whether the second build ran no compile anywhere.
    pub fn is_all_hits(&self) -> bool {
        let compiles = compiles(&self.second_stats);
        compiles > 0 && self.second_stats.hits() == compiles
    }
}

impl Project {
    /// Where the pristine sources are; fetches them where that is needed.
    ///
    /// # Errors
    /// When they can't be had; the message says why.
    pub fn sources(&self) -> Result<PathBuf> {
        let script = repository().join("tests/sources");
        let path = match self.source {
            Source::Installed(path) => path.to_owned(),
            Source::Debian(package) => succeed(Command::new(script).arg(package))?,
            Source::Upstream(package) => succeed(Command::new(script).args(["--upstream", package]))?,
        };
        Ok(PathBuf::from(path.trim_end()))
    }

    /// Lays the sources out in `directory`, afresh, and gives the command that builds them, plainly or through `client`.
    ///
    /// # Errors
    /// When the sources can't be had or configured, with all that was printed.
    pub fn prepare(&self, directory: &Path, client: Option<&Client>) -> Result<Command> {
        self.prepare_under(directory, client, None)
    }

    /// As [`Self::prepare`], with compilers that are found on another `PATH`.
    fn prepare_under(&self, directory: &Path, client: Option<&Client>, path: Option<&str>) -> Result<Command> {
        if directory.exists() {
            std::fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))?;
        }
        succeed(Command::new("cp").args(["-R", "--dereference", "--"]).arg(self.sources()?).arg(directory))?;
        let mut command = match self.build {
            Build::Make { directory: below, compiler_flags, arguments } => {
                let mut make = Command::new("make");
                make.arg("-C").arg(directory.join(below)).arg(JOBS).args(arguments);
                make.arg(format!("CC={}{compiler_flags}", through(client, "gcc")?));
                make
            }
            Build::Cmake { arguments } => {
                let build = directory.join("build");
                configure(directory, &build, arguments, client, path)?;
                let mut ninja = Command::new("ninja");
                ninja.arg(JOBS).arg("-C").arg(build);
                ninja
            }
        };
        if let Some(client) = client {
            client.equip(&mut command);
        }
        if let Some(path) = path {
            command.env("PATH", path);
        }
        command.env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH).env_remove("MAKEFLAGS");
        Ok(command)
    }

    /// Builds the project in `directory`, afresh, plainly or through `client`.
    ///
    /// # Errors
    /// When the build fails, with all that it printed.
    pub fn build(&self, directory: &Path, client: Option<&Client>) -> Result<Built> {
        let mut command = self.prepare(directory, client)?;
        let start = Instant::now();
        succeed(&mut command)?;
        let wall = start.elapsed();
        Ok(Built { objects: objects(directory)?, wall })
    }

    /// Builds the project in `directory`, afresh, with compilers that are links to distcc, in pump mode.
    ///
    /// # Errors
    /// When the build fails, with all that it printed.
    pub fn build_with_distcc(&self, directory: &Path, server: &IncludeServer) -> Result<Built> {
        let path = format!("{}:{}", server.masquerade()?.display(), std::env::var("PATH")?);
        let mut command = self.prepare_under(directory, None, Some(&path))?;
        server.equip(&mut command);
        let start = Instant::now();
        succeed(&mut command)?;
        let wall = start.elapsed();
        Ok(Built { objects: objects(directory)?, wall })
    }

    /// Builds the project in `directory`, afresh, through a compiler that notes each command line in `log`, and gives
    /// the directories and command lines in the order in which they started.
    ///
    /// # Errors
    /// When the build fails, with all that it printed.
    pub fn record(&self, directory: &Path, log: &Path) -> Result<Vec<(PathBuf, Vec<String>)>> {
        let names = log.with_extension("path");
        std::fs::create_dir_all(&names)?;
        for compiler in ["gcc", "g++", "cc", "c++"] {
            let script = format!(
                "#!/bin/sh\n{{ printf '%s\\036' \"$PWD\" {compiler} \"$@\"; echo; }} >>'{}'\nexec /usr/bin/{compiler} \"$@\"\n",
                log.display()
            );
            let path = names.join(compiler);
            std::fs::write(&path, script)?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        let path = format!("{}:{}", names.display(), std::env::var("PATH")?);
        let mut command = self.prepare_under(directory, None, Some(&path))?;
        // What cmake tried is no part of the project.
        if log.exists() {
            std::fs::remove_file(log)?;
        }
        succeed(&mut command)?;
        let text = std::fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
        let parse = |line: &str| {
            let mut words = line.split('\u{1e}').filter(|word| !word.is_empty()).map(str::to_owned);
            Some((PathBuf::from(words.next()?), words.collect()))
        };
        Ok(text.lines().filter_map(parse).collect())
    }

    /// Builds it three times in `directory`: plainly, then twice through `client`.
    ///
    /// # Errors
    /// When a build fails. Differences are no error: they are told.
    pub fn trial(&self, directory: &Path, client: &Client) -> Result<Trial> {
        let plain = self.build(directory, None)?;
        client.zero()?;
        let first = self.build(directory, Some(client))?;
        let first_stats = client.stats()?;
        client.zero()?;
        let second = self.build(directory, Some(client))?;
        let second_stats = client.stats()?;
        Ok(Trial {
            wall: [plain.wall, first.wall, second.wall],
            first: compare(&plain.objects, &first.objects),
            second: compare(&plain.objects, &second.objects),
            first_stats,
            second_stats,
        })
    }
}

/// The compiler's name in a build file, through `pumphouse` where there is a client.
fn through(client: Option<&Client>, compiler: &str) -> Result<String> {
    Ok(match client {
        Some(_) => format!("{} {compiler}", program()?.display()),
        None => compiler.to_owned(),
    })
}

/// Runs cmake, whose own trial compiles go through no launcher.
fn configure(
    directory: &Path,
    build: &Path,
    arguments: &[&str],
    client: Option<&Client>,
    path: Option<&str>,
) -> Result<()> {
    let mut cmake = Command::new("cmake");
    cmake.args(["-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]).args(arguments);
    if client.is_some() {
        let launcher = program()?;
        for language in ["C", "CXX"] {
            cmake.arg(format!("-DCMAKE_{language}_COMPILER_LAUNCHER={}", launcher.display()));
        }
    }
    if let Some(path) = path {
        cmake.env("PATH", path);
    }
    succeed(cmake.arg("-S").arg(directory).arg("-B").arg(build)).map(drop)
}
