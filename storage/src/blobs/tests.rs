//! What seals are worth, and where small contents go.

use super::*;
use crate::directory::Limits;
use crate::volume::simulated::SimulatedVolume;
use std::time::Duration;

fn load(volume: &SimulatedVolume) -> Blobs<SimulatedVolume> {
    let limits = Limits { size_bytes: 1 << 30, promised_lifetime: Duration::ZERO, free_disk_bytes: 0 };
    Blobs::new(Directory::load(Arc::new(volume.clone()), limits).expect("loads").0)
}

#[test]
fn a_seal_is_believed_until_the_scrub_has_compared_the_content_with_the_name() {
    for size in [300, 3000] {
        let store = load(&SimulatedVolume::new(1, 1 << 30));
        let (right, wrong) = (vec![1; size], vec![2; size]);
        let digest = Digest::of(&right);
        // Sealed all the same, as by a mistake of ours.
        if store.directory.packs(size as u64) {
            store.directory.publish_content(digest.hash(), &wrong).expect("stored");
        } else {
            let mut temporary = store.directory.temporary().expect("made");
            temporary.write(&wrong).expect("written");
            store.directory.replace(digest.hash(), &temporary).expect("published");
        }
        assert_eq!(store.get(digest).expect("is believed"), wrong);
        let mut read_bytes = 0;
        store.scrub(|bytes| {
            read_bytes += bytes;
            true
        });
        assert_eq!(read_bytes, size as u64);
        assert_eq!(store.find_missing(&[digest]), (vec![digest], vec![]), "{size}");
        for digest in DigestFunction::ALL.map(|function| function.digest(&right)) {
            store.put(digest, &right).expect("stored");
            store.scrub(|_| true);
            assert_eq!(store.get(digest).expect("is good"), right);
        }
    }
}

#[test]
fn nothing_is_packed_where_there_are_no_holes_and_what_is_stays_readable() {
    let volume = SimulatedVolume::new(1, 1 << 30);
    let (old, new) = (vec![1; 300], vec![2; 300]);
    let store = load(&volume);
    store.put(Digest::of(&old), &old).expect("stored");
    assert!(volume.files().is_empty());
    store.directory.end().expect("ends in order");
    volume.set_punches(false);
    let store = load(&volume);
    store.put(Digest::of(&new), &new).expect("stored");
    let mut upload = store.upload_unnamed(DigestFunction::Sha256).expect("begins");
    upload.append(&store, &[b"pieces"]).expect("taken");
    let pieces = upload.commit(&store).expect("stored");
    assert!(store.put_many(&[(Digest::of(b"many"), b"many")]).iter().all(Result::is_ok));
    assert_eq!(volume.files().len(), 3, "each has a file of its own");
    for (digest, expect) in [(Digest::of(&old), &old[..]), (Digest::of(&new), &new), (pieces, b"pieces")] {
        assert_eq!(store.get(digest).expect("reads"), expect);
    }
}
