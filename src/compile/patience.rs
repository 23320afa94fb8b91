//! How long a compile waits for a server before it would rather run here: it follows from how long it would take here.
//!
//! What a unit took is remembered by the place of its object. Of others, the size of what they read gives a guess, which
//! what was measured on this machine keeps honest. Nothing here waits: callers turn these limits into deadlines.

use super::prepare::Prepared;
use crate::config::Patience;
use crate::remote::Service;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::hash::BuildHasher as _;
use std::time::Duration;

/// How many units' times are remembered; then those that were not used for long are forgotten.
const UNIT_LIMIT: usize = 65_536;

/// What a compile takes beside what it reads.
const START: Duration = Duration::from_millis(100);

/// What a compile takes for each byte that it reads, in nanoseconds, on a machine of which nothing is known.
const NANOSECONDS_PER_BYTE: f64 = 700.0;

/// How much of what is known of this machine the next measurement replaces.
const WEIGHT: f64 = 0.2;

/// How far this machine may be from the guess, either way.
const SCALE_RANGE: (f64, f64) = (0.1, 30.0);

/// The longest time that a compile is expected to take: a unit that hung once is not given hours.
const EXPECTATION_LIMIT: Duration = Duration::from_secs(600);

/// What a look-up may take besides a quarter of the compile, and at most.
const LOOK_UP_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// What sending inputs may take besides the compile's time and that of the bytes.
const UPLOAD_LIMIT: Duration = Duration::from_secs(2);

/// How long a compile may stand in the server's queue while there is room here, besides twice its time.
const QUEUE_LIMIT: Duration = Duration::from_secs(1);

/// What a worker may take besides four times the compile's time.
const EXECUTION_LIMIT: Duration = Duration::from_secs(3);

/// What fetching outputs may take besides the compile's time and that of the bytes.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(2);

/// What a server or worker moves at least, in bytes a second, where all goes well.
const BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;

/// A compile as far as its time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// A hash of its object's place.
    key: u64,
    /// How much it reads.
    size_bytes: u64,
}

/// What is known about how long compiles take here.
#[derive(Debug)]
pub(super) struct Expectations {
    units: Cache<u64, Duration>,
    /// By how much this machine is slower than the guess.
    scale: Mutex<f64>,
    hasher: foldhash::fast::RandomState,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { units: Cache::new(UNIT_LIMIT), scale: Mutex::new(1.0), hasher: foldhash::fast::RandomState::default() }
    }
}

impl Expectations {
    /// The unit that `prepared` compiles. Costs some nanoseconds for each file that it reads.
    pub(super) fn unit(&self, prepared: &Prepared) -> Unit {
        let key = self.hasher.hash_one(prepared.places.iter().next().map(|place| &place.path));
        let size_bytes = prepared.closure.files.iter().map(|file| file.digest.size_bytes()).sum();
        Unit { key, size_bytes }
    }

    /// How long `unit` should take here.
    pub(super) fn of(&self, unit: Unit) -> Duration {
        let known = self.units.get(&unit.key);
        known.unwrap_or_else(|| guess(unit).mul_f64(*self.scale.lock()))
    }

    /// Learns that `unit` took `time` on this machine.
    pub(super) fn measured(&self, unit: Unit, time: Duration) {
        self.units.insert(unit.key, time.min(EXPECTATION_LIMIT));
        let ratio = (time.as_secs_f64() / guess(unit).as_secs_f64()).clamp(SCALE_RANGE.0, SCALE_RANGE.1);
        let mut scale = self.scale.lock();
        *scale += (ratio - *scale) * WEIGHT;
    }

    /// Learns that `unit` took `time` on some worker, which says less than what it took here.
    pub(super) fn measured_elsewhere(&self, unit: Unit, time: Duration) {
        if self.units.get(&unit.key).is_none() {
            self.units.insert(unit.key, time.min(EXPECTATION_LIMIT));
        }
    }
}

fn guess(unit: Unit) -> Duration {
    START + Duration::from_nanos((unit.size_bytes as f64 * NANOSECONDS_PER_BYTE) as u64)
}

/// Where a compile is on its way through a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The action cache is asked.
    LookUp,
    /// This many bytes are sent.
    Upload(u64),
    /// It waits for a worker.
    Queued,
    /// A worker has it, which may first have to fetch what this server was just sent, so many bytes.
    Executing(u64),
    /// This many bytes are fetched.
    Download(u64),
}

impl Stage {
    /// What the server is doing.
    pub(super) const fn service(self) -> Service {
        match self {
            Self::LookUp => Service::LookUp,
            Self::Upload(_) => Service::Upload,
            Self::Queued | Self::Executing(_) => Service::Execute,
            Self::Download(_) => Service::Download,
        }
    }

    /// Where it stands on the way.
    pub(super) const fn order(self) -> u32 {
        match self {
            Self::LookUp => 0,
            Self::Upload(0) => 1,
            Self::Upload(_) => 2,
            Self::Queued => 3,
            Self::Executing(_) => 4,
            Self::Download(_) => 5,
        }
    }

    /// Whether bytes move, so that standing still says something.
    pub(super) const fn moves(self) -> bool {
        matches!(self, Self::Upload(_) | Self::Download(_))
    }

    /// How long a compile that takes `expected` here stays in this stage while there is room for it here.
    pub(super) fn limit(self, expected: Duration, patience: Patience) -> Duration {
        let moving = |size_bytes: u64| Duration::from_millis(size_bytes * 1000 / BYTES_PER_SECOND);
        let limit = match self {
            Self::LookUp => (LOOK_UP_LIMITS.0 + expected / 4).min(LOOK_UP_LIMITS.1),
            Self::Upload(size_bytes) => UPLOAD_LIMIT + expected + moving(size_bytes),
            Self::Queued => QUEUE_LIMIT + expected * 2,
            Self::Executing(size_bytes) => EXECUTION_LIMIT + expected * 4 + moving(size_bytes),
            Self::Download(size_bytes) => DOWNLOAD_LIMIT + expected + moving(size_bytes),
        };
        patience.of(limit)
    }
}
