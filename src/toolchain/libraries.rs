//! The shared libraries that a program needs, by asking its own dynamic linker.
//!
//! The linker is asked twice: as it is, and without its cache (`/etc/ld.so.cache`) and `LD_LIBRARY_PATH`. Where both
//! give the same files, as on distributions that keep their libraries in the standard directories, neither the cache nor
//! the variable has to travel, and machines with different sets of packages give the same toolchain.
//!
//! **Source:** ld.so(8), `--list` and `--inhibit-cache`.

use crate::compiler::process::{Limits, Request};
use crate::compiler::trace::sights::Sights;
use crate::compiler::trace::{Run, Scratch, TraceError, trace};
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a program needs besides itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The dynamic linker and the libraries, as they are looked up.
    pub(super) files: Vec<PathBuf>,
    /// Whether the dynamic linker finds them only through its cache.
    pub(super) through_cache: bool,
    /// Whether it finds them only through `LD_LIBRARY_PATH`.
    pub(super) through_library_path: bool,
}

/// Whether all that the dynamic linker looked for is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traceable {
    Yes,
    No,
}

/// The dynamic linker's cache.
pub(super) const CACHE: &str = "/etc/ld.so.cache";

/// The libraries that every program of this machine is given. What they do is known to nobody: they may change which files
/// a compiler reads.
pub(super) const PRELOADED: &str = "/etc/ld.so.preload";

/// Whether [`PRELOADED`] names anything. One that can't be read counts as one that does, unless it isn't there.
pub(super) fn preloads_anything() -> bool {
    match std::fs::read(PRELOADED) {
        Ok(list) => !list.trim_ascii().is_empty(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// How many bytes of a program are read to find its interpreter.
const HEAD_BYTES: u64 = 64 << 10;

/// What `program`, an ELF executable or library, needs. Runs the dynamic linker twice, and adds to `sights` what that looks
/// for, as far as it can be traced: whether it could be is the other answer.
///
/// # Errors
/// Where the program's form is not understood, or the linker says that something is missing.
pub(super) fn needs(
    program: &Path,
    linker: Option<&Path>,
    library_path: Option<&OsStr>,
    sights: &mut Sights,
) -> io::Result<(Needs, Traceable)> {
    sights.watch(program);
    let interpreter = match interpreter(program)? {
        Interpreter::Path(path) => path,
        // A library names no linker of its own: that of the program which loads it serves.
        Interpreter::None if linker.is_some() => linker.map(Path::to_owned).unwrap_or_default(),
        Interpreter::None | Interpreter::NotElf => return Ok((Needs::default(), Traceable::Yes)),
    };
    let variable = library_path.map(|value| (OsString::from("LD_LIBRARY_PATH"), value.to_owned()));
    let mut traceable = Traceable::Yes;
    let mut list = |flags: &[&str], environment: &[(OsString, OsString)]| {
        list(&interpreter, program, flags, environment, sights, &mut traceable)
    };
    let found = list(&[], variable.as_slice())?;
    let plain = list(&["--inhibit-cache"], &[]).unwrap_or_default();
    let mut needs = Needs { through_cache: false, through_library_path: false, files: Vec::new() };
    if found != plain {
        needs.through_cache = list(&["--inhibit-cache"], variable.as_slice()).ok() != Some(found.clone());
        needs.through_library_path = variable.is_some() && list(&[], &[]).ok() != Some(found.clone());
    }
    needs.files = found;
    // A processor that has fewer features than this one uses the plain copy of a library.
    let plain_copies: Vec<PathBuf> = needs.files.iter().filter_map(|file| without_hardware_directory(file)).collect();
    needs.files.extend(plain_copies);
    needs.files.push(interpreter);
    Ok((needs, traceable))
}

fn without_hardware_directory(file: &Path) -> Option<PathBuf> {
    let text = file.to_str()?;
    let (before, after) = text.split_once("/glibc-hwcaps/")?;
    let (_, name) = after.split_once('/')?;
    Some(Path::new(before).join(name)).filter(|plain| plain.is_file())
}

/// The libraries that the dynamic linker names for `program`.
fn list(
    interpreter: &Path,
    program: &Path,
    flags: &[&str],
    environment: &[(OsString, OsString)],
    sights: &mut Sights,
    traceable: &mut Traceable,
) -> io::Result<Vec<PathBuf>> {
    let mut arguments: Vec<OsString> = flags.iter().map(OsString::from).collect();
    arguments.extend(["--list".into(), program.into()]);
    let request = Request {
        program: interpreter.to_owned(),
        arguments,
        environment: environment.to_vec(),
        directory: "/".into(),
    };
    let refuse = |error: String| io::Error::other(format!("{} {error}", interpreter.display()));
    let scratch = Scratch::new()?;
    let run = Run { request: &request, input: b"", scratch: scratch.path(), limits: Limits::ANSWER };
    let (is_success, output, errors) = match trace(&run) {
        Ok(traced) => {
            sights.add(&traced.looks).map_err(|changed| io::Error::other(changed.to_string()))?;
            (traced.code == Some(0), traced.standard_output, traced.standard_error)
        }
        Err(TraceError::Unavailable(_)) => {
            *traceable = Traceable::No;
            let answer = request.run(Limits::ANSWER).map_err(|error| refuse(error.to_string()))?;
            (answer.status.success(), answer.standard_output, answer.standard_error)
        }
        Err(error) => return Err(refuse(error.to_string())),
    };
    if !is_success {
        let message = String::from_utf8_lossy(&errors).trim().to_owned();
        return Err(io::Error::other(format!("{}: {message}", program.display())));
    }
    parse_list(&output).map_err(|name| io::Error::other(format!("{}: {name} not found", program.display())))
}

/// Reads lines such as `libc.so.6 => /lib/libc.so.6 (0x…)` and `/lib64/ld.so (0x…)`.
///
/// # Errors
/// The name of a library that is not found.
fn parse_list(text: &[u8]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        if line.ends_with(b"=> not found") {
            return Err(
                String::from_utf8_lossy(line.split(|&byte| byte == b' ').next().unwrap_or_default()).into_owned()
            );
        }
        let arrow = line.windows(4).position(|window| window == b" => ");
        let path = arrow.map_or(line, |arrow| &line[arrow + 4..]);
        let end = path.windows(2).rposition(|window| window == b" (").unwrap_or(path.len());
        if path.starts_with(b"/") {
            files.push(PathBuf::from(OsStr::from_bytes(&path[..end])));
        }
    }
    Ok(files)
}

/// What a file says about the program that loads it.
#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    Path(PathBuf),
    /// A static program, or a library.
    None,
    NotElf,
}

fn interpreter(program: &Path) -> io::Result<Interpreter> {
    let mut head = Vec::new();
    File::open(program)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(Interpreter::NotElf);
    }
    let read = match head.get(4) {
        Some(&elf::ELFCLASS64) => interpreter_of::<elf::FileHeader64<Endianness>>(&head),
        _ => interpreter_of::<elf::FileHeader32<Endianness>>(&head),
    };
    let path = read.map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
    Ok(path.map_or(Interpreter::None, Interpreter::Path))
}

fn interpreter_of<Header: FileHeader<Endian = Endianness>>(head: &[u8]) -> object::Result<Option<PathBuf>> {
    let header = Header::parse(head)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, head)? {
        if let Some(path) = segment.interpreter(endian, head)? {
            return Ok(Some(OsStr::from_bytes(path).into()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like};

    #[test]
    fn programs_of_any_bytes() {
        let program = std::fs::read("/bin/sh").expect("there is one");
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("program");
        check(&like(&[&program[..4096]]), |bytes| {
            std::fs::write(&path, bytes.as_slice()).expect("writing");
            if let Ok(Interpreter::Path(linker)) = bounded(bytes.len(), || interpreter(&path)) {
                assert!(linker.as_os_str().len() < bytes.len());
            }
        });
    }

    #[test]
    fn lists_of_any_bytes() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\t/lib64/ld.so (0x2)\nx => not found\n";
        check(&like(&[list]), |text| {
            let files = bounded(text.len(), || parse_list(&text)).unwrap_or_default();
            assert!(files.iter().all(|file| file.is_absolute()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let check = |text: &str, expect: Result<&[&str], &str>| {
            let expect = expect.map(|paths| paths.iter().map(PathBuf::from).collect()).map_err(str::to_owned);
            assert_eq!(parse_list(text.as_bytes()), expect, "{text}");
        };
        check(
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld.so (0x7f)\n",
            Ok(&["/lib/libc.so.6", "/lib64/ld.so"]),
        );
        check("\tlibx.so => /a b/libx.so (0x1)\n", Ok(&["/a b/libx.so"]));
        check("\tlibx.so => not found\n", Err("libx.so"));
        check("\tstatically linked\n", Ok(&[]));
    }

    fn needs_of(program: &str, library_path: Option<&Path>) -> Needs {
        let library_path = library_path.map(Path::as_os_str);
        needs(Path::new(program), None, library_path, &mut Sights::default()).expect(program).0
    }

    #[test]
    fn real_programs() {
        let needs_of = |program: &str| needs_of(program, None);
        let needs = needs_of("/usr/bin/as");
        assert!(needs.files.iter().any(|file| file.ends_with("libc.so.6")), "{needs:?}");
        assert!(needs.files.iter().any(|file| file.to_string_lossy().contains("/ld-linux")), "{needs:?}");
        assert!(!needs.through_library_path);
        assert_eq!(needs_of("/etc/passwd"), Needs::default());
    }

    #[test]
    fn a_library_path_is_noticed() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let libc = needs_of("/usr/bin/env", None).files;
        let libc = libc.iter().find(|file| file.ends_with("libc.so.6")).expect("env needs the C library");
        std::fs::copy(libc, scratch.path().join("libc.so.6")).expect("copy");
        let needs = needs_of("/usr/bin/env", Some(scratch.path()));
        assert!(needs.through_library_path && !needs.through_cache, "{needs:?}");
        assert!(needs.files.contains(&scratch.path().join("libc.so.6")));
    }
}
