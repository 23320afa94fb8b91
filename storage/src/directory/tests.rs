//! A directory on a real disk.

use super::*;
use crate::volume::Temporaries;
use rustix::io::Errno;
use std::path::Path;

fn open(path: &Path) -> Arc<Directory> {
    let limits = Limits { size_bytes: 1 << 30, promised_lifetime: Duration::ZERO, free_disk_bytes: 0 };
    let volume = SystemVolume::open(path, Temporaries::Nameless).expect("opens");
    Directory::open(volume, limits).expect("opens")
}

fn key(number: u32) -> Key {
    let mut key = Key::default();
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = open(dir.path());
    let error = |errno: Errno| directory.write_error("write", "tmp", errno.into());
    assert!(matches!(error(Errno::NOSPC), StorageError::Exhausted(_)));
    assert!(matches!(error(Errno::DQUOT), StorageError::Exhausted(_)));
    let path = dir.path().join("tmp").display().to_string();
    assert!(matches!(error(Errno::IO), StorageError::Io { path: named, .. } if named == path));
}

#[test]
fn a_snapshot_replaces_a_long_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = open(dir.path());
    let entry = |number: u32| Entry {
        size_bytes: u64::from(number),
        seal: Some(Seal { modified: 1, sum: 1 }),
        is_confirmed: true,
    };
    for number in 0..60_000 {
        directory.know(key(number), entry(number));
        if number % 2 == 1 {
            directory.forget(&key(number - 1));
        }
    }
    let (len, size_bytes) = (directory.len(), directory.size_bytes());
    assert_eq!(len, 30_000);
    drop(directory);
    let files = std::fs::read_dir(dir.path()).expect("a directory").filter_map(Result::ok);
    let metadata = files.filter_map(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file);
    let journal_bytes: u64 = metadata.map(|file| file.len()).sum();
    assert!(journal_bytes < 90_000 * 64, "{journal_bytes}");
    for _ in 0..3 {
        let directory = open(dir.path());
        assert_eq!((directory.len(), directory.size_bytes()), (len, size_bytes));
    }
}

#[test]
fn what_a_killed_process_did_not_write_down_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let (kept, gone) = (key(1), key(2));
    let directory = open(dir.path());
    for key in [kept, gone] {
        let mut temporary = directory.temporary().expect("made");
        temporary.write(b"content").expect("written");
        directory.replace(&key, &temporary).expect("published");
    }
    drop(directory);
    // As if it had not ended in order.
    std::fs::remove_file(dir.path().join("ended")).expect("ended in order");
    std::fs::remove_file(dir.path().join(name(&gone))).expect("removed");
    std::fs::write(dir.path().join(name(&kept).replace("01000000", "01000009")), "stranger").expect("written");
    let directory = open(dir.path());
    // What the thread has not come to yet.
    for shard in 0..=u8::MAX {
        directory.check_shard(shard).expect("compared");
    }
    assert!(!directory.may_be_unknown(&[0xff; 32]));
    assert_eq!((directory.len(), directory.size_bytes()), (2, 15));
    assert!(directory.find_one(&kept).is_some_and(|entry| entry.is_certain()));
    assert!(directory.find_one(&gone).is_none());
}

#[test]
fn evicting_what_others_have_linked_counts_as_no_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let directory = open(dir.path());
    for number in 0..2 {
        let mut temporary = directory.temporary().expect("made");
        temporary.write(&[0; 5000]).expect("written");
        directory.publish(&key(number), &temporary, |_| Ok(None)).expect("published");
    }
    std::fs::hard_link(dir.path().join(name(&key(0))), dir.path().join("link")).expect("linked");
    let mut freed =
        [directory.evict_unpromised(), directory.evict_unpromised()].map(|evicted| evicted.expect("evicts"));
    freed.sort_unstable();
    assert_eq!(freed, [Some(0), Some(5000)]);
    assert_eq!((directory.size_bytes(), directory.evict_unpromised().expect("empty")), (0, None));
}
