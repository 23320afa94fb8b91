//! The order of use of a directory's files, on disk: a snapshot and the records since, in segments.
//!
//! `journal-N` holds the records since `snapshot-N` was begun; the snapshot may contain what some of these records
//! say already, which repeating doesn't change. A new snapshot is written when there are twice as many records as
//! files, and when records were lost. A start reads the newest snapshot and the segments from its number on: no directory is
//! listed and no file visited.
//!
//! Records are gathered in memory and written by [`Journal::flush`], in their order: who says what happened never waits for
//! the disk. After an error of writing, which may leave half a record, the rest goes into a new segment.
//!
//! A journal that was ended in order has a mark, which the next start takes away before anything else. Without it, or after
//! another boot of the machine, it may lack files and may name some that are gone: what it says is then believed only after a
//! look at the disk. Every file of the journal carries the name of the kernel's boot; what an earlier boot wrote may be torn,
//! and is compared with its name before it is used.
//!
//! Invariant: a record that was torn or damaged is skipped, never believed, and so is the end of a journal behind one.

use crate::index::Index;
use crate::record::{RECORD_SIZE, Record};
use crate::volume::{Volume, VolumeFile as _};
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const MAGIC: [u8; 8] = *b"pmphjrn2";

/// The magic and the boot's name.
const HEADER_SIZE: usize = 24;

/// Snapshots aren't worth it below this many records.
const FEWEST_RECORDS_OF_A_SNAPSHOT: u64 = 65_536;

/// How much of a journal is read at a time.
const READ_SIZE_BYTES: usize = RECORD_SIZE * 16_384;

/// How many bytes of records wait to be written; further ones are lost, until a snapshot makes up for them.
const WAITING_BYTES: usize = RECORD_SIZE * 262_144;

/// A start that finds more segments than this has a snapshot written soon.
const MOST_SEGMENTS: usize = 8;

/// What opening a journal showed.
#[derive(Debug)]
pub(crate) struct Opened {
    /// It was ended in order, and nothing in it is damaged.
    pub(crate) is_whole: bool,
    /// Something in it is damaged: more may be lost than its end.
    pub(crate) is_damaged: bool,
}

/// The open journal of a directory.
#[derive(Debug)]
pub(crate) struct Journal<V: Volume> {
    volume: Arc<V>,
    index: Arc<Index>,
    waiting: Mutex<Waiting>,
    /// Told of records that wait, and of the end.
    news: Condvar,
    segment: Mutex<Segment<V>>,
}

/// What has not been written yet.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<u8>,
    /// Records were lost, so only a snapshot tells the truth.
    is_lossy: bool,
    is_ending: bool,
}

#[derive(Debug)]
struct Segment<V: Volume> {
    /// `None` before the first record, and after an error.
    file: Option<V::File>,
    /// The number that the next file gets.
    next: u64,
    /// How many records a start would read.
    records: u64,
}

impl<V: Volume> Journal<V> {
    /// Fills `index` from the journal in `volume`.
    pub(crate) fn open(volume: &Arc<V>, index: &Arc<Index>) -> io::Result<(Self, Opened)> {
        let files = JournalFiles::list(volume.as_ref())?;
        let newest_snapshot = files.snapshots.last().copied();
        let was_ended = take_mark(volume.as_ref(), files.segments.last().copied())?;
        let mut replay = Replay { volume: volume.as_ref(), index: index.as_ref(), is_whole: true, records: 0 };
        if let Some(number) = newest_snapshot {
            replay.file(&snapshot_name(number))?;
        }
        for number in files.segments.iter().filter(|number| Some(**number) >= newest_snapshot) {
            replay.file(&segment_name(*number))?;
        }
        let is_new = files.segments.is_empty() && newest_snapshot.is_none() && !files.has_shards;
        let is_whole = is_new || was_ended && replay.is_whole;
        let next = files.segments.last().copied().max(newest_snapshot).map_or(0, |number| number + 1);
        let records = if files.segments.len() > MOST_SEGMENTS { u64::MAX / 2 } else { replay.records };
        let journal = Self {
            volume: Arc::clone(volume),
            index: Arc::clone(index),
            waiting: Mutex::default(),
            news: Condvar::new(),
            segment: Mutex::new(Segment { file: None, next, records }),
        };
        let is_damaged = !replay.is_whole || files.segments.is_empty() && !is_new;
        Ok((journal, Opened { is_whole, is_damaged }))
    }

    /// Takes records, to be written soon. Doesn't block on the disk.
    pub(crate) fn append(&self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.records.len() + records.len() * RECORD_SIZE > WAITING_BYTES {
            waiting.is_lossy = true;
            return;
        }
        let was_empty = waiting.records.is_empty();
        waiting.records.extend(records.iter().flat_map(Record::encode));
        drop(waiting);
        if was_empty {
            self.news.notify_one();
        }
    }

    /// Waits until there are records to write, and somewhat longer so that there are more; `false` once the end is near.
    pub(crate) fn wait(&self, gather: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        self.news.wait_while(&mut waiting, |waiting| waiting.records.is_empty() && !waiting.is_ending);
        self.news.wait_while_for(&mut waiting, |waiting| !waiting.is_ending, gather);
        !waiting.is_ending
    }

    /// Has nobody wait any longer.
    pub(crate) fn stop_waiting(&self) {
        self.waiting.lock().is_ending = true;
        self.news.notify_all();
    }

    /// Writes what waits, and a snapshot where it is time for one.
    ///
    /// # Errors
    /// The file system says no. Nothing is lost by that: the next call tries again.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut segment = self.segment.lock();
        self.write_waiting(&mut segment)?;
        let most = FEWEST_RECORDS_OF_A_SNAPSHOT.max(2 * self.index.len() as u64);
        if segment.records < most && !self.waiting.lock().is_lossy {
            return Ok(());
        }
        // Begun before the snapshot: what happens from here on stands behind it.
        segment.file = None;
        let number = segment.next;
        self.begin_segment(&mut segment)?;
        segment.records = 0;
        self.waiting.lock().is_lossy = false;
        let written = self.write_snapshot(number, &mut segment);
        if written.is_err() {
            self.waiting.lock().is_lossy = true;
        }
        written
    }

    /// Writes what waits, and the mark that the journal ends here in order.
    ///
    /// # Errors
    /// The file system says no: the next start looks at every file.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.flush()?;
        let mut segment = self.segment.lock();
        if self.waiting.lock().is_lossy {
            return Err(io::Error::other("records were lost"));
        }
        if segment.file.is_none() {
            self.begin_segment(&mut segment)?;
        }
        segment.file.take().expect("a segment was begun").sync()?;
        let mut file = self.volume.create(UNFINISHED_MARK)?;
        file.write_all(&mark(self.volume.as_ref(), segment.next - 1))?;
        self.volume.rename(UNFINISHED_MARK, MARK)
    }

    fn write_waiting(&self, segment: &mut Segment<V>) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.waiting.lock().records);
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.write(segment, &bytes);
        let mut waiting = self.waiting.lock();
        match &written {
            Ok(()) if waiting.records.is_empty() => {
                bytes.clear();
                waiting.records = bytes;
            }
            Ok(()) => {}
            Err(_) => {
                bytes.append(&mut waiting.records);
                waiting.records = bytes;
            }
        }
        written
    }

    /// Writes whole records. What is written twice because the first time ended in an error says the same twice.
    fn write(&self, segment: &mut Segment<V>, bytes: &[u8]) -> io::Result<()> {
        if segment.file.is_none() {
            self.begin_segment(segment)?;
        }
        let file = segment.file.as_mut().expect("a segment was begun");
        if let Err(error) = file.write_all(bytes) {
            segment.file = None;
            return Err(error);
        }
        segment.records = segment.records.saturating_add((bytes.len() / RECORD_SIZE) as u64);
        Ok(())
    }

    fn begin_segment(&self, segment: &mut Segment<V>) -> io::Result<()> {
        let file = begin(self.volume.as_ref(), &segment_name(segment.next))?;
        segment.file = Some(file);
        segment.next += 1;
        Ok(())
    }

    /// Writes the snapshot that segment `number` continues, and removes what it replaces.
    fn write_snapshot(&self, number: u64, segment: &mut Segment<V>) -> io::Result<()> {
        let mut file = begin(self.volume.as_ref(), UNFINISHED_SNAPSHOT)?;
        for records in self.index.snapshot() {
            let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
            file.write_all(&bytes)?;
            segment.records += records.len() as u64;
            self.write_waiting(segment)?;
        }
        file.sync()?;
        self.volume.rename(UNFINISHED_SNAPSHOT, &snapshot_name(number))?;
        let files = JournalFiles::list(self.volume.as_ref())?;
        for old in files.snapshots.iter().filter(|old| **old < number) {
            self.volume.remove(&snapshot_name(*old))?;
        }
        for old in files.segments.iter().filter(|old| **old < number) {
            self.volume.remove(&segment_name(*old))?;
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
    fn list<V: Volume>(volume: &V) -> io::Result<Self> {
        let (mut snapshots, mut segments, mut has_shards) = (Vec::new(), Vec::new(), false);
        for name in volume.list("")? {
            has_shards |= name.len() == 2 || name == "packs";
            let Some((kind, number)) = name.split_once('-') else { continue };
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
struct Replay<'a, V: Volume> {
    volume: &'a V,
    index: &'a Index,
    is_whole: bool,
    records: u64,
}

impl<V: Volume> Replay<'_, V> {
    fn file(&mut self, name: &str) -> io::Result<()> {
        let file = self.volume.open(name)?;
        let mut header = [0; HEADER_SIZE];
        let length = file.read_full_at(&mut header, 0)?;
        if length < HEADER_SIZE || header[..8] != MAGIC {
            // Another version's, or torn at once.
            self.is_whole = false;
            return Ok(());
        }
        let is_of_this_boot = header[8..] == self.volume.boot();
        let mut buffer = vec![0; READ_SIZE_BYTES];
        let (mut filled, mut offset) = (0, HEADER_SIZE as u64);
        loop {
            let read = file.read_full_at(&mut buffer[filled..], offset)?;
            filled += read;
            offset += read as u64;
            let used = self.records(&buffer[..filled], is_of_this_boot);
            buffer.copy_within(used..filled, 0);
            filled -= used;
            if read == 0 {
                // Half a record is left.
                self.is_whole &= filled == 0;
                return Ok(());
            }
        }
    }

    /// Replays the records in `bytes`; where they are damaged, from the next whole one on. Gives how many bytes are done.
    fn records(&mut self, bytes: &[u8], is_of_this_boot: bool) -> usize {
        let mut at = 0;
        while let Some(next) = bytes.get(at..at + RECORD_SIZE) {
            match Record::decode(next) {
                Some(record) => {
                    self.record(record, is_of_this_boot);
                    at += RECORD_SIZE;
                }
                None => {
                    self.is_whole = false;
                    at += 1;
                }
            }
        }
        at
    }

    fn record(&mut self, record: Record, is_of_this_boot: bool) {
        self.records += 1;
        let trusted = |entry: crate::record::Entry| if is_of_this_boot { entry } else { entry.unsealed() };
        match record {
            Record::Present(key, entry, used) => self.index.insert(key, trusted(entry), used),
            Record::Used(key, entry, used) => {
                if let Some(known) = self.index.peek(&key) {
                    // It may have been stored elsewhere just before.
                    let is_same = known.place() == entry.place();
                    self.index.insert(key, if is_same { trusted(entry) } else { known }, used);
                }
            }
            Record::Removed(key) => drop(self.index.remove(&key)),
        }
    }
}

/// Takes the mark away; whether it was there and is of the newest segment and this boot.
fn take_mark<V: Volume>(volume: &V, segment: Option<u64>) -> io::Result<bool> {
    let file = match volume.open(MARK) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let expected = segment.map(|number| mark(volume, number)).unwrap_or_default();
    let mut found = vec![0; expected.len() + 1];
    let length = file.read_full_at(&mut found, 0)?;
    volume.remove(MARK)?;
    Ok(found[..length] == expected)
}

/// What stands in the mark behind segment `number`.
fn mark<V: Volume>(volume: &V, number: u64) -> Vec<u8> {
    [&volume.boot()[..], &number.to_le_bytes()].concat()
}

fn begin<V: Volume>(volume: &V, name: &str) -> io::Result<V::File> {
    let mut file = volume.create(name)?;
    let mut header = MAGIC.to_vec();
    header.extend(volume.boot());
    file.write_all(&header)?;
    Ok(file)
}

/// The mark of an end in order.
const MARK: &str = "ended";

const UNFINISHED_MARK: &str = "ended.new";

const UNFINISHED_SNAPSHOT: &str = "snapshot.new";

fn snapshot_name(number: u64) -> String {
    format!("snapshot-{number}")
}

fn segment_name(number: u64) -> String {
    format!("journal-{number}")
}
