//! Tasks that wait for a worker: by platform, then party, then priority, then build, then arrival.
//!
//! Between parties the one with the fewest running tasks comes first, then the one that was served longest ago, and between the
//! builds of a party likewise; so nobody waits for ever for another one, however many builds and actions that one has, and
//! whatever priorities it gives them.

use super::ids::{BuildId, TaskId, Time};
use super::platform::Requirements;
use super::task::ExecuteTask;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The waiting tasks and the builds' shares.
#[derive(Debug, Default)]
pub(super) struct Queue {
    platforms: BTreeMap<Requirements, PlatformQueue>,
    parties: BTreeMap<Arc<str>, Account>,
    builds: BTreeMap<BuildId, Account>,
    len: usize,
    served: u64,
}

/// A party's tasks by priority, and then by build.
type Levels = BTreeMap<i32, BTreeMap<BuildId, BTreeSet<TaskId>>>;

#[derive(Debug, Default)]
struct PlatformQueue {
    parties: BTreeMap<Arc<str>, Levels>,
    len: usize,
    /// Since when no worker is there that could ever run these.
    unmatched_since: Option<Time>,
}

/// What somebody has of the workers.
#[derive(Debug, Default)]
struct Account {
    waiting: usize,
    running: usize,
    last_served: u64,
}

impl Account {
    const fn share(&self) -> (usize, u64) {
        (self.running, self.last_served)
    }
}

impl Queue {
    /// How many tasks wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether no task waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing is remembered.
    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        self.is_empty() && self.platforms.is_empty() && self.builds.is_empty() && self.parties.is_empty()
    }

    /// Adds a task. The order among equals is that of the ids, so a task that comes back is first again.
    pub(super) fn push(&mut self, task: TaskId, execute: &ExecuteTask, priority: i32) {
        if !self.platforms.contains_key(&execute.requirements) {
            self.platforms.insert(execute.requirements.clone(), PlatformQueue::default());
        }
        let platform = self.platforms.get_mut(&execute.requirements).expect("inserted above");
        let levels = platform.parties.entry(Arc::clone(&execute.build.party)).or_default();
        levels.entry(priority).or_default().entry(execute.build.clone()).or_default().insert(task);
        platform.len += 1;
        self.len += 1;
        self.builds.entry(execute.build.clone()).or_default().waiting += 1;
        self.parties.entry(Arc::clone(&execute.build.party)).or_default().waiting += 1;
    }

    /// Takes a task out that was pushed with the same arguments.
    pub(super) fn remove(&mut self, task: TaskId, execute: &ExecuteTask, priority: i32) {
        let platform = self.platforms.get_mut(&execute.requirements).expect("a queued task's platform is queued");
        let levels = platform.parties.get_mut(&execute.build.party).expect("a queued task's party is queued");
        let level = levels.get_mut(&priority).expect("a queued task's priority is queued");
        let tasks = level.get_mut(&execute.build).expect("a queued task's build is queued");
        let was_there = tasks.remove(&task);
        assert!(was_there, "only queued tasks are removed");
        if tasks.is_empty() {
            level.remove(&execute.build);
        }
        if level.is_empty() {
            levels.remove(&priority);
        }
        if levels.is_empty() {
            platform.parties.remove(&execute.build.party);
        }
        platform.len -= 1;
        if platform.len == 0 {
            self.platforms.remove(&execute.requirements);
        }
        self.len -= 1;
        self.for_accounts_of(&execute.build, |account| account.waiting -= 1);
    }

    /// A task of `build` begins to run.
    pub(super) fn begin(&mut self, build: &BuildId) {
        self.served += 1;
        let party = self.parties.entry(Arc::clone(&build.party)).or_default();
        for account in [self.builds.entry(build.clone()).or_default(), party] {
            account.running += 1;
            account.last_served = self.served;
        }
    }

    /// A task of `build` runs no longer.
    pub(super) fn end(&mut self, build: &BuildId) {
        self.for_accounts_of(build, |account| account.running -= 1);
    }

    /// The task that a worker shall run next: of those whose platform it `satisfies` and that it `may_take`.
    pub(super) fn next(
        &self,
        satisfies: impl Fn(&Requirements) -> bool,
        may_take: impl Fn(TaskId) -> bool,
    ) -> Option<TaskId> {
        let mut best: Option<Rank> = None;
        for (_, platform) in self.platforms.iter().filter(|(requirements, _)| satisfies(requirements)) {
            for (party, levels) in &platform.parties {
                let party = self.parties.get(party).expect("a queued task's party is known").share();
                if best.as_ref().is_some_and(|best| best.party < party) {
                    continue;
                }
                let first = levels.iter().find_map(|(priority, builds)| {
                    let (build, task) = self.first_of(builds, &may_take)?;
                    Some(Rank { party, priority: *priority, build, task })
                });
                best = best.into_iter().chain(first).min();
            }
        }
        best.map(|best| best.task)
    }

    /// Of the builds of one level, the share of the one that is served next, and its first task.
    fn first_of(
        &self,
        builds: &BTreeMap<BuildId, BTreeSet<TaskId>>,
        may_take: impl Fn(TaskId) -> bool,
    ) -> Option<((usize, u64), TaskId)> {
        let firsts = builds.iter().filter_map(|(build, tasks)| {
            let task = tasks.iter().copied().find(|task| may_take(*task))?;
            Some((self.builds.get(build).expect("a queued task's build is known").share(), task))
        });
        firsts.min()
    }

    /// The platforms that tasks wait for.
    pub(super) fn platforms(&self) -> impl Iterator<Item = &Requirements> {
        self.platforms.keys()
    }

    /// The tasks that wait for a platform.
    pub(super) fn tasks_of(&self, requirements: &Requirements) -> Vec<TaskId> {
        let platform = self.platforms.get(requirements).into_iter();
        let levels = platform.flat_map(|platform| platform.parties.values().flat_map(BTreeMap::values));
        levels.flat_map(BTreeMap::values).flatten().copied().collect()
    }

    /// Since when a platform has no worker.
    pub(super) fn unmatched_since(&self, requirements: &Requirements) -> Option<Time> {
        self.platforms.get(requirements)?.unmatched_since
    }

    /// Notes since when a platform has no worker, if tasks wait for it.
    pub(super) fn set_unmatched_since(&mut self, requirements: &Requirements, since: Option<Time>) {
        if let Some(platform) = self.platforms.get_mut(requirements) {
            platform.unmatched_since = since;
        }
    }

    /// Changes the accounts of a build and its party, and forgets those that have nothing any more.
    fn for_accounts_of(&mut self, build: &BuildId, change: impl Fn(&mut Account)) {
        let is_idle = |account: &Account| account.waiting == 0 && account.running == 0;
        let account = self.builds.get_mut(build).expect("a task's build is known");
        change(account);
        if is_idle(account) {
            self.builds.remove(build);
        }
        let account = self.parties.get_mut(&build.party).expect("a task's party is known");
        change(account);
        if is_idle(account) {
            self.parties.remove(&build.party);
        }
    }
}

/// What comes first: the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Running tasks, and when it was last served.
    party: (usize, u64),
    priority: i32,
    build: (usize, u64),
    task: TaskId,
}

/// For tests of the order: a build is named as `PARTY/NAME`.
#[cfg(test)]
pub(super) fn task_of_build(build: &str) -> Arc<ExecuteTask> {
    use super::ids::ActionKey;
    let (party, name) = build.split_once('/').unwrap_or(("", build));
    Arc::new(ExecuteTask {
        action: ActionKey { instance_name: "".into(), digest: pumphouse_proto::digest::Digest::EMPTY },
        do_not_cache: false,
        requirements: Requirements::default(),
        priority: 0,
        build: BuildId { party: party.into(), name: name.into() },
        timeout: std::time::Duration::from_secs(1),
        queued_at: std::time::SystemTime::UNIX_EPOCH,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes tasks given as build and priority, then serves all of them, at most `running` at a time.
    fn check(tasks: &[(&str, i32)], running: usize, expect: &[usize]) {
        let mut queue = Queue::default();
        for (number, (build, priority)) in tasks.iter().enumerate() {
            queue.push(TaskId(number as u64), &task_of_build(build), *priority);
        }
        let (mut order, mut under_way) = (Vec::new(), Vec::new());
        while let Some(task) = queue.next(|_| true, |_| true) {
            let (build, priority) = tasks[task.0 as usize];
            let execute = task_of_build(build);
            queue.begin(&execute.build);
            queue.remove(task, &execute, priority);
            order.push(task.0 as usize);
            under_way.push(execute);
            if under_way.len() == running {
                queue.end(&under_way.remove(0).build);
            }
        }
        for execute in under_way {
            queue.end(&execute.build);
        }
        assert_eq!(order, expect);
        assert!(queue.is_forgotten());
    }

    #[test]
    fn within_a_build_the_first_comes_first() {
        check(&[("a", 0), ("a", 0), ("a", 0)], 2, &[0, 1, 2]);
    }

    #[test]
    fn lower_priorities_come_first() {
        check(&[("a", 5), ("a", 0), ("b", -7), ("a", 0)], 2, &[2, 1, 3, 0]);
    }

    #[test]
    fn a_party_with_many_builds_has_no_more_than_one_with_one() {
        let tasks = [("p/a", 0), ("p/b", 0), ("p/c", 0), ("p/d", 0), ("q/x", 0), ("q/x", 0), ("q/x", 0)];
        check(&tasks, 2, &[0, 4, 1, 5, 2, 6, 3]);
    }

    #[test]
    fn priorities_are_a_party_s_own_business() {
        check(&[("p/a", -5), ("p/a", -5), ("q/x", 9), ("q/x", 3)], 2, &[0, 3, 1, 2]);
    }

    #[test]
    fn builds_take_turns() {
        check(&[("a", 0), ("a", 0), ("a", 0), ("a", 0), ("b", 0), ("b", 0)], 2, &[0, 4, 1, 5, 2, 3]);
        check(&[("a", 0), ("a", 0), ("a", 0), ("b", 0), ("c", 0)], 100, &[0, 3, 4, 1, 2]);
    }
}
