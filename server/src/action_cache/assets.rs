//! What stands for an address, kept as a result: so it is there only while all of it is, and asking for it keeps it.

use super::ActionCache;
use crate::blobs::StoreError;
use crate::results::ResultKey;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::{ActionResult, ExecutedActionMetadata, OutputDirectory, OutputFile};
use std::time::SystemTime;

/// What an address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetKind {
    /// A blob.
    Blob,
    /// A root directory.
    Directory,
}

/// Content that an address stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// What it is.
    pub digest: Digest,
    /// When somebody said so, or began to bring it.
    pub since: SystemTime,
    /// Up to when it may be given.
    pub until: Option<SystemTime>,
    /// Blobs that have to be there with it.
    pub blobs: Vec<Digest>,
    /// Root directories that have to be there with it.
    pub directories: Vec<Digest>,
}

impl Asset {
    /// Content that stands there since then, by itself and for ever.
    pub fn new(digest: Digest, since: SystemTime) -> Self {
        Self { digest, since, until: None, blobs: Vec::new(), directories: Vec::new() }
    }

    /// As a result: the content first, and then what has to be there with it.
    fn to_result(&self, kind: AssetKind) -> ActionResult {
        let file = |digest: &Digest| OutputFile { digest: Some(digest.into()), ..OutputFile::default() };
        let directory = |digest: &Digest| OutputDirectory {
            root_directory_digest: Some(digest.into()),
            ..OutputDirectory::default()
        };
        let own = |of: AssetKind| (of == kind).then_some(&self.digest).into_iter();
        let metadata = ExecutedActionMetadata {
            queued_timestamp: Some(self.since.into()),
            worker_completed_timestamp: self.until.map(Into::into),
            ..ExecutedActionMetadata::default()
        };
        ActionResult {
            output_files: own(AssetKind::Blob).chain(&self.blobs).map(file).collect(),
            output_directories: own(AssetKind::Directory).chain(&self.directories).map(directory).collect(),
            execution_metadata: Some(metadata),
            ..ActionResult::default()
        }
    }

    fn of_result(function: DigestFunction, result: &ActionResult, kind: AssetKind) -> Option<Self> {
        let metadata = result.execution_metadata.as_ref()?;
        let files = result.output_files.iter().map(|file| function.read_field(&file.digest));
        let mut blobs = files.collect::<Result<Vec<_>, _>>().ok()?;
        let roots =
            result.output_directories.iter().map(|directory| function.read_field(&directory.root_directory_digest));
        let mut directories = roots.collect::<Result<Vec<_>, _>>().ok()?;
        let contents = if kind == AssetKind::Blob { &mut blobs } else { &mut directories };
        let digest = if contents.is_empty() { return None } else { contents.remove(0) };
        let until = metadata.worker_completed_timestamp.map(SystemTime::try_from).transpose().ok()?;
        Some(Self { digest, since: metadata.queued_timestamp?.try_into().ok()?, until, blobs, directories })
    }
}

impl ActionCache {
    /// What the address with that key stands for, by the function of the key, if it is known and all of it is there; it stays for the promised lifetime.
    ///
    /// # Errors
    /// A store is broken, or can't answer now.
    pub async fn asset(&self, key: Digest, kind: AssetKind) -> Result<Option<Asset>, StoreError> {
        let result = self.get_complete(&ResultKey::Asset(key)).await?;
        Ok(result.and_then(|result| Asset::of_result(key.function(), &result, kind)))
    }

    /// Remembers what the address with that key stands for, in place of what it stood for before.
    ///
    /// # Errors
    /// There is no room, or the store is broken, or can't answer now.
    pub async fn set_asset(&self, key: Digest, kind: AssetKind, asset: &Asset) -> Result<(), StoreError> {
        self.put_under(&ResultKey::Asset(key), asset.to_result(kind)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_asset_is_what_it_was() {
        let asset = Asset {
            digest: Digest::of(b"content"),
            since: UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123),
            until: Some(UNIX_EPOCH + Duration::from_secs(9)),
            blobs: vec![Digest::of(b"a")],
            directories: vec![Digest::of(b"b"), Digest::of(b"c")],
        };
        for kind in [AssetKind::Blob, AssetKind::Directory] {
            assert_eq!(Asset::of_result(DigestFunction::Sha256, &asset.to_result(kind), kind), Some(asset.clone()));
            let bare = Asset::new(asset.digest, asset.since);
            assert_eq!(Asset::of_result(DigestFunction::Sha256, &bare.to_result(kind), kind), Some(bare));
        }
    }
}
