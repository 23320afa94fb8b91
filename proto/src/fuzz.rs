//! Fuzz targets of what the API's texts and messages hold.

use crate::address::Address;
use crate::digest::{Digest, DigestMessage, HashText};
use crate::reapi::Directory;
use crate::resource_name::{BlobName, UploadName};
use crate::size::{format_size, parse_size};
use crate::tree::{self, TreeBuilder};
use bytes::Bytes;
use prost::Message as _;
use pumphouse_fuzz::{any, bounded, check, like, sample, text_like, vec};

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn is_plain_instance(name: &str) -> bool {
    !name.starts_with('/') && !name.ends_with('/')
}

#[test]
fn names_of_blobs() {
    let examples =
        [format!("blobs/{HASH}/0"), format!("a/b/blobs/{HASH}/77"), format!("x/compressed-blobs/zstd/{HASH}/9")];
    check(&text_like(&examples), |name| {
        let Ok(blob) = bounded(name.len(), || BlobName::parse(&name)) else { return };
        assert!(is_plain_instance(&blob.instance_name), "{blob:?}");
        assert!(name.rsplit('/').next().is_some_and(|size| size.bytes().all(|byte| byte.is_ascii_digit())), "{name}");
        assert_eq!(BlobName::parse(&blob.to_string()), Ok(blob));
    });
}

#[test]
fn names_of_uploads() {
    let examples =
        [format!("uploads/u/blobs/{HASH}/0"), format!("a/uploads/u-1/compressed-blobs/zstd/{HASH}/77/meta/data.txt")];
    check(&text_like(&examples), |name| {
        let Ok(upload) = bounded(name.len(), || UploadName::parse(&name)) else { return };
        assert!(is_plain_instance(&upload.blob.instance_name), "{upload:?}");
        assert_eq!(UploadName::parse(&upload.to_string()), Ok(upload));
    });
}

#[test]
fn digests_in_messages() {
    let good = DigestMessage::from(Digest::EMPTY).encode_to_vec();
    let odd = DigestMessage { hash: HashText::from("not a hash"), size_bytes: -1 }.encode_to_vec();
    check(&like(&[good, odd]), |bytes| {
        let Ok(message) = bounded(bytes.len(), || DigestMessage::decode(bytes.as_slice())) else { return };
        let again = DigestMessage::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&message));
        if let Ok(digest) = Digest::try_from(&message) {
            assert_eq!(DigestMessage::from(digest), message);
        }
    });
}

#[test]
fn addresses() {
    let examples = ["grpc://build.example:8980", "grpcs://[::1]:1/a/b", "grpc://10.0.0.1:65535/main"];
    check(&text_like(&examples), |text| {
        let Ok(address) = bounded(text.len(), || Address::parse(&text)) else { return };
        assert_eq!(Address::parse(&address.to_string()), Ok(address));
    });
}

#[test]
fn sizes() {
    check(&text_like(&["512", "10G", "3 MiB", "99999999999T"]), |text| {
        if let Ok(bytes) = bounded(text.len(), || parse_size(&text)) {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    });
    check(&any::<u64>(), |bytes| assert_eq!(parse_size(&format_size(bytes)), Ok(bytes)));
}

fn built() -> Vec<Vec<u8>> {
    let mut builder = TreeBuilder::new();
    builder.file("a/b", Digest::EMPTY).expect("free");
    builder.executable("c", Digest::of(b"c")).expect("free");
    builder.symlink("d", "../x").expect("free");
    builder.build().directories.values().map(|directory| directory.to_vec()).collect()
}

#[test]
fn directories() {
    check(&like(&built()), |bytes| {
        let blob = Bytes::copy_from_slice(&bytes);
        let Ok(directory) = bounded(bytes.len(), || tree::decode(Digest::of(&bytes), blob)) else { return };
        let files = directory.files.iter().map(|node| &node.name);
        let links = directory.symlinks.iter().map(|node| &node.name);
        let mut names: Vec<_> = files.chain(links).chain(directory.directories.iter().map(|node| &node.name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name stands twice");
        assert!(names.iter().all(|name| !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0'])));
        let again = directory.encode_to_vec();
        assert_eq!(tree::decode(Digest::of(&again), again.into()), Ok(directory));
    });
}

#[test]
fn trees_are_canonical_whatever_the_paths() {
    let path = vec(sample::select(&["a", "b", "a.b", "", ".", "..", "é", "\0"][..]), 1..5);
    check(&vec((path, 0..4_u8), 0..12), |entries| {
        let mut builder = TreeBuilder::new();
        for (path, kind) in entries {
            let path = path.join("/");
            let _ = match kind {
                0 => builder.file(&path, Digest::EMPTY),
                1 => builder.symlink(&path, "target"),
                2 => builder.directory(&path),
                _ => builder.executable(&path, Digest::of(path.as_bytes())),
            };
        }
        let tree = builder.build();
        assert!(tree.directories.contains_key(&tree.root));
        for (digest, blob) in tree.directories {
            let directory: Directory = tree::decode(digest, blob.clone()).expect("canonical");
            assert!(digest.matches(&blob) && directory.encode_to_vec() == blob);
        }
    });
}
