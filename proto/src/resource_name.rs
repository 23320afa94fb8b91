//! The names of blobs in byte streams, as `Read`, `Write` and `QueryWriteStatus` carry them.
//!
//! An instance name may be empty or contain slashes, so a name is read from its keyword on. Uploads may carry further
//! segments of metadata behind the size, which mean nothing.
//!
//! **Source:** Remote Execution API v2, service `ContentAddressableStorage`.

use crate::digest::{Digest, DigestFunction, InvalidDigest};
use std::fmt;

/// How the bytes of a stream are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Identity,
    /// As zstd frames; the digest names the uncompressed bytes.
    Zstd,
}

/// A blob in a byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobName {
    /// Which instance: may be empty, never begins or ends with a slash.
    pub instance_name: String,
    /// Which blob.
    pub digest: Digest,
    /// How its bytes come.
    pub compression: Compression,
}

/// A blob that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadName {
    /// What is written.
    pub blob: BlobName,
    /// The client's name for this attempt.
    pub upload_id: String,
}

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name is not of the API's form.
    #[error(
        "resource name {0:?} is not of the form [INSTANCE/]blobs/[FUNCTION/]HASH/SIZE or [INSTANCE/]uploads/ID/blobs/[FUNCTION/]HASH/SIZE"
    )]
    Form(String),
    /// The compressor is not one that is spoken.
    #[error("resource name {0:?} asks for a compressor that is not supported")]
    Compressor(String),
    /// The digest function is neither SHA-256 nor BLAKE3.
    #[error("resource name {0:?} asks for a digest function that is not supported")]
    DigestFunction(String),
    /// The digest is malformed.
    #[error("resource name {0:?}: {1}")]
    Digest(String, InvalidDigest),
}

impl From<InvalidName> for tonic::Status {
    fn from(error: InvalidName) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Digest functions that would have a segment of their own in names.
const OTHER_DIGEST_FUNCTIONS: &[&str] = &["sha256tree", "gitsha1"];

impl BlobName {
    /// Reads the name of a `Read`.
    ///
    /// # Errors
    /// Says what is wrong, and repeats the name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let segments: Vec<&str> = name.split('/').collect();
        let keyword = segments
            .iter()
            .position(|segment| matches!(*segment, "blobs" | "compressed-blobs"))
            .ok_or_else(|| InvalidName::Form(name.to_owned()))?;
        let (blob, rest) = parse_blob(name, &segments[..keyword], &segments[keyword..])?;
        if rest.is_empty() { Ok(blob) } else { Err(InvalidName::Form(name.to_owned())) }
    }
}

impl UploadName {
    /// Reads the name of a `Write` or a `QueryWriteStatus`.
    ///
    /// # Errors
    /// Says what is wrong, and repeats the name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let form = || InvalidName::Form(name.to_owned());
        let segments: Vec<&str> = name.split('/').collect();
        let keyword = segments.iter().position(|segment| *segment == "uploads").ok_or_else(form)?;
        let upload_id = segments.get(keyword + 1).filter(|id| !id.is_empty()).ok_or_else(form)?;
        let (blob, _metadata) = parse_blob(name, &segments[..keyword], &segments[keyword + 2..])?;
        Ok(Self { blob, upload_id: (*upload_id).to_owned() })
    }
}

/// Reads `blobs/[FUNCTION/]HASH/SIZE` or `compressed-blobs/COMPRESSOR/[FUNCTION/]HASH/SIZE`; gives the segments behind it too.
fn parse_blob<'a, 'b>(
    name: &str,
    instance: &[&str],
    segments: &'b [&'a str],
) -> Result<(BlobName, &'b [&'a str]), InvalidName> {
    let form = || InvalidName::Form(name.to_owned());
    let (compression, rest) = match segments {
        ["blobs", rest @ ..] => (Compression::Identity, rest),
        ["compressed-blobs", "zstd", rest @ ..] => (Compression::Zstd, rest),
        ["compressed-blobs", _, ..] => return Err(InvalidName::Compressor(name.to_owned())),
        _ => return Err(form()),
    };
    let (function, rest) = match rest {
        [other, ..] if OTHER_DIGEST_FUNCTIONS.contains(other) => {
            return Err(InvalidName::DigestFunction(name.to_owned()));
        }
        [first, rest @ ..] if let Some(function) = DigestFunction::of_segment(first) => (function, rest),
        _ => (DigestFunction::Sha256, rest),
    };
    let [hash, size, rest @ ..] = rest else { return Err(form()) };
    let invalid = |error| InvalidName::Digest(name.to_owned(), error);
    let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
    let size = size.parse().ok().filter(|size| is_number && i64::try_from(*size).is_ok());
    let size = size.ok_or_else(|| invalid(InvalidDigest::Size((*segments.last().unwrap_or(&"")).to_owned())))?;
    let digest = Digest::parse(hash, size).map_err(invalid)?.by(function);
    let instance_name = instance.join("/").trim_matches('/').to_owned();
    Ok((BlobName { instance_name, digest, compression }, rest))
}

fn write_instance(formatter: &mut fmt::Formatter<'_>, instance_name: &str) -> fmt::Result {
    if instance_name.is_empty() { Ok(()) } else { write!(formatter, "{instance_name}/") }
}

fn write_blob(formatter: &mut fmt::Formatter<'_>, blob: &BlobName) -> fmt::Result {
    match blob.compression {
        Compression::Identity => write!(formatter, "blobs/{}", blob.digest),
        Compression::Zstd => write!(formatter, "compressed-blobs/zstd/{}", blob.digest),
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_instance(formatter, &self.instance_name)?;
        write_blob(formatter, self)
    }
}

impl fmt::Display for UploadName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_instance(formatter, &self.blob.instance_name)?;
        write!(formatter, "uploads/{}/", self.upload_id)?;
        write_blob(formatter, &self.blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn blob_names_are_read_and_written() {
        for name in [
            format!("blobs/{HASH}/0"),
            format!("a/b/c/blobs/{HASH}/7"),
            format!("i/compressed-blobs/zstd/{HASH}/9"),
            format!("blobs/blake3/{HASH}/7"),
            format!("i/compressed-blobs/zstd/blake3/{HASH}/9"),
        ] {
            assert_eq!(BlobName::parse(&name).expect("well formed").to_string(), name);
        }
    }

    #[test]
    fn upload_names_are_read_and_written() {
        for name in
            [format!("uploads/u-1/blobs/{HASH}/0"), format!("a/b/uploads/u/compressed-blobs/zstd/blake3/{HASH}/7")]
        {
            assert_eq!(UploadName::parse(&name).expect("well formed").to_string(), name);
        }
        let with_metadata = format!("uploads/u/blobs/{HASH}/3/some/file.txt");
        assert_eq!(UploadName::parse(&with_metadata).expect("well formed").blob.digest.size_bytes(), 3);
    }

    #[test]
    fn slashes_around_an_instance_are_none_of_its_name() {
        for (name, expect) in [("/", ""), ("//", ""), ("a//", "a"), ("/a/b///", "a/b"), ("a//b/", "a//b")] {
            let name = format!("{name}blobs/{HASH}/0");
            assert_eq!(BlobName::parse(&name).expect("well formed").instance_name, expect, "{name}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            String::new(),
            "blobs".to_owned(),
            format!("blobs/{HASH}"),
            format!("blobs/{HASH}/-1"),
            format!("blobs/{HASH}/x"),
            format!("blobs/{HASH}/+1"),
            format!("blobs/{HASH}/18446744073709551615"),
            format!("blobs/{}/0", HASH.to_uppercase()),
            format!("blobs/sha256tree/{HASH}/0"),
            format!("blobs/blake3/{HASH}"),
            format!("compressed-blobs/brotli/{HASH}/0"),
            format!("blobs/{HASH}/0/more"),
        ] {
            assert!(BlobName::parse(&name).is_err(), "{name}");
        }
        for name in [format!("blobs/{HASH}/0"), format!("uploads//blobs/{HASH}/0"), format!("uploads/blobs/{HASH}/0")] {
            assert!(UploadName::parse(&name).is_err(), "{name}");
        }
    }
}
