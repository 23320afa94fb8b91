//! A directory in memory whose every call can fail, stop half-way or be the last one, and whose machine can crash: what was
//! not synced is then whole, torn or gone, each file and each name by itself.

use super::{FileStat, Volume, VolumeFile};
use parking_lot::Mutex;
use pumphouse_random::Random;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

type Inode = u64;

/// A file's content.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    modified: u64,
    /// How many of the bytes a crash of the machine can't take.
    synced: usize,
    /// What stood where it was written over since, and may come back in a crash.
    undo: Vec<(usize, Vec<u8>)>,
    /// How many bytes take no room.
    holes: u64,
}

impl Content {
    fn write_back(&mut self) {
        self.synced = self.bytes.len();
        self.undo.clear();
    }

    /// Writes into the middle, or behind the end.
    fn write_at(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if at < self.synced {
            self.undo.push((at, self.bytes[at..end.min(self.synced)].to_vec()));
        }
        if end > self.bytes.len() {
            self.holes += at.saturating_sub(self.bytes.len()) as u64;
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }
}

/// A change of names that a crash of the machine may undo, whole.
type Change = Vec<(String, Option<Inode>)>;

#[derive(Debug)]
struct State {
    random: Random,
    contents: BTreeMap<Inode, Content>,
    /// How often each is open.
    handles: BTreeMap<Inode, usize>,
    names: BTreeMap<String, Inode>,
    directories: BTreeSet<String>,
    synced_names: BTreeMap<String, Inode>,
    changes: Vec<Change>,
    next_inode: Inode,
    seconds: u32,
    ticks: u64,
    capacity_bytes: u64,
    /// One call in so many fails; none at 0.
    fault_rate: u64,
    /// After so many calls the process is dead.
    calls_left: Option<u64>,
    boot: u8,
    punches: bool,
    /// What can't be opened, and why.
    unreadable: Option<(String, Errno)>,
}

/// The directory. Its clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedVolume(Arc<Mutex<State>>);

/// An open file.
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: Inode,
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let Some(count) = state.handles.get_mut(&self.inode) else { return };
        *count -= 1;
        if *count == 0 {
            state.handles.remove(&self.inode);
            state.collect();
        }
    }
}

impl SimulatedVolume {
    pub(crate) fn new(seed: u64, capacity_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            contents: BTreeMap::new(),
            handles: BTreeMap::new(),
            names: BTreeMap::new(),
            directories: BTreeSet::new(),
            synced_names: BTreeMap::new(),
            changes: Vec::new(),
            next_inode: 1,
            seconds: 1_000_000,
            ticks: 1,
            capacity_bytes,
            fault_rate: 0,
            calls_left: None,
            boot: 1,
            punches: true,
            unreadable: None,
        })))
    }

    /// Whether files can have holes from now on.
    pub(crate) fn set_punches(&self, punches: bool) {
        self.0.lock().punches = punches;
    }

    /// The file of that name can't be opened from now on, for that reason.
    pub(crate) fn make_unreadable(&self, name: &str, errno: Errno) {
        self.0.lock().unreadable = Some((name.to_owned(), errno));
    }

    /// From now on one call in `rate` fails; none at 0.
    pub(crate) fn fail_one_in(&self, rate: u64) {
        self.0.lock().fault_rate = rate;
    }

    pub(crate) fn fault_rate(&self) -> u64 {
        self.0.lock().fault_rate
    }

    /// The process dies with its `calls`-th call from now.
    pub(crate) fn die_after(&self, calls: u64) {
        self.0.lock().calls_left = Some(calls);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().calls_left == Some(0)
    }

    /// The process is started again.
    pub(crate) fn revive(&self) {
        self.0.lock().calls_left = None;
    }

    pub(crate) fn set_clock(&self, seconds: u32) {
        self.0.lock().seconds = seconds;
    }

    /// Writes everything back.
    pub(crate) fn write_back(&self) {
        let mut state = self.0.lock();
        state.synced_names = state.names.clone();
        state.changes.clear();
        state.contents.values_mut().for_each(Content::write_back);
        state.collect();
    }

    /// The machine crashes and starts again.
    pub(crate) fn crash(&self) {
        let mut state = self.0.lock();
        let State { random, contents, names, synced_names, changes, boot, .. } = &mut *state;
        for content in contents.values_mut() {
            for (at, bytes) in std::mem::take(&mut content.undo).into_iter().rev() {
                if random.one_in(2) {
                    content.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
        for content in contents.values_mut().filter(|content| content.synced < content.bytes.len()) {
            match random.number_below(4) {
                0 => {}
                1 => content.bytes.truncate(
                    content.synced + random.number_below((content.bytes.len() - content.synced) as u64) as usize,
                ),
                2 => content.bytes.truncate(content.synced),
                // The length was written, the blocks were not.
                _ => {
                    let from =
                        content.synced + random.number_below((content.bytes.len() - content.synced) as u64) as usize;
                    content.bytes[from..].fill(0);
                }
            }
            content.synced = content.bytes.len();
        }
        for change in changes.drain(..) {
            if random.one_in(2) {
                apply(synced_names, &change);
            }
        }
        names.clone_from(synced_names);
        *boot += 1;
        state.collect();
    }

    /// Turns one bit of a file, and nobody is told.
    pub(crate) fn rot(&self, name: &str) -> bool {
        let mut state = self.0.lock();
        let State { random, contents, names, .. } = &mut *state;
        let Some(content) = names.get(name).and_then(|inode| contents.get_mut(inode)) else { return false };
        if content.bytes.is_empty() {
            return false;
        }
        let position = random.number_below(content.bytes.len() as u64) as usize;
        content.bytes[position] ^= 1 << random.number_below(8);
        true
    }

    /// Turns one bit of what stands behind `text` in a file of the directory, and nobody is told.
    pub(crate) fn rot_behind(&self, directory: &str, text: &[u8]) -> bool {
        let mut state = self.0.lock();
        let State { random, contents, names, .. } = &mut *state;
        for (_, inode) in names.iter().filter(|(name, _)| name.split_once('/').is_some_and(|(of, _)| of == directory)) {
            let Some(content) = contents.get_mut(inode) else { continue };
            if let Some(at) = content.bytes.windows(text.len()).rposition(|window| window == text) {
                let behind = (content.bytes.len() - at - text.len()).min(64);
                if behind > 0 {
                    content.bytes[at + text.len() + random.number_below(behind as u64) as usize] ^=
                        1 << random.number_below(8);
                    return true;
                }
            }
        }
        false
    }

    /// All files of two-letter directories: the last part of the name, and the length.
    pub(crate) fn files(&self) -> BTreeMap<String, u64> {
        let state = self.0.lock();
        let in_shards = state.names.iter().filter_map(|(name, inode)| match name.split_once('/') {
            Some((shard, hash)) if shard.len() == 2 => Some((hash.to_owned(), *inode)),
            _ => None,
        });
        in_shards.map(|(hash, inode)| (hash, state.contents[&inode].bytes.len() as u64)).collect()
    }

    /// One call: an error if it fails.
    fn call(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.0.lock();
        state.call()?;
        Ok(state)
    }

    fn file(&self, inode: Inode) -> SimulatedFile {
        *self.0.lock().handles.entry(inode).or_default() += 1;
        SimulatedFile { state: Arc::clone(&self.0), inode }
    }
}

impl State {
    fn call(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.calls_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the process is dead"));
            }
        }
        self.ticks += 1;
        if self.fault_rate > 0 && self.random.one_in(self.fault_rate) {
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    fn new_inode(&mut self) -> Inode {
        let inode = self.next_inode;
        self.next_inode += 1;
        let content = Content { modified: self.ticks, ..Content::default() };
        self.contents.insert(inode, content);
        inode
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn used_bytes(&self) -> u64 {
        self.contents.values().map(|content| (content.bytes.len() as u64).saturating_sub(content.holes)).sum()
    }

    /// Forgets contents that have neither a name, nor could get one back in a crash, nor are open.
    fn collect(&mut self) {
        let changed = self.changes.iter().flatten().filter_map(|(_, inode)| *inode);
        let named: BTreeSet<Inode> =
            self.names.values().chain(self.synced_names.values()).copied().chain(changed).collect();
        let handles = &self.handles;
        self.contents.retain(|inode, _| named.contains(inode) || handles.contains_key(inode));
    }
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &Change) {
    for (name, inode) in change {
        match inode {
            Some(inode) => drop(names.insert(name.clone(), *inode)),
            None => drop(names.remove(name)),
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Volume for SimulatedVolume {
    type File = SimulatedFile;

    fn open_to_change(&self, name: &str) -> io::Result<SimulatedFile> {
        self.open(name)
    }

    fn random(&self) -> u64 {
        self.0.lock().random.number()
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let state = self.call()?;
        if let Some((_, errno)) = state.unreadable.as_ref().filter(|(unreadable, _)| unreadable == name) {
            return Err((*errno).into());
        }
        let inode = state.names.get(name).copied().ok_or_else(not_found)?;
        drop(state);
        Ok(self.file(inode))
    }

    fn temporary(&self) -> io::Result<SimulatedFile> {
        let inode = self.call()?.new_inode();
        Ok(self.file(inode))
    }

    fn link(&self, file: &SimulatedFile, name: &str) -> io::Result<()> {
        let mut state = self.call()?;
        if name.split_once('/').is_some_and(|(directory, _)| !state.directories.contains(directory)) {
            return Err(not_found());
        }
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(vec![(name.to_owned(), Some(file.inode))]);
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.call()?;
        let inode = state.new_inode();
        state.change(vec![(name.to_owned(), Some(inode))]);
        drop(state);
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let inode = state.names.get(from).copied().ok_or_else(not_found)?;
        state.change(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.call()?;
        if !state.names.contains_key(name) {
            return Err(not_found());
        }
        state.change(vec![(name.to_owned(), None)]);
        state.collect();
        Ok(())
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        self.call()?.directories.insert(name.to_owned());
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let state = self.call()?;
        if directory.is_empty() {
            let files = state.names.keys().filter(|name| !name.contains('/')).cloned();
            return Ok(files.chain(state.directories.iter().cloned()).collect());
        }
        let inside = state.names.keys().filter_map(|name| name.split_once('/'));
        Ok(inside.filter(|(parent, _)| *parent == directory).map(|(_, name)| name.to_owned()).collect())
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        let state = self.call()?;
        let content = state.names.get(name).map(|inode| &state.contents[inode]).ok_or_else(not_found)?;
        Ok(FileStat { size_bytes: content.bytes.len() as u64, modified: content.modified })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.call()?;
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn punches(&self) -> bool {
        self.0.lock().punches
    }

    fn boot(&self) -> [u8; 16] {
        [self.0.lock().boot; 16]
    }

    fn seconds(&self) -> u32 {
        self.0.lock().seconds
    }

    fn place(&self, name: &str) -> String {
        format!("simulated/{name}")
    }
}

impl SimulatedFile {
    /// One call that writes at `at`, or else at the end: whether it fails, and how much it writes all the same.
    fn begin_write(
        &self,
        wanted: usize,
        at: Option<u64>,
    ) -> (parking_lot::MutexGuard<'_, State>, io::Result<()>, usize) {
        let mut state = self.state.lock();
        let mut called = state.call();
        let room = state.capacity_bytes.saturating_sub(state.used_bytes()) as usize;
        // What is written over takes no room.
        let length = state.contents.get(&self.inode).map_or(0, |content| content.bytes.len());
        let over = at.map_or(0, |at| length.saturating_sub(at as usize));
        let mut length = wanted.min(room + over);
        if called.is_ok() && length == 0 && wanted > 0 {
            called = Err(io::ErrorKind::StorageFull.into());
        }
        let is_short = called.is_err() && state.random.one_in(2) || state.fault_rate > 0 && state.random.one_in(4);
        if is_short {
            length = state.random.number_below(length as u64 + 1) as usize;
        }
        // A process that dies may have written some of it.
        let writes = called.is_ok() || state.calls_left == Some(0);
        (state, called, if writes { length } else { 0 })
    }
}

impl VolumeFile for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, called, length) = self.begin_write(bytes.len(), None);
        let (inode, ticks) = (self.inode, state.ticks);
        if let Some(content) = state.contents.get_mut(&inode) {
            content.bytes.extend_from_slice(&bytes[..length]);
            content.modified = ticks;
        }
        called.map(|()| length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut state, called, length) = self.begin_write(bytes.len(), Some(offset));
        let (inode, ticks) = (self.inode, state.ticks);
        if let Some(content) = state.contents.get_mut(&inode).filter(|_| length > 0) {
            content.write_at(&bytes[..length], offset as usize);
            content.modified = ticks;
        }
        called.map(|()| length)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        if !state.punches {
            return Err(Errno::OPNOTSUPP.into());
        }
        let Some(content) = state.contents.get_mut(&self.inode) else { return Ok(()) };
        let end = (offset + length).min(content.bytes.len() as u64) as usize;
        if (offset as usize) < end {
            content.write_at(&vec![0; end - offset as usize], offset as usize);
            content.holes += (end - offset as usize) as u64;
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state.lock();
        state.call()?;
        let Some(content) = state.contents.get(&self.inode) else { return Ok(0) };
        let rest = content.bytes.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn stat(&self) -> io::Result<FileStat> {
        let mut state = self.state.lock();
        state.call()?;
        let content = state.contents.get(&self.inode).ok_or_else(not_found)?;
        Ok(FileStat { size_bytes: content.bytes.len() as u64, modified: content.modified })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call()?;
        if let Some(content) = state.contents.get_mut(&self.inode) {
            content.write_back();
        }
        Ok(())
    }
}
