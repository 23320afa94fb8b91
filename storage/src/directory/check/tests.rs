//! Packs that can't be read after an end that was not in order.

use crate::blobs::{Blobs, Problem};
use crate::directory::{Directory, Limits};
use crate::volume::simulated::SimulatedVolume;
use pumphouse_proto::digest::Digest;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CONTENT_SIZE_BYTES: usize = 300;

fn load(volume: &SimulatedVolume) -> Blobs<SimulatedVolume> {
    let limits = Limits { size_bytes: 1 << 30, promised_lifetime: Duration::ZERO, free_disk_bytes: 0 };
    Blobs::new(Directory::load(Arc::new(volume.clone()), limits).expect("loads").0)
}

/// Blobs in two packs at least, of which no journal tells.
fn unknown_blobs(volume: &SimulatedVolume) -> Vec<(Digest, Vec<u8>)> {
    let blob = |number: u8| vec![number; CONTENT_SIZE_BYTES];
    let blobs: Vec<_> = (0..40).map(blob).map(|blob| (Digest::of(&blob), blob)).collect();
    let store = load(volume);
    assert!(store.put_many(&blobs).iter().all(Result::is_ok));
    blobs
}

/// A start after which a pack couldn't be read.
struct Start {
    volume: SimulatedVolume,
    store: Blobs<SimulatedVolume>,
    blobs: Vec<(Digest, Vec<u8>)>,
    /// How many of them were found.
    found: usize,
}

/// Starts without any journal, while `pack` can't be read.
fn start_without(pack: &str, errno: Errno) -> Start {
    let volume = SimulatedVolume::new(1, 1 << 30);
    let blobs = unknown_blobs(&volume);
    volume.make_unreadable(pack, errno);
    let store = load(&volume);
    let is_told = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_told);
    store.directory().when_packs_are_known(Box::new(move || told.store(true, Ordering::Relaxed)));
    assert!(blobs.iter().all(|(digest, _)| store.is_uncertain(digest)) && !is_told.load(Ordering::Relaxed));
    let found = blobs.iter().filter(|(digest, blob)| match store.get(*digest) {
        Ok(read) => read == *blob,
        Err(Problem::NotFound(_)) => false,
        Err(error) => panic!("{error}"),
    });
    let found = found.count();
    assert!(is_told.load(Ordering::Relaxed));
    assert!(found > 0 && found < blobs.len(), "{found}");
    Start { volume, store, blobs, found }
}

#[test]
fn one_pack_that_cannot_be_read_keeps_nothing_else_uncertain() {
    let Start { volume, store, blobs, found } = start_without("packs/0", Errno::IO);
    for shard in 0..=u8::MAX {
        store.directory().check_shard(shard).expect("compared");
    }
    assert!(!blobs.iter().any(|(digest, _)| store.is_uncertain(digest)));
    assert_eq!(store.directory().len(), found);
    // What is lost can be brought again, and the next start believes the journal.
    assert!(store.put_many(&blobs).iter().all(Result::is_ok));
    store.directory().end().expect("ends in order");
    drop(store);
    let store = load(&volume);
    assert!(blobs.iter().all(|(digest, blob)| store.get(*digest).is_ok_and(|read| read == *blob)));
    assert!(!blobs.iter().any(|(digest, _)| store.is_uncertain(digest)));
}

#[test]
fn a_pack_that_cannot_be_read_for_now_is_looked_through_by_the_next_start() {
    let Start { volume, store, blobs, .. } = start_without("packs/0", Errno::MFILE);
    store.directory().end().expect("written");
    drop(store);
    volume.make_unreadable("", Errno::MFILE);
    let store = load(&volume);
    assert!(blobs.iter().all(|(digest, blob)| store.get(*digest).is_ok_and(|read| read == *blob)));
}
