//! Environments drawn from the table of variables, for what compiles under them at random.

use crate::random::Random;
use pumphouse::command::environment;

/// Values: numbers, directories that are there and that are not, lists, spellings, nothing.
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "10.9",
    "11.0",
    "64",
    "x",
    "C",
    "C.UTF-8",
    "fr_FR.UTF-8",
    "first",
    "second",
    "first:second",
    ":first",
    "/usr/include",
    "/absent",
    "/proc/self/cwd/first",
    "all",
    "always",
    "+",
    "error=01;31",
    "dumb",
    "xterm-256color",
];

/// How many of [`VALUES`] most variables share, so that cases meet in the cache.
const COMMON_VALUES: usize = 5;

/// Variables that leave the programs themselves, or what runs them, in pieces.
const LEFT_OUT: &[&str] = &["PATH"];

/// The names from which environments are drawn: those of the table, and some for each pattern.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        environment::names().filter(|name| !name.contains('*') && !LEFT_OUT.contains(name)).collect();
    names.extend([
        "LD_PRELOAD",
        "LD_AUDIT",
        "LD_BIND_NOW",
        "MALLOC_PERTURB_",
        "CCC_X",
        "COLLECT_GCC",
        "NCC_C_INCLUDE_PATH",
    ]);
    names.extend(["MACOSX_DEPLOYMENT_TARGET", "IPHONEOS_DEPLOYMENT_TARGET", "PUMPHOUSE_DEPTH", "EDITOR", "LC_TIME"]);
    // Those that lead somewhere are drawn more often.
    names.extend(
        ["CPATH", "C_INCLUDE_PATH", "LANG", "LC_ALL", "SOURCE_DATE_EPOCH", "MACOSX_DEPLOYMENT_TARGET"].repeat(4),
    );
    names
}

/// Less than `end` variables out of `names`, with their values.
pub fn draw(random: &mut Random, names: &[&'static str], end: usize) -> Vec<(&'static str, &'static str)> {
    let mut variables = Vec::new();
    for _ in 0..random.below(end) {
        let name = names[random.below(names.len())];
        let among = if random.chance(50) { COMMON_VALUES } else { VALUES.len() };
        variables.push((name, VALUES[random.below(among)]));
    }
    variables
}
