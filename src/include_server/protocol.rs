//! What distcc's client and its include server say to each other over the socket.
//!
//! A request is the client's working directory and the command line of the compile; the answer is a list of the paths
//! of files to send. An empty list means that the client preprocesses by itself. Everything is made of tokens: four
//! letters and eight hexadecimal digits, a count or the length of the bytes that follow.
//!
//! **Source:** distcc 3.4's documents of its protocols, and the client's behaviour.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use thiserror::Error;

/// The longest working directory or argument, in bytes. The kernel's own bound of an argument is 128 KiB.
pub(super) const MAX_STRING_BYTES: u32 = 128 << 10;
/// The greatest number of arguments.
pub(super) const MAX_ARGUMENTS: u32 = 1 << 18;
/// The greatest length of all arguments together, in bytes; the kernel's own bound is 6 MiB.
pub(super) const MAX_ARGUMENTS_BYTES: usize = 8 << 20;

const DIRECTORY: [u8; 4] = *b"CDIR";
const COUNT: [u8; 4] = *b"ARGC";
const STRING: [u8; 4] = *b"ARGV";

/// A compile that a client asks about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    /// The client's working directory, as `getcwd` gives it.
    pub(super) directory: PathBuf,
    /// The compiler and its arguments.
    pub(super) arguments: Vec<OsString>,
}

/// Why a request can't be understood.
#[derive(Debug, Error)]
pub(super) enum ProtocolError {
    /// The client left before it said anything.
    #[error("the client left without a request")]
    Nothing,
    /// The client left, or was silent for too long, in the middle of a request.
    #[error("reading {expected}: {source}")]
    Read {
        /// What was expected next.
        expected: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another token than the one that must come next.
    #[error("expected {expected}, found {:?}", String::from_utf8_lossy(.found))]
    Token {
        /// What was expected.
        expected: &'static str,
        /// What came.
        found: [u8; 12],
    },
    /// More than is accepted.
    #[error("{what} of {size}, but at most {limit} is accepted")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How much it is.
        size: u64,
        /// How much may be.
        limit: u64,
    },
    /// Something that no client sends.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads a request. Blocks until it is complete.
///
/// # Errors
/// Where the client leaves, or says what no client of distcc says.
pub(super) fn read_request(stream: &mut impl Read) -> Result<Request, ProtocolError> {
    let directory_bytes = read_token(stream, DIRECTORY, "the working directory (CDIR)", true)?;
    let directory = read_string(stream, directory_bytes, "a working directory")?;
    if directory.first() != Some(&b'/') {
        return Err(ProtocolError::Malformed("the working directory is not an absolute path"));
    }
    let count = read_token(stream, COUNT, "the number of arguments (ARGC)", false)?;
    limit("a number of arguments", u64::from(count), u64::from(MAX_ARGUMENTS))?;
    let mut arguments = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let length = read_token(stream, STRING, "an argument (ARGV)", false)?;
        total += length as usize;
        limit("a command line", total as u64, MAX_ARGUMENTS_BYTES as u64)?;
        arguments.push(OsString::from_vec(read_string(stream, length, "an argument")?));
    }
    Ok(Request { directory: PathBuf::from(OsString::from_vec(directory)), arguments })
}

/// The answer that names `paths`, ready to be written. No path: the client has to preprocess by itself.
///
/// # Panics
/// Where there are more than 2³² paths, or one is longer than that.
pub(super) fn answer<'a>(paths: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + paths.len() * 100);
    push_token(&mut bytes, COUNT, paths.len());
    for path in paths {
        push_token(&mut bytes, STRING, path.len());
        bytes.extend_from_slice(path);
    }
    bytes
}

fn limit(what: &'static str, size: u64, limit: u64) -> Result<(), ProtocolError> {
    if size > limit { Err(ProtocolError::TooLarge { what, size, limit }) } else { Ok(()) }
}

fn push_token(bytes: &mut Vec<u8>, token: [u8; 4], value: usize) {
    let value = u32::try_from(value).expect("nothing that is sent has a length of 4 GiB");
    bytes.extend_from_slice(&token);
    bytes.extend_from_slice(format!("{value:08x}").as_bytes());
}

fn read_token(
    stream: &mut impl Read,
    token: [u8; 4],
    expected: &'static str,
    is_first: bool,
) -> Result<u32, ProtocolError> {
    let mut found = [0; 12];
    let mut filled = 0;
    while filled < found.len() {
        match stream.read(&mut found[filled..]) {
            Ok(0) if filled == 0 && is_first => return Err(ProtocolError::Nothing),
            Ok(0) => return Err(ProtocolError::Read { expected, source: io::ErrorKind::UnexpectedEof.into() }),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(ProtocolError::Read { expected, source }),
        }
    }
    let digits = found.strip_prefix(&token).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let value = digits.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
    value.ok_or(ProtocolError::Token { expected, found })
}

fn read_string(stream: &mut impl Read, length: u32, what: &'static str) -> Result<Vec<u8>, ProtocolError> {
    limit(what, u64::from(length), u64::from(MAX_STRING_BYTES))?;
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).map_err(|source| ProtocolError::Read { expected: what, source })?;
    if bytes.contains(&0) {
        return Err(ProtocolError::Malformed("a zero byte in a string"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like};

    #[test]
    fn requests_of_any_bytes() {
        let request = b"CDIR00000004/w/xARGC00000003ARGV00000003gccARGV00000002-cARGV00000003a.c";
        check(&like(&[&request[..], b"CDIR00000001/ARGC0003ffffARGV00020000"]), |bytes| {
            let Ok(request) = bounded(bytes.len(), || read_request(&mut bytes.as_slice())) else { return };
            assert!(request.directory.is_absolute());
            assert!(request.arguments.iter().map(|argument| argument.len()).sum::<usize>() <= bytes.len());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: Result<(&str, &[&str]), &str>) {
        let found = read_request(&mut &*bytes).map_err(|error| error.to_string());
        let expect = expect.map_err(str::to_owned).map(|(directory, arguments)| Request {
            directory: directory.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
        });
        assert_eq!(found, expect, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn requests() {
        check(b"CDIR00000002/aARGC00000002ARGV00000003gccARGV0000000A--language", Ok(("/a", &["gcc", "--language"])));
        check(b"CDIR00000001/ARGC00000000", Ok(("/", &[])));
        check(b"", Err("the client left without a request"));
        check(b"CDIR0000", Err("reading the working directory (CDIR): unexpected end of file"));
        check(b"CDIR00000004/a", Err("reading a working directory: failed to fill whole buffer"));
        check(b"ARGC00000001", Err("expected the working directory (CDIR), found \"ARGC00000001\""));
        check(b"CDIR0000000x", Err("expected the working directory (CDIR), found \"CDIR0000000x\""));
        check(b"CDIR+0000001", Err("expected the working directory (CDIR), found \"CDIR+0000001\""));
        check(b"GET / HTTP/1.1\r\n", Err("expected the working directory (CDIR), found \"GET / HTTP/1\""));
        check(b"CDIR00000001a", Err("the working directory is not an absolute path"));
        check(b"CDIR00000000", Err("the working directory is not an absolute path"));
        check(b"CDIRffffffff", Err("a working directory of 4294967295, but at most 131072 is accepted"));
        check(b"CDIR00000001/ARGCffffffff", Err("a number of arguments of 4294967295, but at most 262144 is accepted"));
        check(b"CDIR00000001/ARGC00000001", Err("reading an argument (ARGV): unexpected end of file"));
        check(b"CDIR00000001/ARGC00000001ARGV00000002a\0", Err("a zero byte in a string"));
    }

    #[test]
    fn a_command_line_is_bounded_as_a_whole() {
        let mut bytes = b"CDIR00000001/ARGC00000200".to_vec();
        for _ in 0..0x200 {
            bytes.extend_from_slice(b"ARGV00020000");
            bytes.extend_from_slice(&vec![b'a'; MAX_STRING_BYTES as usize]);
        }
        check(&bytes, Err("a command line of 8519680, but at most 8388608 is accepted"));
    }

    #[test]
    fn answers() {
        let none: [&[u8]; 0] = [];
        assert_eq!(answer(none.into_iter()), b"ARGC00000000");
        let paths: [&[u8]; 2] = [b"/a.lzo", b"/b\xff"];
        assert_eq!(answer(paths.into_iter()), b"ARGC00000002ARGV00000006/a.lzoARGV00000003/b\xff");
    }
}
