//! Fields as bytes: numbers in little endian, strings and lists after their length.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Writes the fields of one frame.
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    /// A frame with this tag.
    pub(super) fn new(tag: u8) -> Self {
        let mut buffer = Vec::with_capacity(4096);
        buffer.extend_from_slice(&[0, 0, 0, 0, tag]);
        Self(buffer)
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }

    pub(super) fn string(&mut self, value: &OsStr) {
        self.bytes(value.as_bytes());
    }

    pub(super) fn path(&mut self, value: &Path) {
        self.string(value.as_os_str());
    }

    pub(super) fn strings(&mut self, values: &[OsString]) {
        self.u32(values.len() as u32);
        for value in values {
            self.string(value);
        }
    }

    /// The whole frame, its length written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// Reads the fields of one frame's payload.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().ok_or_else(|| malformed("frame is too short"))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// The length of a list, each element of which takes at least a length's four bytes.
    pub(super) fn count(&mut self) -> io::Result<usize> {
        let count = self.u32()? as usize;
        if count <= self.0.len() / 4 { Ok(count) } else { Err(malformed("list is longer than its frame")) }
    }

    pub(super) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = self.u32()? as usize;
        let (field, rest) =
            self.0.split_at_checked(length).ok_or_else(|| malformed("field is longer than its frame"))?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn string(&mut self) -> io::Result<OsString> {
        Ok(OsString::from_vec(self.bytes()?.to_vec()))
    }

    pub(super) fn path(&mut self) -> io::Result<PathBuf> {
        self.string().map(PathBuf::from)
    }

    pub(super) fn strings(&mut self) -> io::Result<Vec<OsString>> {
        (0..self.count()?).map(|_| self.string()).collect()
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("frame is too long")) }
    }
}

pub(super) fn malformed(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
