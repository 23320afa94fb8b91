//! Compiles under environments drawn from the table of variables: what comes through the daemon, and from its cache, must be
//! what the compiler gives under the same variables.
//!
//! `environments [CASES [SEED]]`. A case is a command line with up to three variables, compiled plainly once and through
//! Pumphouse twice. Unlike the other benches it judges: it fails where anything differs.

use crate::random::Random;
use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::environments;
use pumphouse_tests::workspace::Workspace;

const DEFAULT_CASES: u64 = 500;

const FILES: &[(&str, &str)] = &[
    (
        "a.c",
        "#include <stddef.h>\n#include \"one.h\"\nint one(void) { int unused; return ONE + (int)sizeof(size_t); }\n",
    ),
    ("one.h", "#define ONE 1\n"),
    ("s.c", "#if __has_include(<searched.h>)\n#include <searched.h>\n#else\n#define S 0\n#endif\nint s = S;\n"),
    ("first/searched.h", "#define S 1\n"),
    ("second/searched.h", "#define S 2\n"),
    (
        "m.c",
        "#ifdef __ENVIRONMENT_MAC_OS_X_VERSION_MIN_REQUIRED__\nint m = __ENVIRONMENT_MAC_OS_X_VERSION_MIN_REQUIRED__;\n#else\nint m;\n#endif\n",
    ),
    ("t.c", "const char *t = __DATE__;\n"),
    ("b.S", "#include \"one.h\"\n\t.text\nf:\tnop\n"),
];

const LINES: &[&str] = &[
    "gcc -c a.c",
    "gcc -g -Wall -c a.c",
    "g++ -g -Wall -x c++ -c a.c",
    "clang -c a.c",
    "clang -g -Wall -c a.c",
    "aarch64-linux-gnu-gcc -c s.c",
    "gcc -c s.c",
    "clang -g -c s.c",
    "clang -target x86_64-apple-darwin -c m.c",
    "clang -target arm64-apple-ios -c s.c",
    "clang -target x86_64-pc-windows-msvc -mno-incremental-linker-compatible -c s.c",
    "gcc -g -c b.S",
    "clang -g -c b.S",
    "gcc -MD -c a.c",
    "gcc -c t.c",
    "gcc -flto -frandom-seed=1 -c s.c",
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (cases, seed) = (number(0, DEFAULT_CASES)?, number(1, 1)?);
    let workspace = Workspace::new(FILES)?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let names = environments::names();
    let mut wrong = Vec::new();
    let mut noisy = 0;
    for case in 0..cases {
        let line = draw(&mut Random::of_case(seed, case), &names);
        let plain = workspace.plainly(&line).context("compiling plainly")?;
        for _ in 0..2 {
            if workspace.through(&client, &line)? == plain {
                continue;
            }
            // Some print times or addresses.
            if workspace.plainly(&line)? == plain {
                eprintln!("case {case} of seed {seed}: wrong: {line}");
                wrong.push(line.clone());
            } else {
                noisy += 1;
            }
        }
    }
    let stats = client.stats()?;
    println!(
        "{cases} environments, seed {seed}: {} wrong; {} compiles from the cache, {} run; {noisy} that differ plainly as well",
        wrong.len(),
        stats.local_hits,
        stats.local()
    );
    ensure!(wrong.is_empty(), "{} wrong", wrong.len());
    Ok(())
}

fn draw(random: &mut Random, names: &[&'static str]) -> String {
    let variables = environments::draw(random, names, 4);
    let mut words: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.push(random.pick(LINES).to_owned());
    words.join(" ")
}
