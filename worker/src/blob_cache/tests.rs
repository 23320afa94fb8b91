//! What files stand for, and links into a store of the same process.

use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use pumphouse_proto::cas::{Appearance, Link};
use pumphouse_proto::cas_client::Upload;
use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::Ordering;
use tonic::Status;

#[test]
fn files_stand_for_what_their_names_say() {
    let digest = Digest::of(b"blob");
    let hash = digest.hash_hex();
    let check = |name: &str, expect: Option<bool>| {
        let expect = expect.map(|is_executable| Content { digest, is_executable });
        assert_eq!(content_of(name.as_bytes(), 4), expect, "{name}");
    };
    check(&format!("{hash}-4"), Some(false));
    check(&format!("{hash}-4.x"), Some(true));
    check(&format!("{hash}-5"), None);
    check(&hash, None);
    check("tmp-4", None);
    check(&format!("{hash}-4.md5"), None);
    let other = Content { digest: digest.by(DigestFunction::Blake3), is_executable: true };
    assert_eq!(content_of(format!("{hash}-4.blake3.x").as_bytes(), 4), Some(other));
}

/// A store of one blob, whose file can be linked, or not.
#[derive(Debug)]
struct OneBlob {
    file: PathBuf,
    digest: Digest,
    link: Mutex<Link>,
    corrupt_files: AtomicU64,
}

impl OneBlob {
    fn new(dir: &Path, bytes: &[u8]) -> Arc<Self> {
        let file = dir.join("the-store-s");
        fs::write(&file, bytes).expect("written");
        let (digest, link) = (Digest::of(bytes), Mutex::new(Link::Made));
        Arc::new(Self { file, digest, link, corrupt_files: AtomicU64::new(0) })
    }
}

#[async_trait]
impl Cas for OneBlob {
    async fn find_missing(&self, _: &[Digest]) -> Result<Vec<Digest>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn read_all(&self, _: &[Digest]) -> Result<HashMap<Digest, Bytes>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn read_to_file(&self, digest: Digest, mut file: fs::File, _: &Path) -> Result<bool, Status> {
        if digest != self.digest {
            return Ok(false);
        }
        file.write_all(&fs::read(&self.file)?)?;
        Ok(true)
    }

    async fn upload(&self, _: Vec<Upload>) -> Result<(), Status> {
        Err(Status::unimplemented("not asked"))
    }
}

#[async_trait]
impl LocalCas for OneBlob {
    fn linked_above_bytes(&self, _: &Path) -> Option<u64> {
        Some(4)
    }

    async fn link(&self, digest: Digest, appearance: Appearance, path: &Path) -> Result<Link, Status> {
        assert_eq!((appearance.mode & 0o222, appearance.modified_seconds), (0, 1_000_000_000));
        let link = if digest == self.digest { *self.link.lock() } else { Link::Missing };
        if link == Link::Made {
            fs::hard_link(&self.file, path)?;
        }
        Ok(link)
    }

    fn corrupt_files(&self) -> u64 {
        self.corrupt_files.load(Ordering::Relaxed)
    }
}

fn plain(digest: Digest) -> Content {
    Content { digest, is_executable: false }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("there").ino()
}

#[tokio::test]
async fn a_link_is_there_for_as_long_as_somebody_pins_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = OneBlob::new(dir.path(), b"a large blob");
    let cache = BlobCache::open(&dir.path().join("blobs"), 0, Some(&*store)).expect("opened");
    let source = BlobSource::InProcess(Arc::clone(&store) as _);
    let content = plain(store.digest);
    let first = cache.fetch(&source, &[content, content]).await.expect("linked");
    assert_eq!(inode(&cache.path(&content)), inode(&store.file));
    let second = cache.fetch(&source, &[content]).await.expect("here already");
    drop(first);
    fs::remove_file(&store.file).expect("evicted");
    assert_eq!(fs::read(cache.path(&content)).expect("pinned"), b"a large blob");
    drop(second);
    assert!(!cache.path(&content).exists(), "what the store evicts is not kept for the worker's sake");
}

#[tokio::test]
async fn what_cannot_be_linked_is_a_copy_and_what_is_missing_is_named_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = OneBlob::new(dir.path(), b"a large blob");
    *store.link.lock() = Link::Refused;
    let cache = BlobCache::open(&dir.path().join("blobs"), 0, Some(&*store)).expect("opened");
    let source = BlobSource::InProcess(Arc::clone(&store) as _);
    let content = Content { digest: store.digest, is_executable: true };
    let pins = cache.fetch(&source, &[content]).await.expect("copied");
    let path = cache.path(&content);
    assert_ne!(inode(&path), inode(&store.file));
    let metadata = fs::metadata(&path).expect("there");
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o555, 1_000_000_000));
    drop(pins);
    assert!(!path.exists());
    let absent = Digest::of(b"absent blob");
    let wanted = [plain(absent), Content { digest: absent, is_executable: true }];
    let missing = cache.fetch(&source, &wanted).await;
    assert!(matches!(&missing, Err(ExecutionError::Missing(digests)) if *digests == [absent]), "{missing:?}");
    assert_eq!(fs::read_dir(dir.path().join("blobs/tmp")).expect("readable").count(), 0);
}

#[tokio::test]
async fn after_corruption_links_are_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = OneBlob::new(dir.path(), b"a large blob");
    let cache = BlobCache::open(&dir.path().join("blobs"), 0, Some(&*store)).expect("opened");
    let source = BlobSource::InProcess(Arc::clone(&store) as _);
    let content = plain(store.digest);
    let old = cache.fetch(&source, &[content]).await.expect("linked");
    let rotten = inode(&store.file);
    fs::remove_file(&store.file).expect("moved away");
    fs::write(&store.file, b"a large blob").expect("brought again");
    store.corrupt_files.store(1, Ordering::Relaxed);
    cache.heed_corruption(source.corrupt_files());
    let new = cache.fetch(&source, &[content]).await.expect("linked");
    assert_ne!(rotten, inode(&cache.path(&content)));
    assert_eq!(inode(&cache.path(&content)), inode(&store.file));
    drop(old);
    assert!(cache.path(&content).exists(), "still pinned");
    drop(new);
    assert!(!cache.path(&content).exists());
}

#[test]
fn a_start_leaves_no_links_and_no_large_copies_of_earlier_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let blobs = dir.path().join("blobs");
    let (small, large) = (plain(Digest::of(b"tiny")), plain(Digest::of(b"a large blob")));
    let cache = BlobCache::open(&blobs, 1 << 20, None).expect("opened");
    cache.store(small, b"tiny").expect("stored");
    cache.store(large, b"a large blob").expect("stored");
    let copy = cache.path(&large);
    fs::write(blobs.join(LINKED).join("link"), b"").expect("written");
    let store = OneBlob::new(dir.path(), b"");
    let cache = BlobCache::open(&blobs, 1 << 20, Some(&*store)).expect("opened");
    cache.recover();
    assert!(!copy.exists() && cache.path(&small).exists());
    assert_eq!(fs::read_dir(blobs.join(LINKED)).expect("readable").count(), 0);
}
