//! The workers, and which of them takes a task: found by what they offer and how much they have to do, without walking them all.
//!
//! Workers of equal offers form a pool, whose free members are sorted by their load. A choice costs a look at each pool and a
//! step down a tree, however many workers there are.
//!
//! Invariant: a worker changes only through [`Roster::change`], which files it anew.

use super::ids::WorkerId;
use super::platform::{Offer, Requirements};
use super::worker::Worker;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

/// All workers that are known.
#[derive(Debug, Default)]
pub(super) struct Roster {
    workers: BTreeMap<WorkerId, Worker>,
    pools: BTreeMap<Offer, Pool>,
    /// The connected ones that are trusted with work.
    trusted: BTreeSet<WorkerId>,
    /// How many are connected, and how many slots these have.
    connected: usize,
    slots: usize,
}

/// The workers with one offer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pool {
    /// Those that can run something, now or when they come back.
    able: BTreeSet<WorkerId>,
    /// Those of them that are connected.
    present: BTreeSet<WorkerId>,
    /// Those that have a free slot, the least used first: the trusted ones, and those that rest.
    free: BTreeSet<(usize, WorkerId)>,
    resting: BTreeSet<(usize, WorkerId)>,
}

impl Pool {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Index<&WorkerId> for Roster {
    type Output = Worker;

    fn index(&self, id: &WorkerId) -> &Worker {
        &self.workers[id]
    }
}

impl Roster {
    pub(super) fn get(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// How many are connected.
    pub(super) fn connected(&self) -> usize {
        self.connected
    }

    /// How many slots the connected ones have.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Adds a worker that isn't known, as `worker` makes it.
    pub(super) fn add(&mut self, id: &WorkerId, worker: impl FnOnce() -> Worker) {
        if !self.workers.contains_key(id) {
            let worker = worker();
            self.file(id, &worker);
            self.workers.insert(id.clone(), worker);
        }
    }

    /// Changes a worker, if it is known.
    pub(super) fn change<R>(&mut self, id: &WorkerId, change: impl FnOnce(&mut Worker) -> R) -> Option<R> {
        let mut worker = self.remove(id)?;
        let result = change(&mut worker);
        self.add(id, || worker);
        Some(result)
    }

    /// Forgets a worker.
    pub(super) fn remove(&mut self, id: &WorkerId) -> Option<Worker> {
        let worker = self.workers.remove(id)?;
        self.unfile(id, &worker);
        Some(worker)
    }

    /// Whether no connected worker is trusted with anything: then the others have to do.
    pub(super) fn all_rest(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Whether there is a worker, connected or not, that could run such actions.
    pub(super) fn has_match(&self, requirements: &Requirements) -> bool {
        self.pools_for(requirements).any(|pool| !pool.able.is_empty())
    }

    /// Whether a worker is connected that could run such actions and isn't one of `avoided`.
    pub(super) fn has_other_than(&self, avoided: &BTreeSet<WorkerId>, requirements: &Requirements) -> bool {
        self.pools_for(requirements).any(|pool| {
            // The avoided ones are few.
            pool.present.len() > avoided.iter().filter(|id| pool.present.contains(*id)).count()
        })
    }

    /// The worker with a free slot that shall take such an action: the one that is used least, and none of `avoided`.
    pub(super) fn least_used(&self, requirements: &Requirements, avoided: &BTreeSet<WorkerId>) -> Option<WorkerId> {
        let all_rest = self.all_rest();
        let firsts = self.pools_for(requirements).filter_map(|pool| {
            let free = if all_rest { &pool.resting } else { &pool.free };
            free.iter().find(|(_, id)| !avoided.contains(id))
        });
        firsts.min().map(|(_, id)| id.clone())
    }

    /// The workers that have a free slot.
    pub(super) fn free(&self) -> impl Iterator<Item = &WorkerId> {
        self.pools.values().flat_map(|pool| pool.free.iter().chain(&pool.resting)).map(|(_, id)| id)
    }

    fn pools_for(&self, requirements: &Requirements) -> impl Iterator<Item = &Pool> {
        self.pools.iter().filter(|(offer, _)| offer.satisfies(requirements)).map(|(_, pool)| pool)
    }

    fn file(&mut self, id: &WorkerId, worker: &Worker) {
        let is_connected = worker.session.is_some();
        if is_connected {
            self.connected += 1;
            self.slots += worker.slots;
        }
        if is_connected && !worker.health.rests() {
            self.trusted.insert(id.clone());
        }
        if !worker.is_able() {
            return;
        }
        if !self.pools.contains_key(&worker.offer) {
            self.pools.insert(worker.offer.clone(), Pool::default());
        }
        let pool = self.pools.get_mut(&worker.offer).expect("inserted above");
        pool.able.insert(id.clone());
        if is_connected {
            pool.present.insert(id.clone());
        }
        if worker.free_slots() > 0 {
            let free = if worker.health.rests() { &mut pool.resting } else { &mut pool.free };
            free.insert((worker.load(), id.clone()));
        }
    }

    fn unfile(&mut self, id: &WorkerId, worker: &Worker) {
        if worker.session.is_some() {
            self.connected -= 1;
            self.slots -= worker.slots;
        }
        self.trusted.remove(id);
        let Some(pool) = self.pools.get_mut(&worker.offer) else { return };
        pool.able.remove(id);
        pool.present.remove(id);
        let place = (worker.load(), id.clone());
        pool.free.remove(&place);
        pool.resting.remove(&place);
        if pool.is_empty() {
            self.pools.remove(&worker.offer);
        }
    }
}

#[cfg(test)]
impl Roster {
    /// Panics where a worker isn't filed as it is.
    pub(super) fn check(&self) {
        let mut afresh = Self::default();
        for (id, worker) in &self.workers {
            afresh.file(id, worker);
        }
        assert_eq!(self.pools, afresh.pools);
        assert_eq!(self.trusted, afresh.trusted);
        assert_eq!((self.connected, self.slots), (afresh.connected, afresh.slots));
    }
}
