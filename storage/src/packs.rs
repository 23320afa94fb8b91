//! Small files, many to a file: a new inode for each of them would cost more than its content.
//!
//! Where the file system can't punch holes, nothing is packed any more, and what is stays readable.
//!
//! A pack grows at its end and nowhere else. What is in it has a header, so that it is found again without a journal, and
//! begins at a block of its own, so that its room can be given back by itself: what is freed first loses its header and then
//! its blocks. A pack in which nothing is left goes as a whole. Places are never used twice, and later ones are greater: of two
//! contents of one key the one that was stored later is told from the other.
//!
//! It does not know which contents count: that is the index's business.

mod header;

use crate::record::{Key, Place};
use crate::volume::{Volume, VolumeFile as _};
use header::HEADER_SIZE;
pub(crate) use header::Header;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};

/// The largest content that is packed. The simulation's are smaller, so that some are and some aren't.
pub(crate) const PACKED_SIZE_BYTES: usize = if cfg!(test) { 400 } else { 64 * 1024 };

/// How much room is taken with one call.
const STORED_TOGETHER_BYTES: u64 = if cfg!(test) { 16 * 1024 } else { 1024 * 1024 };

/// Where contents begin.
const BLOCK_SIZE_BYTES: u64 = 4096;

/// How large a pack grows.
const PACK_SIZE_BYTES: u64 = if cfg!(test) { 64 * 1024 } else { 64 * 1024 * 1024 };

/// How many packs are open at a time.
const OPEN_PACKS: usize = 256;

/// The directory of packs.
const DIRECTORY: &str = "packs";

/// The file with the secret of headers.
const SECRET: &str = "packs/secret";

/// A content to be packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) key: Key,
    pub(crate) bytes: &'a [u8],
    /// XXH3 of them.
    pub(crate) sum: u64,
}

/// The packs of a directory.
#[derive(Debug)]
pub(crate) struct Packs<V: Volume> {
    volume: Arc<V>,
    /// Of headers; none before there are any.
    secret: OnceLock<u64>,
    /// The first one that was begun since they were opened.
    first_own: u32,
    state: Mutex<State<V::File>>,
}

/// The secret of headers; `None` where there is none yet, or it was lost with all that hangs on it.
fn read_secret<V: Volume>(volume: &V) -> io::Result<Option<u64>> {
    let file = match volume.open(SECRET) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; 8];
    let read = file.read_full_at(&mut bytes, 0)?;
    Ok((read == bytes.len()).then_some(u64::from_le_bytes(bytes)))
}

#[derive(Debug)]
struct State<F> {
    packs: BTreeMap<u32, Pack<F>>,
    /// The pack that grows, and its length in blocks; none before the first content and after an error.
    current: Option<(u32, u32)>,
    next: u32,
}

#[derive(Debug)]
struct Pack<F> {
    /// `None` where it isn't open.
    file: Option<Arc<F>>,
    /// How many contents in it count.
    live: usize,
}

impl<F> Default for Pack<F> {
    fn default() -> Self {
        Self { file: None, live: 0 }
    }
}

/// The name of a pack's file.
pub(crate) fn name(pack: u32) -> String {
    format!("{DIRECTORY}/{pack}")
}

const fn blocks(size_bytes: u64) -> u32 {
    (HEADER_SIZE as u64 + size_bytes).div_ceil(BLOCK_SIZE_BYTES) as u32
}

const fn offset(place: Place) -> u64 {
    place.block as u64 * BLOCK_SIZE_BYTES
}

impl<V: Volume> Packs<V> {
    /// The packs in `volume`, of which those contents count that are at `places`.
    ///
    /// # Errors
    /// The directory can't be read.
    pub(crate) fn open(volume: &Arc<V>, places: impl Iterator<Item = Place>) -> io::Result<Self> {
        let mut packs: BTreeMap<u32, Pack<V::File>> = BTreeMap::new();
        for number in volume.list(DIRECTORY)?.iter().filter_map(|name| name.parse().ok()) {
            packs.insert(number, Pack::default());
        }
        for place in places {
            packs.entry(place.pack).or_default().live += 1;
        }
        let secret = OnceLock::new();
        if let Some(known) = read_secret(volume.as_ref())? {
            let _ = secret.set(known);
        }
        let next = packs.last_key_value().map_or(0, |(number, _)| number + 1);
        Ok(Self {
            volume: Arc::clone(volume),
            secret,
            first_own: next,
            state: Mutex::new(State { packs, current: None, next }),
        })
    }

    /// How many of the first `contents` can be stored with one call: one at least.
    pub(crate) fn fit_together(contents: &[Content<'_>]) -> usize {
        let mut together = 0;
        let fits = |content: &&Content<'_>| {
            together += u64::from(blocks(content.bytes.len() as u64)) * BLOCK_SIZE_BYTES;
            together <= STORED_TOGETHER_BYTES
        };
        contents.iter().take_while(fits).count().max(1)
    }

    /// Stores contents that [fit together](Self::fit_together), which all count from now on, with one call of the file system; gives
    /// where each is.
    ///
    /// # Errors
    /// What the file system says; nothing is stored then.
    pub(crate) fn store(&self, contents: &[Content<'_>]) -> io::Result<Vec<Place>> {
        let sizes = contents.iter().map(|content| blocks(content.bytes.len() as u64));
        let (first, file) = self.allocate(sizes.clone().sum(), contents.len())?;
        let secret = *self.secret.get().expect("the first pack had one made");
        let starts = sizes.scan(first.block, |next, blocks| Some(std::mem::replace(next, *next + blocks)));
        let places: Vec<Place> = starts.map(|block| Place { block, ..first }).collect();
        let mut bytes = Vec::new();
        for Content { key, bytes: content, sum } in contents {
            bytes.extend(Header { key: *key, size_bytes: content.len() as u32, sum: *sum }.encode(secret));
            bytes.extend(*content);
            // Whole blocks: of parts the kernel would have to make whole ones.
            bytes.resize(bytes.len().next_multiple_of(BLOCK_SIZE_BYTES as usize), 0);
        }
        match file.write_all_at(&bytes, offset(first)) {
            Ok(()) => Ok(places),
            Err(error) => {
                // The next ones try another pack, for this one may be where the disk is broken.
                self.state.lock().current = None;
                for (place, content) in places.into_iter().zip(contents) {
                    let _ = self.free(place, content.bytes.len() as u64);
                }
                Err(error)
            }
        }
    }

    /// The next place for so many blocks with so many contents, in a pack that is open.
    fn allocate(&self, wanted: u32, contents: usize) -> io::Result<(Place, Arc<V::File>)> {
        let mut state = self.state.lock();
        let (pack, block) = match state.current {
            Some((pack, block)) if u64::from(block + wanted) * BLOCK_SIZE_BYTES <= PACK_SIZE_BYTES => (pack, block),
            _ => (self.begin(&mut state)?, 0),
        };
        state.current = Some((pack, block + wanted));
        let entry = state.packs.get_mut(&pack).expect("the pack that grows is known");
        entry.live += contents;
        let file = Arc::clone(entry.file.as_ref().expect("the pack that grows is open"));
        Ok((Place { pack, block }, file))
    }

    /// The header that `bytes` are; none where the secret was lost, for then anybody's content could be one.
    fn decode(&self, bytes: &[u8]) -> Option<Header> {
        Header::decode(bytes, *self.secret.get()?)
    }

    fn begin(&self, state: &mut State<V::File>) -> io::Result<u32> {
        if self.secret.get().is_none() {
            self.volume.create_directory(DIRECTORY)?;
            let secret = self.volume.random();
            let mut file = self.volume.create(SECRET)?;
            file.write_all(&secret.to_le_bytes())?;
            file.sync()?;
            let _ = self.secret.set(secret);
        }
        let number = state.next;
        let file = self.volume.create(&name(number))?;
        state.next = number.checked_add(1).ok_or_else(|| io::Error::other("there are no more numbers for packs"))?;
        state.packs.insert(number, Pack { file: Some(Arc::new(file)), live: 0 });
        if let Some((former, _)) = state.current.take() {
            // Else the next start removes it.
            let _ = self.remove_if_empty(state, former);
        }
        state.close_some(number);
        Ok(number)
    }

    /// The content at a place, and what its header says; `None` where nothing is there (any more), or nothing whole.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn read(&self, place: Place, size_bytes: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
        let Some(file) = self.file(place.pack)? else { return Ok(None) };
        let mut bytes = vec![0; HEADER_SIZE + size_bytes as usize];
        let read = file.read_full_at(&mut bytes, offset(place)).inspect_err(|_| self.close(place.pack))?;
        let header = self.decode(&bytes[..read.min(HEADER_SIZE)]);
        let is_whole = read == bytes.len();
        bytes.drain(..HEADER_SIZE);
        Ok(header.filter(|header| is_whole && u64::from(header.size_bytes) == size_bytes).map(|header| (header, bytes)))
    }

    /// Has the content at a place count no longer, gives its room back, and says how much of it came back: none where the file
    /// system can't punch holes, before the last content of a pack has gone, and then all of the pack's.
    ///
    /// # Errors
    /// What the file system says: it may be found again by the next start.
    pub(crate) fn free(&self, place: Place, size_bytes: u64) -> io::Result<u64> {
        let length = u64::from(blocks(size_bytes)) * BLOCK_SIZE_BYTES;
        let mut state = self.state.lock();
        if let Some(pack) = state.packs.get_mut(&place.pack) {
            pack.live = pack.live.saturating_sub(1);
        }
        if let Some(freed) = self.remove_if_empty(&mut state, place.pack)? {
            return Ok(if self.volume.punches() { length } else { freed });
        }
        drop(state);
        let Some(file) = self.file(place.pack)? else { return Ok(0) };
        file.write_all_at(&[0; HEADER_SIZE], offset(place))?;
        let is_punched = self.volume.punches() && file.punch(offset(place), length).is_ok();
        Ok(if is_punched { length } else { 0 })
    }

    /// Removes a pack in which nothing counts, and gives its length; `None` where something does, or it grows.
    fn remove_if_empty(&self, state: &mut State<V::File>, pack: u32) -> io::Result<Option<u64>> {
        let is_current = state.current.is_some_and(|(current, _)| current == pack);
        if is_current || state.packs.get(&pack).is_none_or(|pack| pack.live > 0) {
            return Ok(None);
        }
        let length = self.volume.stat(&name(pack)).map_or(0, |stat| stat.size_bytes);
        match self.volume.remove(&name(pack)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        state.packs.remove(&pack);
        Ok(Some(length))
    }

    /// Removes the packs in which nothing counts.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn remove_empty(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let numbers: Vec<u32> = state.packs.keys().copied().collect();
        numbers.into_iter().try_for_each(|pack| self.remove_if_empty(&mut state, pack).map(drop))
    }

    /// The packs from `first` on that were there when these were opened.
    pub(crate) fn earlier_from(&self, first: u32) -> Vec<u32> {
        self.state.lock().packs.range(first..self.first_own.max(first)).map(|(number, _)| *number).collect()
    }

    /// The last pack in which something counts.
    pub(crate) fn last_live(&self) -> Option<u32> {
        let state = self.state.lock();
        state.packs.iter().rev().find(|(_, pack)| pack.live > 0).map(|(number, _)| *number)
    }

    /// All that stands in a pack, whether it counts or not, by its headers.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn scan(&self, pack: u32) -> io::Result<Vec<(Place, Header)>> {
        let Some(file) = self.file(pack)? else { return Ok(Vec::new()) };
        let (mut found, mut place) = (Vec::new(), Place { pack, block: 0 });
        let mut bytes = [0; HEADER_SIZE];
        while file.read_full_at(&mut bytes, offset(place)).inspect_err(|_| self.close(pack))? == HEADER_SIZE {
            match self.decode(&bytes) {
                Some(header) => {
                    found.push((place, header));
                    place.block += blocks(u64::from(header.size_bytes));
                }
                None => place.block += 1,
            }
        }
        Ok(found)
    }

    /// Has something that a scan found count.
    pub(crate) fn adopt(&self, place: Place) {
        self.keep(place.pack);
    }

    /// Has the next one who wants the pack open it again: a descriptor may be stale for ever where the file isn't.
    fn close(&self, pack: u32) {
        let mut state = self.state.lock();
        let is_current = state.current.is_some_and(|(current, _)| current == pack);
        if let Some(known) = state.packs.get_mut(&pack).filter(|_| !is_current) {
            known.file = None;
        }
    }

    /// Has a pack stay, as if something more in it counted.
    pub(crate) fn keep(&self, pack: u32) {
        self.state.lock().packs.entry(pack).or_default().live += 1;
    }

    /// A pack's file; `None` where there is none (any more).
    fn file(&self, pack: u32) -> io::Result<Option<Arc<V::File>>> {
        let mut state = self.state.lock();
        let Some(known) = state.packs.get_mut(&pack) else { return Ok(None) };
        if let Some(file) = &known.file {
            return Ok(Some(Arc::clone(file)));
        }
        let file = match self.volume.open_to_change(&name(pack)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        known.file = Some(Arc::clone(&file));
        state.close_some(pack);
        Ok(Some(file))
    }
}

impl<F> State<F> {
    /// Closes a pack where too many are open; not `kept`, nor the one that grows.
    fn close_some(&mut self, kept: u32) {
        let current = self.current.map(|(current, _)| current);
        let is_open = |pack: &&mut Pack<F>| pack.file.is_some();
        if self.packs.values_mut().filter(is_open).count() <= OPEN_PACKS {
            return;
        }
        let others = self.packs.iter_mut().filter(|(number, _)| **number != kept && Some(**number) != current);
        if let Some(oldest) = others.map(|(_, pack)| pack).find(is_open) {
            oldest.file = None;
        }
    }
}
