//! The order of use of a directory's files, on disk: a snapshot and the records since, in segments.
//!
//! `journal-N` holds the records since `snapshot-N` was begun; the snapshot may contain what some of these records
//! say already, which repeating doesn't change. A new snapshot is written when there are twice as many records as
//! files. A start reads the newest snapshot and the segments from its number on: no directory is listed and no file
//! visited.
//!
//! A record is written when its file has its final name already (or has lost it). So after a crash of the process the
//! journal lacks at most the few files that were being published, and names at most the few that were being evicted.
//! After a crash of the machine it may lack more, and files may be torn: every file of the journal carries the
//! kernel's boot id, and what an earlier boot recorded counts as unverified and perhaps incomplete.
//!
//! Invariant: a record that was torn or damaged is skipped, never believed.

use super::index::Index;
use super::record::{RECORD_SIZE, Record};
use parking_lot::{Mutex, MutexGuard};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"pmphjrn1";

/// Snapshots aren't worth it below this many records.
const FEWEST_RECORDS_OF_A_SNAPSHOT: u64 = 65_536;

/// How much of a journal is read at a time.
const READ_SIZE_BYTES: usize = RECORD_SIZE * 16_384;

/// What opening a journal showed.
#[derive(Debug)]
pub(super) struct Opened {
    /// There may be files that the journal doesn't know.
    pub(super) may_have_strangers: bool,
}

/// A start that finds more segments than this has a snapshot written soon.
const MOST_SEGMENTS: usize = 8;

/// The open journal of a directory.
#[derive(Debug)]
pub(super) struct Journal {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    directory: PathBuf,
    boot: [u8; 16],
    index: Arc<Index>,
    segment: Mutex<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    number: u64,
    records: u64,
    /// A snapshot is being written.
    is_compacting: bool,
}

impl Journal {
    /// Fills `index` from the journal in `directory` and begins a new segment.
    pub(super) fn open(directory: &Path, index: &Arc<Index>) -> io::Result<(Self, Opened)> {
        let boot = boot_id();
        let files = JournalFiles::list(directory)?;
        let newest_snapshot = files.snapshots.last().copied();
        let mut replay = Replay { boot, index: index.as_ref(), is_of_this_boot: true, records: 0 };
        if let Some(number) = newest_snapshot {
            replay.file(&snapshot_path(directory, number))?;
        }
        for number in files.segments.iter().filter(|number| Some(**number) >= newest_snapshot) {
            replay.file(&segment_path(directory, *number))?;
        }
        let is_lost = files.segments.is_empty() && newest_snapshot.is_none() && files.has_shards;
        let may_have_strangers = !replay.is_of_this_boot || is_lost;
        let number = files.segments.last().copied().max(newest_snapshot).map_or(0, |number| number + 1);
        let file = begin(&segment_path(directory, number), boot)?;
        let records = if files.segments.len() > MOST_SEGMENTS { u64::MAX / 2 } else { replay.records };
        let segment = Mutex::new(Segment { file, number, records, is_compacting: false });
        let state = State { directory: directory.to_owned(), boot, index: Arc::clone(index), segment };
        Ok((Self { state: Arc::new(state) }, Opened { may_have_strangers }))
    }

    /// Adds records; writes a snapshot where there are too many.
    ///
    /// A journal that can't be written costs the order of use after the next start, and a search for the files that
    /// it lacks, so that is said and not passed on.
    pub(super) fn append(&self, records: &[Record]) {
        let Some(number) = self.state.append(records) else { return };
        let state = Arc::clone(&self.state);
        let spawned = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let written = state.write_snapshot(number);
            let mut segment = state.segment();
            segment.is_compacting = false;
            segment.records += state.index.len() as u64;
            written.unwrap_or_else(|error| state.warn("write a snapshot of", &error));
        });
        if let Err(error) = spawned {
            self.state.warn("write a snapshot of", &error);
        }
    }
}

impl State {
    /// Adds records; gives the number of the segment that was begun, if it is time for a snapshot.
    fn append(&self, records: &[Record]) -> Option<u64> {
        let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        let mut segment = self.segment();
        if let Err(error) = segment.file.write_all(&bytes) {
            self.warn("write", &error);
            return None;
        }
        segment.records = segment.records.saturating_add(records.len() as u64);
        let most = FEWEST_RECORDS_OF_A_SNAPSHOT.max(2 * self.index.len() as u64);
        if segment.is_compacting || segment.records < most {
            return None;
        }
        let number = segment.number + 1;
        match begin(&segment_path(&self.directory, number), self.boot) {
            Ok(file) => {
                *segment = Segment { file, number, records: 0, is_compacting: true };
                Some(number)
            }
            Err(error) => {
                segment.records = 0;
                self.warn("begin a segment of", &error);
                None
            }
        }
    }

    fn segment(&self) -> MutexGuard<'_, Segment> {
        self.segment.lock()
    }

    fn warn(&self, operation: &'static str, error: &io::Error) {
        tracing::warn!(%error, directory = %self.directory.display(), "cannot {operation} the journal");
    }

    /// Writes the snapshot that segment `number` continues, and removes what it replaces.
    fn write_snapshot(&self, number: u64) -> io::Result<()> {
        let unfinished = self.directory.join("snapshot.new");
        let mut file = begin(&unfinished, self.boot)?;
        for records in self.index.snapshot() {
            let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
            file.write_all(&bytes)?;
        }
        file.sync_data()?;
        std::fs::rename(&unfinished, snapshot_path(&self.directory, number))?;
        let files = JournalFiles::list(&self.directory)?;
        for old in files.snapshots.iter().filter(|old| **old < number) {
            std::fs::remove_file(snapshot_path(&self.directory, *old))?;
        }
        for old in files.segments.iter().filter(|old| **old < number) {
            std::fs::remove_file(segment_path(&self.directory, *old))?;
        }
        Ok(())
    }
}

/// The numbers of a journal's files, in order.
struct JournalFiles {
    snapshots: Vec<u64>,
    segments: Vec<u64>,
    /// There are directories of files beside the journal.
    has_shards: bool,
}

impl JournalFiles {
    fn list(directory: &Path) -> io::Result<Self> {
        let (mut snapshots, mut segments, mut has_shards) = (Vec::new(), Vec::new(), false);
        for file in std::fs::read_dir(directory)? {
            let name = file?.file_name();
            has_shards |= name.len() == 2;
            let Some((kind, number)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
            match (kind, number.parse()) {
                ("snapshot", Ok(number)) => snapshots.push(number),
                ("journal", Ok(number)) => segments.push(number),
                _ => {}
            }
        }
        snapshots.sort_unstable();
        segments.sort_unstable();
        Ok(Self { snapshots, segments, has_shards })
    }
}

/// The reading of a journal.
struct Replay<'a> {
    boot: [u8; 16],
    index: &'a Index,
    is_of_this_boot: bool,
    records: u64,
}

impl Replay<'_> {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut header = [0; 24];
        let is_whole = file.read_exact(&mut header).is_ok() && header[..8] == MAGIC;
        let is_trusted = is_whole && header[8..] == self.boot;
        self.is_of_this_boot &= is_trusted;
        let mut buffer = vec![0; READ_SIZE_BYTES];
        let mut filled = 0;
        loop {
            let read = file.read(&mut buffer[filled..])?;
            filled += read;
            let whole = filled / RECORD_SIZE * RECORD_SIZE;
            if read == 0 {
                return Ok(());
            }
            for record in buffer[..whole].chunks_exact(RECORD_SIZE).filter_map(Record::decode) {
                self.record(if is_trusted { record } else { record.unverified() });
            }
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }

    fn record(&mut self, record: Record) {
        self.records += 1;
        match record.entry {
            Some(entry) => self.index.insert(record.key, entry, record.touched),
            None => drop(self.index.remove(&record.key)),
        }
    }
}

fn begin(path: &Path, boot: [u8; 16]) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.write_all(&MAGIC)?;
    file.write_all(&boot)?;
    Ok(file)
}

fn snapshot_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("snapshot-{number}"))
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("journal-{number}"))
}

/// Which boot of the kernel this is; where that can't be known, one that has never been.
fn boot_id() -> [u8; 16] {
    let mut boot = [0; 16];
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if hex::decode_to_slice(text.trim().replace('-', ""), &mut boot).is_err() {
        let _ = rustix::rand::getrandom(&mut boot, rustix::rand::GetRandomFlags::empty());
    }
    boot
}
