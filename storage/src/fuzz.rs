//! Fuzz targets of what lies on the disk: a record, a header or a journal may hold anything, and nothing damaged is believed.

use crate::index::Index;
use crate::journal::Journal;
use crate::record::{Entry, Place, RECORD_SIZE, Record, Seal};
use crate::volume::simulated::SimulatedVolume;
use crate::volume::{Volume as _, VolumeFile as _};
use pumphouse_fuzz::{Strategy, any, bounded, check, like, option, prop_oneof, vec};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A journal's magic and the boot's name.
const HEADER_SIZE: usize = 24;

fn record() -> impl Strategy<Value = Record> {
    let place = (any::<u32>(), 0..1_u32 << 16).prop_map(|(pack, block)| Place { pack, block });
    let seal = prop_oneof![
        (1..1_u64 << 62, any::<u64>()).prop_map(|(modified, sum)| Seal { modified, sum }),
        (place, any::<u64>()).prop_map(|(place, sum)| Seal::packed(place, sum)),
    ];
    let entry = (0..1_u64 << 56, option::of(seal)).prop_map(|(size_bytes, seal)| Entry {
        size_bytes,
        seal,
        is_confirmed: true,
    });
    (any::<[u8; 32]>(), entry, any::<u32>(), 0..3_u8).prop_map(|(key, entry, used, kind)| match kind {
        0 => Record::Present(key, entry, used),
        1 => Record::Used(key, entry, used),
        _ => Record::Removed(key),
    })
}

#[test]
fn records_come_back() {
    check(&record(), |record| assert_eq!(Record::decode(&record.encode()), Some(record)));
}

#[test]
fn damaged_records_do_not() {
    let examples: Vec<_> = [
        Record::Removed([1; 32]),
        Record::Present([0xff; 32], Entry { size_bytes: 7, seal: None, is_confirmed: true }, 9),
    ]
    .iter()
    .map(Record::encode)
    .collect();
    check(&like(&examples), |bytes| {
        let decoded = bounded(bytes.len(), || Record::decode(&bytes));
        assert_eq!(decoded.is_some(), examples.iter().any(|example| example[..] == bytes[..]), "{decoded:?}");
    });
}

/// What of journals holds whatever stands in them: a start ends, and believes whole records alone.
#[test]
fn journals_of_any_bytes() {
    let records: Vec<Record> = (0..4_u8)
        .map(|number| Record::Present([number; 32], Entry { size_bytes: 1, seal: None, is_confirmed: true }, 5))
        .collect();
    let boot = SimulatedVolume::new(1, 1 << 20).boot();
    let whole = [b"pmphjrn2".to_vec(), boot.to_vec(), records.iter().flat_map(Record::encode).collect()].concat();
    let known: BTreeSet<_> = (0..4_u8).map(|number| [number; 32]).collect();
    check(&(like(&[whole]), any::<bool>()), |(bytes, is_snapshot)| {
        let volume = Arc::new(SimulatedVolume::new(1, 1 << 22));
        let name = if is_snapshot { "snapshot-3" } else { "journal-3" };
        let mut file = volume.create(name).expect("room");
        file.write_all(&bytes).expect("room");
        drop(file);
        let index = Arc::new(Index::default());
        let (_journal, opened) = Journal::open(&volume, &index).expect("any bytes can be read");
        let key = |record| match record {
            Record::Present(key, ..) | Record::Used(key, ..) | Record::Removed(key) => key,
        };
        let found: BTreeSet<_> = index.snapshot().flatten().map(key).collect();
        assert!(found.is_subset(&known));
        let records = bytes.len().saturating_sub(HEADER_SIZE) / RECORD_SIZE;
        assert!(found.len() <= records.max(known.len()) && !opened.is_whole);
    });
}

#[test]
fn several_records_behind_rubbish_are_found() {
    check(&(vec(any::<u8>(), 0..200), vec(record(), 1..5)), |(rubbish, records)| {
        let volume = Arc::new(SimulatedVolume::new(1, 1 << 22));
        let mut file = volume.create("journal-0").expect("room");
        file.write_all(b"pmphjrn2").and_then(|()| file.write_all(&volume.boot())).expect("room");
        file.write_all(&rubbish).expect("room");
        for record in &records {
            file.write_all(&record.encode()).expect("room");
        }
        drop(file);
        let index = Arc::new(Index::default());
        Journal::open(&volume, &index).expect("any bytes can be read");
        let last = records.last().expect("there is one");
        if let Record::Present(key, entry, _) = last {
            assert_eq!(index.peek(key).map(|entry| entry.size_bytes), Some(entry.size_bytes));
        }
    });
}
