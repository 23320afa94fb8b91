//! Fuzz targets of command lines: whatever is written, it is understood or left to the compiler.

use super::options::flags;
use super::{Operand, parse};
use pumphouse_fuzz::{Strategy, bounded, check, like, prop_oneof, sample, vec};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// What stands behind flags.
const OPERANDS: [&str; 12] =
    ["", "a.c", "b.o", "/x/y", "..", "c++17", "a=b", "-c", "a,b,,-MD", "@absent", "/proc/self/cwd/a.c", "=x"];

/// A flag of the table, with an operand in the way that it takes one, or in another.
fn flag() -> impl Strategy<Value = Vec<OsString>> {
    let rows: Vec<_> = flags().map(|flag| (flag.spelling, flag.operand)).collect();
    (sample::select(rows), sample::select(&OPERANDS[..]), 0..8_u8).prop_map(|((spelling, takes), operand, odd)| {
        let is_joined = match takes {
            Operand::None => odd == 0,
            Operand::Joined => odd != 0,
            Operand::Separate => odd == 0,
            Operand::Either => odd > 3,
        };
        let has_none = takes == Operand::None && odd != 0;
        match (has_none, is_joined) {
            (true, _) => vec![spelling.into()],
            (false, true) => vec![format!("{spelling}{operand}").into()],
            (false, false) => vec![spelling.into(), operand.into()],
        }
    })
}

fn argument() -> impl Strategy<Value = Vec<OsString>> {
    let plain = sample::select(&["-c", "a.c", "-o", "a.o", "-S", "--", "-", "x.cc", "-Wp,-MD,d", "-Xclang"][..]);
    let bent =
        like(&["-I../x", "-DX=\"y\"", "-fdebug-prefix-map=/a=/b", "-Wp,-MD,x.d,-MT,y", "-Wa,-I,z", "@x", "-isystem"]);
    prop_oneof![
        4 => flag(),
        3 => plain.prop_map(|text| vec![text.into()]),
        1 => bent.prop_map(|bytes| vec![OsString::from_vec(bytes.to_vec())]),
    ]
}

#[test]
fn command_lines() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let compilers = sample::select(&["gcc", "clang", "g++", "clang++"][..]);
    check(&(compilers, vec(argument(), 0..8)), |(compiler, arguments)| {
        let mut written: Vec<OsString> = vec![compiler.into(), "-c".into(), "a.c".into()];
        written.extend(arguments.into_iter().flatten());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let environment = [("PATH".into(), path), ("CPATH".into(), ":x::/y".into())];
        let length = written.iter().map(|argument| argument.len()).sum();
        let Ok(command) = bounded(length, || parse(&written, directory.path(), &environment)) else { return };
        assert_eq!(command.arguments, written[1..], "the action runs what was written");
        assert!(command.compiler.is_absolute() && command.working_directory.is_absolute());
        assert_ne!(command.source, Path::new(""));
    });
}
