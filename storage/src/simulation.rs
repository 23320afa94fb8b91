//! Blobs in a directory under random uses, faults, crashes, clocks and rot, from a seed: whatever happens, nobody is given
//! wrong bytes, told of a blob that isn't there, or loses one that was promised.

use crate::blobs::{Blobs, Problem, Upload};
use crate::directory::{Directory, Limits};
use crate::volume::simulated::SimulatedVolume;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How many worlds are simulated by the tests, and how many things happen in each. More by `PUMPHOUSE_SEEDS`.
const SEEDS: u64 = 200;
const STEPS: usize = 400;

/// How many different blobs there are.
const BLOBS: u64 = 40;

struct World {
    seed: u64,
    random: Random,
    volume: SimulatedVolume,
    limits: Limits,
    blobs: Blobs<SimulatedVolume>,
    uploads: Vec<(u64, usize, Upload<SimulatedVolume>)>,
    contents: Vec<Vec<u8>>,
    digests: Vec<Digest>,
    /// Until when each blob was promised to be there.
    promised: BTreeMap<u64, u32>,
    /// Those of them of which the journal need not know yet.
    unwritten: BTreeSet<u64>,
    /// Blobs whose files were damaged: they may be there, or not, but never wrong.
    rotten: BTreeSet<u64>,
    was_whole: bool,
    clock: u32,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let contents: Vec<Vec<u8>> = (0..BLOBS)
            .map(|number| {
                let size = if random.one_in(8) { random.number_below(20_000) } else { 1 + random.number_below(900) };
                (0..size).map(|position| (number + position * 7) as u8).chain(number.to_le_bytes()).collect()
            })
            .collect();
        let total: u64 = contents.iter().map(|content| content.len() as u64).sum();
        let size_bytes = total / (1 + random.number_below(4));
        let lifetime = if random.one_in(3) { 0 } else { 100 + random.number_below(1000) };
        let limits = Limits {
            size_bytes,
            promised_lifetime: Duration::from_secs(lifetime),
            free_disk_bytes: if random.one_in(2) { 0 } else { 2000 },
        };
        // Room for the journal as well, or nearly none.
        let capacity_bytes = if random.one_in(3) { size_bytes / 2 + 3000 } else { size_bytes * 2 + 200_000 };
        let volume = SimulatedVolume::new(random.number(), capacity_bytes);
        volume.set_punches(!random.one_in(4));
        let functions = DigestFunction::ALL.into_iter().cycle();
        let digests = contents.iter().zip(functions).map(|(content, function)| function.digest(content)).collect();
        let (directory, is_whole) = Directory::load(Arc::new(volume.clone()), limits.clone()).expect("a new directory");
        assert!(is_whole);
        Self {
            seed,
            random,
            volume,
            limits,
            blobs: Blobs::new(directory),
            uploads: Vec::new(),
            contents,
            digests,
            promised: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            rotten: BTreeSet::new(),
            was_whole: true,
            clock: 1_000_000,
            log: Vec::new(),
        }
    }

    fn note(&mut self, what: String) {
        if std::env::var_os("PUMPHOUSE_SEED").is_some() {
            eprintln!("{what}");
        }
        self.log.push(what);
    }

    fn fail(&self, problem: &str) -> ! {
        let last: Vec<&String> = self.log.iter().rev().take(12).rev().collect();
        panic!("seed {}: {problem}, after {last:#?}", self.seed);
    }

    fn promise(&mut self, number: u64) {
        let until = self.clock.saturating_add(self.limits.promised_lifetime.as_secs() as u32);
        self.promised.insert(number, until);
        self.unwritten.insert(number);
    }

    /// What a blob that was read turned out to be.
    fn judge(&mut self, number: u64, read: Result<Vec<u8>, Problem>) {
        match read {
            Ok(bytes) if bytes == self.contents[number as usize] => {}
            Ok(_) => self.fail("wrong bytes were given"),
            Err(Problem::NotFound(_)) => self.gone(number),
            Err(Problem::Corrupt(_)) => {
                if !self.rotten.contains(&number) {
                    self.fail("a good blob was called corrupt");
                }
                self.promised.remove(&number);
            }
            Err(_) => self.expect_faults("a read failed"),
        }
    }

    fn expect_faults(&self, problem: &str) {
        if self.volume.fault_rate() == 0 && !self.volume.is_dead() {
            self.fail(problem);
        }
    }

    /// A blob is missing.
    fn gone(&mut self, number: u64) {
        let until = self.promised.remove(&number);
        if until.is_some_and(|until| self.clock < until) && !self.rotten.contains(&number) {
            self.fail(&format!("blob {number} was promised and is gone"));
        }
    }

    fn step(&mut self) {
        let number = self.random.number_below(BLOBS);
        let digest = self.digests[number as usize];
        match self.random.number_below(34) {
            0..=7 => {
                let content = self.contents[number as usize].clone();
                if self.random.one_in(3) {
                    return self.put_many();
                }
                let put = self.blobs.put(digest, &content);
                self.note(format!("put {number}: {:?}", put.as_ref().err()));
                self.stored(number, put);
            }
            8..=10 => match if self.random.one_in(3) {
                self.blobs.upload_unnamed(digest.function())
            } else {
                self.blobs.upload(digest)
            } {
                Ok(upload) => self.uploads.push((number, 0, upload)),
                Err(Problem::Storage(_)) => {}
                Err(error) => self.fail(&error.to_string()),
            },
            11..=14 => self.go_on_uploading(),
            15..=18 => {
                let read = self.blobs.get(digest);
                self.note(format!("get {number}: {:?}", read.as_ref().err()));
                self.judge(number, read);
            }
            19 => {
                let size = digest.size_bytes();
                let offset = self.random.number_below(size);
                let end = offset + self.random.number_below(size - offset) + 1;
                let part = self.blobs.open_part(digest, offset, end).and_then(|mut part| part.read(usize::MAX));
                self.note(format!("read {offset}..{end} of {number}: {:?}", part.as_ref().err()));
                // Parts are compared now and then only: what rots in between shows later.
                match part {
                    Ok(part) if !self.rotten.contains(&number) => {
                        if part != self.contents[number as usize][offset as usize..end as usize] {
                            self.fail("wrong bytes were given");
                        }
                    }
                    Ok(_) => {}
                    Err(error) => self.judge(number, Err(error)),
                }
            }
            20..=23 => self.look(),
            24 if self.blobs.directory().flush().is_ok() => self.unwritten.clear(),
            25 => drop(self.blobs.directory().check_shard(digest.hash()[0])),
            26 => {
                let step = if self.random.one_in(10) {
                    self.random.number_below(1_000_000)
                } else {
                    self.random.number_below(200)
                };
                self.clock += step as u32;
                let now = self.clock;
                self.promised.retain(|_, until| now < *until);
                if self.random.one_in(20) {
                    self.clock -= self.random.number_below(5000) as u32;
                }
                self.volume.set_clock(self.clock);
                self.note(format!("it is {}", self.clock));
            }
            27 if self.random.one_in(3) => {
                let hash = digest.hash_hex();
                let is_file = self.volume.rot(&format!("{}/{hash}", &hash[..2]));
                if is_file || self.volume.rot_behind("packs", digest.hash()) {
                    self.note(format!("{number} rots"));
                    self.rotten.insert(number);
                }
            }
            28 => self.volume.write_back(),
            29 if self.random.one_in(3) => {
                let rate = if self.random.one_in(2) { 0 } else { 2 + self.random.number_below(100) };
                self.note(format!("one call in {rate} fails"));
                self.volume.fail_one_in(rate);
            }
            30 if self.random.one_in(3) => self.volume.die_after(1 + self.random.number_below(30)),
            31 if self.random.one_in(6) => self.shut_down(),
            32 if self.random.one_in(6) => {
                self.note("the machine crashes".to_owned());
                self.volume.crash();
                // Nothing was synced, so nothing was promised.
                self.promised.clear();
                self.restart();
            }
            _ => {}
        }
        if self.volume.is_dead() {
            self.note("the process dies".to_owned());
            self.restart();
        }
        // Files that nobody knew of are taken in, however many they are.
        let most = self.limits.size_bytes / 4 * 5;
        if self.was_whole && self.blobs.directory().size_bytes() > most {
            let size_bytes = self.blobs.directory().size_bytes();
            self.fail(&format!("{size_bytes} bytes exceed {most}"));
        }
    }

    fn put_many(&mut self) {
        let numbers: Vec<u64> = (0..=self.random.number_below(20)).map(|_| self.random.number_below(BLOBS)).collect();
        let blob = |number: &u64| (self.digests[*number as usize], self.contents[*number as usize].clone());
        let put = self.blobs.put_many(&numbers.iter().map(blob).collect::<Vec<_>>());
        self.note(format!(
            "put {numbers:?}: {:?}",
            put.iter().filter_map(|put| put.as_ref().err()).collect::<Vec<_>>()
        ));
        for (number, put) in numbers.into_iter().zip(put) {
            self.stored(number, put);
        }
    }

    fn stored(&mut self, number: u64, stored: Result<(), Problem>) {
        match stored {
            Ok(()) => self.promise(number),
            Err(Problem::Storage(_)) => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn go_on_uploading(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let position = self.random.number_below(self.uploads.len() as u64) as usize;
        let (number, done, mut upload) = self.uploads.swap_remove(position);
        let content = self.contents[number as usize].clone();
        if done == content.len() {
            let committed = upload.commit(&self.blobs);
            self.note(format!("commit {number}: {:?}", committed.as_ref().err()));
            return self.stored(number, committed.map(drop));
        }
        let next = done + 1 + self.random.number_below((content.len() - done) as u64) as usize;
        match upload.append(&self.blobs, &[&content[done..next]]) {
            Ok(()) if self.random.one_in(8) => {}
            Ok(()) => self.uploads.push((number, next, upload)),
            Err(Problem::Storage(_)) => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Asks for all blobs, and reads some of those that are said to be there.
    fn look(&mut self) {
        let (mut missing, uncertain) = self.blobs.find_missing(&self.digests);
        match self.blobs.missing_after_a_look(uncertain) {
            Ok(more) => missing.extend(more),
            Err(_) => return self.expect_faults("a look failed"),
        }
        let missing: BTreeSet<Digest> = missing.into_iter().collect();
        self.note(format!("{} are missing", missing.len()));
        for number in 0..BLOBS {
            let digest = self.digests[number as usize];
            if missing.contains(&digest) {
                self.gone(number);
                continue;
            }
            self.promise(number);
            if self.random.one_in(4) {
                let read = self.blobs.get(digest);
                if matches!(read, Err(Problem::NotFound(_))) {
                    self.fail(&format!("blob {number} was said to be there"));
                }
                self.judge(number, read);
            }
        }
    }

    /// Ends in order, and starts again.
    fn shut_down(&mut self) {
        self.uploads.clear();
        let ended = self.blobs.directory().end();
        self.note(format!("shut down: {ended:?}"));
        let before = (self.blobs.directory().len(), self.blobs.directory().size_bytes());
        if ended.is_ok() {
            self.unwritten.clear();
        }
        if self.restart() && ended.is_ok() {
            let after = (self.blobs.directory().len(), self.blobs.directory().size_bytes());
            if before != after {
                self.fail(&format!("{before:?} became {after:?} in a restart in order"));
            }
        }
    }

    /// Starts the process again; whether the journal was whole.
    fn restart(&mut self) -> bool {
        self.volume.revive();
        // What was packed stays readable on a file system that is mounted otherwise.
        if self.random.one_in(8) {
            let punches = self.random.one_in(2);
            self.note(format!("there can be holes: {punches}"));
            self.volume.set_punches(punches);
        }
        self.uploads.clear();
        // The last uses are forgotten where they were not written down.
        for number in std::mem::take(&mut self.unwritten) {
            self.promised.remove(&number);
        }
        loop {
            if let Ok((directory, is_whole)) = Directory::load(Arc::new(self.volume.clone()), self.limits.clone()) {
                self.note(format!("a start: {} files, {is_whole}", directory.len()));
                self.blobs = Blobs::new(directory);
                self.was_whole = is_whole;
                return is_whole;
            }
            self.volume.fail_one_in(0);
        }
    }

    /// With no more faults, what is known is what is there.
    fn settle(&mut self) {
        self.volume.fail_one_in(0);
        self.restart();
        self.blobs.directory().check_all_packs();
        for shard in 0..=u8::MAX {
            self.blobs.directory().check_shard(shard).expect("no faults");
        }
        let (files, packed) = (self.volume.files(), self.blobs.directory().all_packed());
        let (len, size_bytes) = (self.blobs.directory().len(), self.blobs.directory().size_bytes());
        let sizes = files.values().copied().chain(packed.iter().map(|size_bytes| u64::from(*size_bytes)));
        if (len, size_bytes) != (files.len() + packed.len(), sizes.sum()) {
            self.fail(&format!(
                "{len} files of {size_bytes} bytes are known; there are {files:?}, and packed {packed:?}"
            ));
        }
        self.look();
        for number in 0..BLOBS {
            let read = self.blobs.get(self.digests[number as usize]);
            self.judge(number, read);
        }
        // Whatever was rotten can be brought again.
        self.clock += 10_000_000;
        self.volume.set_clock(self.clock);
        for number in self.rotten.clone() {
            let (digest, content) = (self.digests[number as usize], self.contents[number as usize].clone());
            if self.blobs.put(digest, &content).is_ok() && !self.blobs.get(digest).is_ok_and(|read| read == content) {
                self.fail(&format!("blob {number} was not repaired"));
            }
        }
    }
}

#[test]
fn nothing_is_wrong_lost_or_falsely_there_in_any_world() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("PUMPHOUSE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PUMPHOUSE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
    }
}
