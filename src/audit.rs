//! Hits that are compiled again when there is nothing else to do, to see whether the caches tell the truth.
//!
//! This module knows which hits wait for that, how a compile is run whose outputs go elsewhere ([`apart`]), and what is kept
//! of a result that was found to be wrong ([`report`]) and follows for others ([`distrust`]). What a result is compared
//! with stands in `compile::audit`.

pub(crate) mod apart;
pub(crate) mod distrust;
pub(crate) mod report;

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many hits wait to be compiled again; more are not drawn until there is room.
const WAITING_LIMIT: usize = 64;

/// How often a hit's second compile is begun: compiles of the user's interrupt it.
const ATTEMPTS: u32 = 3;

/// The hits that wait, drawn at random.
#[derive(Debug)]
pub(crate) struct Drawn<T> {
    one_in: u32,
    hits: AtomicU64,
    hasher: foldhash::fast::RandomState,
    waiting: Mutex<VecDeque<(T, u32)>>,
}

impl<T: Clone> Drawn<T> {
    /// One in `one_in` hits is drawn; with 0, none.
    pub(crate) fn new(one_in: u32) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        Self { one_in, hits: AtomicU64::new(0), hasher, waiting: Mutex::default() }
    }

    /// Takes a hit in if it is drawn. Costs some nanoseconds where it is not.
    pub(crate) fn offer(&self, hit: impl FnOnce() -> T) {
        if self.one_in == 0 {
            return;
        }
        let number = self.hits.fetch_add(1, Ordering::Relaxed);
        if !self.hasher.hash_one(number).is_multiple_of(u64::from(self.one_in)) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_LIMIT {
            waiting.push_back((hit(), 0));
        }
    }

    /// The hit that waits longest. It stays until it is [settled](Self::settle), or was begun for the last time.
    pub(crate) fn begin(&self) -> Option<T> {
        let mut waiting = self.waiting.lock();
        while let Some((hit, attempts)) = waiting.pop_front() {
            if attempts < ATTEMPTS {
                waiting.push_front((hit.clone(), attempts + 1));
                return Some(hit);
            }
        }
        None
    }

    /// Removes the hit that was begun last.
    pub(crate) fn settle(&self) {
        self.waiting.lock().pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_hits_is_drawn_and_bounded() {
        let check = |one_in: u32, hits: u32| {
            let drawn = Drawn::new(one_in);
            (0..hits).for_each(|hit| drawn.offer(|| hit));
            drawn.waiting.lock().len()
        };
        assert_eq!(check(0, 1000), 0);
        assert_eq!(check(1, 10), 10);
        assert_eq!(check(1, 1000), WAITING_LIMIT);
        let some = check(100, 3000);
        assert!((5..=60).contains(&some), "{some} of 3000");
    }

    #[test]
    fn an_interrupted_one_is_begun_again_but_not_for_ever() {
        let drawn = Drawn::new(1);
        drawn.offer(|| 'a');
        drawn.offer(|| 'b');
        for _ in 0..ATTEMPTS {
            assert_eq!(drawn.begin(), Some('a'));
        }
        assert_eq!(drawn.begin(), Some('b'));
        drawn.settle();
        assert_eq!(drawn.begin(), None);
    }
}
