//! Every environment variable that the compilers ask for has its place in the table, found by recording what they ask.

use anyhow::{Result, ensure};
use pumphouse::command::environment::role;
use pumphouse_tests::variables::{Recorder, of_dynamic_linker};
use pumphouse_tests::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

const FILES: &[(&str, &str)] = &[
    ("a.c", "const char *d = __DATE__ __TIME__ __TIMESTAMP__;\nint f(void) { int unused; return 0; }\n"),
    ("a.cc", "#include <string>\nint f(std::string s) { int unused; return s.size(); }\n"),
    ("a.m", "int f(void) { return 0; }\n"),
    ("a.s", "\t.text\nf:\tnop\n"),
    ("a.S", "#define F f\n\t.text\nF:\tnop\n"),
    ("broken.c", "int f(void) { return undeclared; }\n"),
];

/// Command lines that reach as many corners of the drivers and what they run as there are; some fail, which is a corner too.
const COMMANDS: &[&str] = &[
    "gcc -Wall -g -c a.c",
    "g++ -Wall -g -c a.cc",
    "clang -Wall -g -c a.c",
    "clang++ -Wall -g -c a.cc",
    "aarch64-linux-gnu-gcc -Wall -g -c a.c",
    "gcc -g -c a.s",
    "gcc -g -c a.S",
    "clang -g -c a.s",
    "clang -g -c a.S",
    "gcc -x objective-c -c a.m",
    "clang -x objective-c -c a.m",
    "clang -x objective-c++ -c a.m",
    "gcc -c broken.c",
    "clang -c broken.c",
    "gcc -c absent.c",
    "gcc -Wall -fdiagnostics-color=always -c a.c",
    "clang -Wall -fcolor-diagnostics -c a.c",
    "LC_ALL=fr_FR.UTF-8 LANGUAGE=fr gcc -Wall -c a.c",
    "LC_ALL=C.UTF-8 LANGUAGE=fr gcc -Wall -c a.c",
    "LC_ALL=C.UTF-8 clang -Wall -c a.c",
    "gcc -finput-charset=latin1 -fexec-charset=utf-16 -c a.c",
    "gcc -flto -c a.c",
    "clang -flto -c a.c",
    "gcc --coverage -fprofile-generate -c a.c",
    "clang -fprofile-instr-generate -fcoverage-mapping -c a.c",
    "gcc -g -gsplit-dwarf -gz -c a.c",
    "clang -g -gsplit-dwarf -gz -c a.c",
    "clang -fno-integrated-as -c a.c",
    "clang -S -emit-llvm -c a.c",
    "gcc -S -fverbose-asm -c a.c",
    "gcc -fsanitize=address,undefined -c a.c",
    "clang -fsanitize=address,undefined -c a.c",
    "gcc -MD -MP -pipe -c a.c",
    "gcc -save-temps -c a.c",
    "clang -save-temps -c a.c",
    "gcc -frecord-gcc-switches -Wa,-adhln=a.lst -c a.c",
    "clang -grecord-command-line -c a.c",
    "gcc -O3 -fopt-info -fopenmp -fanalyzer -c a.c",
    "clang -O2 -Rpass=.* -fsave-optimization-record -ftime-trace -c a.c",
    "clang -serialize-diagnostics a.dia -Wall -c a.c",
    "gcc -specs=/dev/null -c a.c",
    "clang --config /dev/null -c a.c",
    "gcc -march=native -c a.c",
    "clang -march=native -c a.c",
    "gcc -fplugin=nonesuch -c a.c",
    "clang -fmodules -fmodules-cache-path=cache -c a.c",
    "gcc -m32 -c a.c",
    "clang -m32 -stdlib=libc++ -x c++ -c a.c",
    "SOURCE_DATE_EPOCH=1 gcc -c a.c",
];

/// Systems for which clang's driver has code of its own.
const TARGETS: &[&str] = &[
    "aarch64-linux-android",
    "aarch64-linux-gnu",
    "aarch64-unknown-none",
    "amdgcn-amd-amdhsa",
    "arm-none-eabi",
    "arm64-apple-ios",
    "arm64-apple-ios-simulator",
    "arm64-apple-watchos",
    "armv7-windows-gnu",
    "avr",
    "hexagon-unknown-elf",
    "i686-pc-cygwin",
    "mips64-linux-gnu",
    "msp430",
    "nvptx64-nvidia-cuda",
    "powerpc64-ibm-aix",
    "riscv64-unknown-elf",
    "s390x-ibm-zos",
    "ve-linux",
    "wasm32-unknown-emscripten",
    "wasm32-wasi",
    "x86_64-apple-darwin",
    "x86_64-apple-driverkit",
    "x86_64-apple-tvos",
    "x86_64-pc-haiku",
    "x86_64-pc-solaris",
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-msvc",
    "x86_64-scei-ps4",
    "x86_64-scei-ps5",
    "x86_64-unknown-freebsd",
    "x86_64-unknown-fuchsia",
    "x86_64-unknown-netbsd",
    "xcore",
];

/// What is recorded, and by which commands.
#[derive(Debug, Default)]
struct Asked(BTreeMap<String, String>);

impl Asked {
    fn take(&mut self, names: BTreeSet<String>, by: &str) {
        for name in names {
            self.0.entry(name).or_insert_with(|| by.to_owned());
        }
    }
}

#[test]
fn every_variable_that_compilers_ask_for_is_in_the_table() -> Result<()> {
    let recorder = Recorder::new()?;
    let workspace = Workspace::new(FILES)?;
    let mut asked = Asked::default();
    let run = |line: &str| -> Result<BTreeSet<String>> {
        let mut command = Command::new("sh");
        recorder.record(command.args(["-c", &format!("unset COLUMNS; {line}")]).current_dir(workspace.path()))
    };
    for line in COMMANDS {
        asked.take(run(line)?, line);
        // On a terminal there is more to ask.
        let on_terminal = format!("TERM=xterm-256color script -qec '{line}' /dev/null");
        asked.take(run(&on_terminal)?, &on_terminal);
    }
    for target in TARGETS {
        for line in [format!("clang -target {target} -c a.c"), format!("clang++ -target {target} -c a.cc")] {
            asked.take(run(&line)?, &line);
        }
    }
    // What `script` and the shell in it ask for themselves.
    let own = run("script -qec true /dev/null")?;
    let is_own = |name: &String, by: &String| own.contains(name) && by.contains("script");
    let strange: Vec<_> =
        asked.0.iter().filter(|(name, by)| role(OsStr::new(name)).is_none() && !is_own(name, by)).collect();
    ensure!(strange.is_empty(), "not in src/command/environment/table.rs: {strange:#?}");
    // The recording itself sees what it must: the drivers', the C library's, those of targets and of terminals.
    for name in
        ["CPATH", "LANGUAGE", "GCONV_PATH", "MACOSX_DEPLOYMENT_TARGET", "GCC_URLS", "COLUMNS", "GCC_COMPARE_DEBUG"]
    {
        ensure!(asked.0.contains_key(name), "{name} was not recorded");
    }
    Ok(())
}

#[test]
fn every_variable_of_the_dynamic_linker_is_in_the_table() -> Result<()> {
    let linker = pumphouse_tests::process::succeed(
        Command::new("sh").args(["-c", "readelf -l /usr/bin/gcc | sed -n 's/.*program interpreter: \\(.*\\)]/\\1/p'"]),
    )?;
    let names = of_dynamic_linker(Path::new(linker.trim()))?;
    let strange: Vec<_> = names.iter().filter(|name| role(OsStr::new(name)).is_none()).collect();
    ensure!(strange.is_empty(), "not in src/command/environment/table.rs: {strange:?}");
    for name in ["LD_PRELOAD", "LD_AUDIT", "GCONV_PATH", "GLIBC_TUNABLES", "MALLOC_CHECK_"] {
        ensure!(names.contains(name), "{name} is not among {names:?}");
    }
    Ok(())
}
