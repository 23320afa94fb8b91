//! A worker as the scheduler sees it: what it offers and what it shall hold.

use super::health::Health;
use super::ids::ActionKey;
use super::ids::{RunId, SessionId, TaskId, Time, WorkerId};
use super::platform::Offer;
use pumphouse_proto::reapi::ExecuteResponse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub(crate) struct WorkerState {
    pub(crate) id: WorkerId,
    pub(crate) display_name: Arc<str>,
    pub(crate) offer: Offer,
    pub(crate) slots: usize,
    pub(crate) runs: Vec<ReportedRun>,
    pub(crate) is_draining: bool,
}

/// A run that a worker says it holds.
#[derive(Debug, Clone)]
pub(crate) struct ReportedRun {
    pub(crate) run: RunId,
    pub(crate) action: ActionKey,
    pub(crate) do_not_cache: bool,
    /// How it ended, if it has.
    pub(crate) completed: Option<Arc<ExecuteResponse>>,
    /// Whether a server of this directory gave it to that worker, as its seal says: else only a run that the worker shall
    /// hold is believed.
    pub(crate) is_vouched_for: bool,
}

/// A worker, within the core.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) display_name: Arc<str>,
    pub(super) offer: Offer,
    pub(super) slots: usize,
    pub(super) is_draining: bool,
    /// `None` while it is given time to come back.
    pub(super) session: Option<SessionId>,
    /// When it spoke last, or when its session ended.
    pub(super) heard: Time,
    /// What it shall hold.
    pub(super) runs: BTreeMap<RunId, TaskId>,
    /// How many of these take a slot: those that have not ended.
    pub(super) busy: usize,
    /// How far it is trusted.
    pub(super) health: Health,
}

impl Worker {
    /// How many more runs it can begin.
    pub(super) fn free_slots(&self) -> usize {
        if self.session.is_none() || self.is_draining {
            return 0;
        }
        self.health.usable(self.slots).saturating_sub(self.busy)
    }

    /// Whether it runs anything, now or when it has a free slot.
    pub(super) fn is_able(&self) -> bool {
        !self.is_draining && self.slots > 0
    }

    /// How much of it is used, in 1,024ths.
    pub(super) fn load(&self) -> usize {
        self.busy * 1024 / self.slots.max(1)
    }
}
