//! Trees of directories in a store: what of them is missing.

use super::{BlobStore, StoreError};
use pumphouse_proto::digest::{Digest, DigestFunction, InvalidDigest};
use pumphouse_proto::limits::{BATCH_SIZE_BYTES, DIGESTS_PER_CALL, METADATA_BLOB_SIZE_BYTES};
use pumphouse_proto::reapi::Directory;
use pumphouse_proto::tree::{self, InvalidDirectory};
use std::collections::BTreeSet;
use tonic::Status;

/// How many directories a tree may have: more can't be walked in a sensible time.
pub(crate) const DIRECTORIES_PER_TREE: usize = 1_000_000;

/// How many directories are read at a time.
const DIRECTORIES_AT_ONCE: usize = 1000;

/// Why a tree can't be walked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// A directory isn't canonical.
    #[error(transparent)]
    Invalid(#[from] InvalidDirectory),
    /// A directory's message is larger than any sensible one.
    #[error("directory {0} is too large")]
    DirectoryTooLarge(Digest),
    /// The tree is larger than any sensible one.
    #[error("the tree has more than {DIRECTORIES_PER_TREE} directories")]
    TooManyDirectories,
    /// The store is broken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TreeError> for Status {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Store(error) => error.into(),
            error => Self::invalid_argument(error.to_string()),
        }
    }
}

/// Every directory and file below `root`, itself included, that is missing as far as can be known.
pub(crate) async fn missing_below(blobs: &dyn BlobStore, root: Digest) -> Result<BTreeSet<Digest>, TreeError> {
    let mut missing = BTreeSet::new();
    let (mut seen, mut level) = (BTreeSet::<Digest>::new(), BTreeSet::from([root]));
    while !level.is_empty() {
        if let Some(large) = level.iter().find(|digest| digest.size_bytes() > METADATA_BLOB_SIZE_BYTES) {
            return Err(TreeError::DirectoryTooLarge(*large));
        }
        let digests: Vec<Digest> = std::mem::take(&mut level).into_iter().collect();
        seen.extend(&digests);
        let mut rest = digests.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(fitting(rest.iter()));
            rest = after;
            let mut files = Vec::new();
            for (digest, blob) in chunk.iter().zip(blobs.get_many(chunk).await) {
                let directory = match blob {
                    Ok(blob) => tree::decode(*digest, blob)?,
                    Err(StoreError::NotFound(digest) | StoreError::Corrupt(digest)) => {
                        missing.insert(digest);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                let (below, directories) = children(digest.function(), &directory)?;
                files.extend(below);
                level.extend(directories.into_iter().filter(|directory| !seen.contains(directory)));
            }
            for files in files.chunks(DIGESTS_PER_CALL) {
                missing.extend(blobs.find_missing(files).await?);
            }
        }
        if seen.len() + level.len() > DIRECTORIES_PER_TREE {
            return Err(TreeError::TooManyDirectories);
        }
    }
    Ok(missing)
}

/// How many of `directories` are read at a time: at least one, and so many that their messages take little memory together.
pub(crate) fn fitting<'a>(directories: impl Iterator<Item = &'a Digest>) -> usize {
    let mut size_bytes = 0;
    let fit = directories.take(DIRECTORIES_AT_ONCE).take_while(|digest| {
        size_bytes += digest.size_bytes();
        size_bytes <= BATCH_SIZE_BYTES as u64
    });
    fit.count().max(1)
}

/// The digests of a directory's files and of its directories, which are by the function of its own.
fn children(function: DigestFunction, directory: &Directory) -> Result<(Vec<Digest>, Vec<Digest>), InvalidDirectory> {
    let digest = |name: &String, digest: &Option<pumphouse_proto::reapi::Digest>| {
        function.read_field(digest).map_err(|error: InvalidDigest| InvalidDirectory::Digest(name.clone(), error))
    };
    let files = directory.files.iter().map(|node| digest(&node.name, &node.digest));
    let directories = directory.directories.iter().map(|node| digest(&node.name, &node.digest));
    Ok((files.collect::<Result<_, _>>()?, directories.collect::<Result<_, _>>()?))
}
