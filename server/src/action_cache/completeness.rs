//! Whether everything that a result names is in the CAS: files, streams, Trees and what is inside the Trees.
//!
//! Looking extends the lifetimes of all of them.

use crate::blobs::tree::{TreeError, missing_below};
use crate::blobs::{BlobStore, StoreError};
use prost::Message as _;
use pumphouse_proto::digest::{Digest, DigestFunction, InvalidDigest};
use pumphouse_proto::entries;
use pumphouse_proto::limits::METADATA_BLOB_SIZE_BYTES;
use pumphouse_proto::reapi::{ActionResult, Directory, Tree};

/// Looks into a store.
pub(super) struct Completeness<'a> {
    pub(super) blobs: &'a dyn BlobStore,
}

impl Completeness<'_> {
    /// Whether every blob of the result, whose digests are by `function`, is there. A result that names something malformed is not complete.
    pub(super) async fn is_complete(
        &self,
        function: DigestFunction,
        result: &ActionResult,
    ) -> Result<bool, StoreError> {
        let Ok(Named { blobs, trees, roots }) = Named::by(function, result) else { return Ok(false) };
        if !self.blobs.find_missing(&blobs).await?.is_empty() {
            return Ok(false);
        }
        for tree in trees {
            if !self.is_tree_complete(tree).await? {
                return Ok(false);
            }
        }
        for root in roots {
            match missing_below(self.blobs, root).await {
                Ok(missing) if missing.is_empty() => {}
                Err(TreeError::Store(error)) => return Err(error),
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn is_tree_complete(&self, digest: Digest) -> Result<bool, StoreError> {
        if digest.size_bytes() > METADATA_BLOB_SIZE_BYTES {
            return Ok(false);
        }
        let blob = match self.blobs.get(digest).await {
            Ok(blob) => blob,
            Err(error) if error.is_absence() => return Ok(false),
            Err(error) => return Err(error),
        };
        if entries::check_tree(&blob).is_err() {
            return Ok(false);
        }
        let Ok(tree) = Tree::decode(blob) else { return Ok(false) };
        let Ok(files) = files_of(digest.function(), &tree) else { return Ok(false) };
        Ok(self.blobs.find_missing(&files).await?.is_empty())
    }
}

/// What a result names.
struct Named {
    /// Files, streams and Trees.
    blobs: Vec<Digest>,
    /// The Trees.
    trees: Vec<Digest>,
    /// The root directories: what is below them has to be there too.
    roots: Vec<Digest>,
}

impl Named {
    fn by(function: DigestFunction, result: &ActionResult) -> Result<Self, InvalidDigest> {
        let files = result.output_files.iter().map(|file| function.read_field(&file.digest));
        let streams =
            [&result.stdout_digest, &result.stderr_digest].into_iter().flatten().map(|digest| function.read(digest));
        let directories = &result.output_directories;
        let trees = directories
            .iter()
            .filter_map(|directory| directory.tree_digest.as_ref())
            .map(|digest| function.read(digest));
        let roots = directories.iter().filter_map(|directory| directory.root_directory_digest.as_ref());
        let trees = trees.collect::<Result<Vec<_>, _>>()?;
        let mut blobs = files.chain(streams).collect::<Result<Vec<_>, _>>()?;
        blobs.extend(&trees);
        Ok(Self { blobs, trees, roots: roots.map(|digest| function.read(digest)).collect::<Result<_, _>>()? })
    }
}

fn files_of(function: DigestFunction, tree: &Tree) -> Result<Vec<Digest>, InvalidDigest> {
    let directories = tree.root.iter().chain(&tree.children);
    directories
        .flat_map(|directory: &Directory| &directory.files)
        .map(|file| function.read_field(&file.digest))
        .collect()
}
