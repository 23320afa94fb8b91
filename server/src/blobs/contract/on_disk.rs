//! What a store on a disk does beyond the contract: restarts, crashes, rot, packs and want of room.

use super::{config, content, read};
use crate::blobs::disk::DiskBlobStore;
use crate::blobs::{BlobStore, StoreError};
use crate::config::Config;
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use std::time::Duration;

/// A store and the path of its directory, for tests of what is on the disk.
struct OnDisk {
    dir: tempfile::TempDir,
    config: Config,
}

impl OnDisk {
    /// Forgets all that the journals say.
    fn remove_journals(&self) {
        for entry in std::fs::read_dir(self.dir.path().join("cas")).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.to_string_lossy().contains("journal-") {
                std::fs::remove_file(path).expect("removed");
            }
        }
    }

    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(dir.path());
        change(&mut config);
        Self { dir, config }
    }

    fn open(&self) -> DiskBlobStore {
        DiskBlobStore::open(&self.config).expect("opens")
    }

    fn path(&self, digest: Digest) -> std::path::PathBuf {
        let hash = digest.hash_hex();
        self.dir.path().join("cas").join(&hash[..2]).join(hash)
    }

    /// Turns a bit of a blob on the disk, and leaves the time of modification as it is.
    fn rot(&self, blob: &[u8], position: usize) {
        use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
        let own = self.path(Digest::of(blob));
        let (path, position) = if own.exists() {
            (own, position)
        } else {
            let packed = |path: std::path::PathBuf| {
                let content = std::fs::read(&path).expect("reads");
                let at = content.windows(blob.len()).rposition(|window| window == blob)?;
                Some((path, at + position))
            };
            self.packs().into_iter().find_map(packed).expect("it is packed")
        };
        let metadata = std::fs::metadata(&path).expect("there is a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("writable");
        let file = std::fs::File::options().read(true).write(true).open(&path).expect("opens");
        let mut byte = [0];
        file.read_exact_at(&mut byte, position as u64).expect("reads");
        file.write_all_at(&[byte[0] ^ 1], position as u64).expect("writes");
        file.set_modified(metadata.modified().expect("a time")).expect("set");
    }

    /// The files in which small blobs are.
    fn packs(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("cas/packs")).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| !path.ends_with("secret")).collect()
    }

    /// Writes something else into a blob's file.
    fn corrupt(&self, digest: Digest, content: &[u8]) {
        let path = self.path(digest);
        std::fs::remove_file(&path).expect("there is a file");
        std::fs::write(&path, content).expect("written");
    }
}

#[tokio::test]
async fn blobs_survive_a_restart() {
    let disk = OnDisk::new(|_| {});
    let blob = content(100_000);
    let digest = Digest::of(&blob);
    disk.open().put(digest, blob.clone()).await.expect("stores");
    let store = disk.open();
    assert_eq!((store.len(), store.size_bytes()), (1, 100_000));
    assert!(store.find_missing(&[digest]).await.expect("looks").is_empty());
    assert!(store.get(digest).await.expect("reads") == blob);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(disk.path(digest)).expect("a file"));
    assert_eq!(mode & 0o222, 0, "nobody can write it");
}

#[tokio::test]
async fn corrupt_files_are_moved_away() {
    let disk = OnDisk::new(|_| {});
    let store = disk.open();
    for size in [100_000, 1_000_000] {
        let blob = content(size);
        let digest = Digest::of(&blob);
        let mut flipped = blob.to_vec();
        flipped[size / 2] ^= 1;
        for corrupt in [flipped, blob[..size / 2].to_vec(), Vec::new()] {
            store.put(digest, blob.clone()).await.expect("stores");
            disk.corrupt(digest, &corrupt);
            assert!(matches!(store.read(digest, 0, None).await, Err(StoreError::Corrupt(_))), "never given as good");
            assert_eq!(store.find_missing(&[digest]).await.expect("looks"), [digest]);
            store.put(digest, blob.clone()).await.expect("stores");
            disk.corrupt(digest, &corrupt);
            assert!(matches!(store.get(digest).await, Err(StoreError::Corrupt(_))), "never given as good");
            assert!(!disk.path(digest).exists());
        }
        store.put(digest, blob.clone()).await.expect("stores");
        assert!(store.get(digest).await.expect("reads") == blob);
        // An upload repairs what was changed, though nobody has read it.
        disk.corrupt(digest, &vec![0; size]);
        store.put(digest, blob.clone()).await.expect("stores");
        assert!(store.get(digest).await.expect("reads") == blob);
        std::fs::remove_file(disk.path(digest)).expect("removed");
        assert!(matches!(store.get(digest).await, Err(StoreError::NotFound(_))));
        assert_eq!(store.find_missing(&[digest]).await.expect("looks"), [digest]);
    }
}

#[tokio::test]
async fn what_rots_in_place_is_never_given_whole_and_comes_back_with_the_next_upload() {
    let disk = OnDisk::new(|_| {});
    let store = disk.open();
    for size in [100, 5_000_000] {
        let blob = content(size);
        let digest = Digest::of(&blob);
        for (offset, limit) in [(0, None), (10, None), (3, Some(50))] {
            store.put(digest, blob.clone()).await.expect("stores");
            disk.rot(&blob, size / 2);
            let read = read(&store, digest, offset, limit).await;
            assert!(
                matches!(read, Err(StoreError::Corrupt(_))),
                "{size} from {offset}: {:?}",
                read.map(|read| read.len())
            );
            assert_eq!(store.find_missing(&[digest]).await.expect("looks"), [digest]);
        }
        store.put(digest, blob.clone()).await.expect("stores");
        disk.rot(&blob, size - 1);
        assert!(matches!(store.get(digest).await, Err(StoreError::Corrupt(_))));
        store.put(digest, blob.clone()).await.expect("stores");
        assert!(store.get(digest).await.expect("reads") == blob);
    }
}

/// Makes the journal look as if an earlier boot of the machine had written it.
fn reboot(disk: &OnDisk) {
    for file in std::fs::read_dir(disk.dir.path().join("cas")).expect("a directory") {
        let path = file.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with("journal-") || name.starts_with("snapshot-") {
            let mut content = std::fs::read(&path).expect("a file");
            content[8] ^= 1;
            std::fs::write(&path, content).expect("written");
        }
    }
}

#[tokio::test]
async fn after_a_crash_of_the_machine_torn_blobs_are_missing() {
    let disk = OnDisk::new(|_| {});
    let blobs: Vec<Bytes> = (1..5).map(|number| content(number * 100_000)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    let store = disk.open();
    for (digest, blob) in digests.iter().zip(&blobs) {
        store.put(*digest, blob.clone()).await.expect("stores");
    }
    drop(store);
    disk.corrupt(digests[0], b"");
    disk.corrupt(digests[2], &vec![0; 300_000]);
    std::fs::remove_file(disk.path(digests[3])).expect("removed");
    reboot(&disk);
    let store = disk.open();
    let asked = [digests[3], digests[2], digests[1], digests[0]];
    let missing = store.find_missing(&asked).await.expect("looks");
    assert_eq!(missing, [digests[3], digests[2], digests[0]], "each is verified before it is said to be there");
    assert!(store.get(digests[1]).await.expect("reads") == blobs[1]);
    store.put(digests[0], blobs[0].clone()).await.expect("stores");
    assert!(store.get(digests[0]).await.expect("reads") == blobs[0]);
}

#[tokio::test]
async fn a_torn_blob_that_the_journal_lost_is_replaced() {
    let disk = OnDisk::new(|_| {});
    let blob = content(500_000);
    let digest = Digest::of(&blob);
    disk.open().put(digest, blob.clone()).await.expect("stores");
    disk.remove_journals();
    disk.corrupt(digest, &vec![0; 500_000]);
    let store = disk.open();
    store.put(digest, blob.clone()).await.expect("stores");
    assert!(store.get(digest).await.expect("reads") == blob);
}

#[tokio::test]
async fn what_a_damaged_journal_lacks_is_found_on_the_disk() {
    let disk = OnDisk::new(|_| {});
    let blobs: Vec<Bytes> = (1..20).map(|number| content(100_000 + number * 10)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    let store = disk.open();
    for (digest, blob) in digests.iter().zip(&blobs) {
        store.put(*digest, blob.clone()).await.expect("stores");
    }
    drop(store);
    let path = disk.dir.path().join("cas/journal-0");
    let mut journal = std::fs::read(&path).expect("a journal");
    journal[24 + 64 + 40] ^= 0xff;
    journal.truncate(24 + 64 * 10 + 30);
    std::fs::write(&path, journal).expect("written");
    std::fs::remove_file(disk.path(digests[4])).expect("removed");
    std::fs::remove_file(disk.path(digests[14])).expect("removed");
    let store = disk.open();
    let missing = store.find_missing(&digests).await.expect("looks");
    assert_eq!(missing, [digests[4], digests[14]], "one record is damaged, nine were cut off; two files are gone");
    for (digest, blob) in digests.iter().zip(&blobs) {
        store.put(*digest, blob.clone()).await.expect("stores");
        assert!(store.get(*digest).await.expect("reads") == *blob);
    }
    let size_bytes = blobs.iter().map(|blob| blob.len() as u64).sum::<u64>();
    assert_eq!((store.len(), store.size_bytes()), (19, size_bytes));
}

#[tokio::test]
async fn what_is_packed_is_found_without_a_journal_and_gone_when_it_is_evicted() {
    let disk = OnDisk::new(|config| {
        config.cas_size_bytes = 1_000_000;
        config.promised_lifetime = Duration::ZERO;
    });
    let blobs: Vec<Bytes> = (0..200).map(|number| content(5000 + number)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    let store = disk.open();
    for (digest, blob) in digests.iter().zip(&blobs) {
        store.put(*digest, blob.clone()).await.expect("stores");
    }
    let missing = store.find_missing(&digests).await.expect("looks");
    let before = (store.len(), store.size_bytes());
    assert!(!missing.is_empty() && before.1 <= 1_000_000, "{before:?}");
    drop(store);
    let allocated = |path: &std::path::PathBuf| {
        std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).expect("a file")) * 512
    };
    let on_disk: u64 = disk.packs().iter().map(allocated).sum();
    assert!(on_disk < 200 * 8192, "{on_disk} bytes: the room of what was evicted has come back");
    disk.remove_journals();
    let store = disk.open();
    assert_eq!(
        store.find_missing(&digests).await.expect("looks"),
        missing,
        "and nothing that was evicted has come back"
    );
    for (digest, blob) in digests.iter().zip(&blobs).filter(|(digest, _)| !missing.contains(digest)) {
        assert!(store.get(*digest).await.expect("reads") == *blob);
    }
    assert_eq!((store.len(), store.size_bytes()), before);
}

#[tokio::test]
async fn very_many_tiny_blobs_at_once_are_all_there() {
    let disk = OnDisk::new(|_| {});
    let store = disk.open();
    let blobs: Vec<Bytes> = (0..40_000_u32).map(|number| Bytes::from(number.to_string())).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    let stored = store.put_many(digests.iter().copied().zip(blobs.iter().cloned()).collect()).await;
    assert!(stored.iter().all(Result::is_ok), "more than a pack has room for");
    let read = store.get_many(&digests).await;
    assert!(read.into_iter().zip(&blobs).all(|(read, blob)| read.is_ok_and(|read| read == *blob)));
    assert!(disk.packs().len() > 1);
}

#[tokio::test]
async fn the_least_recently_stored_make_room() {
    let disk = OnDisk::new(|config| {
        config.cas_size_bytes = 1_000_000;
        config.promised_lifetime = Duration::ZERO;
    });
    let blobs: Vec<Bytes> = (0..30).map(|number| content(100_000 + number)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    let store = disk.open();
    for (digest, blob) in digests.iter().zip(&blobs) {
        store.put(*digest, blob.clone()).await.expect("stores");
        assert!(store.size_bytes() <= 1_000_000);
        assert!(disk.path(*digest).exists());
    }
    let missing = store.find_missing(&digests).await.expect("looks");
    assert_eq!(missing.len(), 21, "nine of some 100,000 bytes fit");
    assert!(missing.iter().all(|digest| !disk.path(*digest).exists()), "what is evicted is gone from the disk");
    drop(store);
    let store = disk.open();
    assert_eq!(store.find_missing(&digests).await.expect("looks"), missing, "a restart changes nothing");
}

#[tokio::test]
async fn promised_blobs_stay_and_what_has_no_room_is_refused() {
    let disk = OnDisk::new(|config| config.cas_size_bytes = 100_000);
    let store = disk.open();
    let blobs: Vec<Bytes> = (0..20).map(|number| content(10_000 + number)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    // Uploads that have only begun take no room from anybody.
    let mut idle = Vec::new();
    for number in 0..20 {
        let mut upload = store.write(Digest::of(&content(90_000 + number))).await.expect("begins");
        upload.write(Bytes::from_static(b"x")).await.expect("written");
        idle.push(upload);
    }
    for (stored, blob) in blobs.iter().enumerate() {
        let put = store.put(digests[stored], blob.clone()).await;
        match put {
            Ok(()) => assert!(stored < 12, "a quarter more is possible"),
            Err(StoreError::Exhausted(message)) => assert!(stored >= 12, "{stored}: {message}"),
            Err(error) => panic!("{error}"),
        }
        let missing = store.find_missing(&digests[..=stored.min(11)]).await.expect("looks");
        assert_eq!(missing, [], "what was stored stays");
        assert!(store.size_bytes() <= 125_000);
    }
    let large = content(100_001);
    let refused = store.put(Digest::of(&large), large).await;
    assert!(matches!(&refused, Err(StoreError::Exhausted(message)) if message.contains("100000")), "{refused:?}");
    assert_eq!(store.len(), 12);
}

#[tokio::test]
async fn a_full_file_system_is_said_clearly() {
    let disk = OnDisk::new(|config| config.free_disk_bytes = u64::MAX / 2);
    let refused = disk.open().put(Digest::of(b"x"), Bytes::from_static(b"x")).await;
    assert!(matches!(&refused, Err(StoreError::Exhausted(message)) if message.contains("bytes free")), "{refused:?}");
}
