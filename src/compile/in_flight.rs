//! Equal actions at the same time: one of them is run, and the others wait for its result.
//!
//! What it does not know: how an action is run, and where its result goes.
//!
//! Invariants: an action has at most one leader that others follow, and every leader ends, at the latest when its compile is
//! dropped; nobody waits longer than [`FOLLOW_LIMIT`], and none begins to wait for a leader that has led for so long: its
//! launcher was stopped, say.

use parking_lot::{Mutex, MutexGuard};
use pumphouse_proto::digest::Digest;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a compile waits for an equal one before it runs by itself.
pub(super) const FOLLOW_LIMIT: Duration = Duration::from_secs(30);

/// The actions that are being run.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<Digest, Led>>);

/// A run that others can follow.
#[derive(Debug)]
struct Led {
    state: watch::Receiver<State>,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Ended(End),
}

/// How a leader's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There may be a result in the cache.
    Done,
    /// There will be no result for others to use.
    Failed,
    /// It was given up, or nothing is heard of it: somebody else must run the action.
    Abandoned,
}

/// What a compile does about its action.
#[derive(Debug)]
pub(super) enum Claim {
    /// Runs it, and lets others know.
    Lead(Leader),
    /// Waits for the one that runs it.
    Follow(Follower),
}

/// The right to run an action while others wait.
#[derive(Debug)]
pub(super) struct Leader {
    all: Arc<InFlight>,
    action: Digest,
    state: watch::Sender<State>,
}

/// A compile that waits.
#[derive(Debug)]
pub(super) struct Follower(watch::Receiver<State>);

impl InFlight {
    /// Leads the run of `action`, or follows the compile that does.
    pub(super) fn claim(self: &Arc<Self>, action: Digest) -> Claim {
        let mut running = self.lock();
        if let Some(led) = running.get(&action).filter(|led| led.since.elapsed() < FOLLOW_LIMIT) {
            return Claim::Follow(Follower(led.state.clone()));
        }
        let (sender, receiver) = watch::channel(State::Running);
        running.insert(action, Led { state: receiver, since: Instant::now() });
        Claim::Lead(Leader { all: Arc::clone(self), action, state: sender })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Led>> {
        self.0.lock()
    }
}

impl Leader {
    /// Lets the others go on.
    pub(super) fn end(self, end: End) {
        self.say(end);
    }

    fn say(&self, end: End) {
        // Whoever comes from here on claims the action anew. A later leader may have done so already.
        let mut running = self.all.lock();
        if running.get(&self.action).is_some_and(|led| led.state.same_channel(&self.state.subscribe())) {
            running.remove(&self.action);
        }
        drop(running);
        self.state.send_if_modified(|state| {
            let is_first = *state == State::Running;
            if is_first {
                *state = State::Ended(end);
            }
            is_first
        });
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if *self.state.borrow() == State::Running {
            self.say(End::Abandoned);
        }
    }
}

impl Follower {
    /// Awaits the leader's end; [`End::Failed`] where that takes longer than [`FOLLOW_LIMIT`]. Cancel safe.
    pub(super) async fn end(mut self) -> End {
        let ended = self.0.wait_for(|state| *state != State::Running);
        match tokio::time::timeout(FOLLOW_LIMIT, ended).await {
            Ok(Ok(state)) => match *state {
                State::Ended(end) => end,
                State::Running => End::Abandoned,
            },
            Ok(Err(_)) => End::Abandoned,
            Err(_) => End::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(all: &Arc<InFlight>) -> Leader {
        match all.claim(Digest::of(b"a")) {
            Claim::Lead(leader) => leader,
            Claim::Follow(_) => panic!("somebody leads already"),
        }
    }

    fn follow(all: &Arc<InFlight>) -> Follower {
        match all.claim(Digest::of(b"a")) {
            Claim::Follow(follower) => follower,
            Claim::Lead(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn followers_learn_how_their_leader_ended() {
        let all = Arc::default();
        for end in [End::Done, End::Failed, End::Abandoned] {
            let leader = lead(&all);
            let (one, two) = (follow(&all), follow(&all));
            let other = all.claim(Digest::of(b"b"));
            assert!(matches!(other, Claim::Lead(_)));
            if end == End::Abandoned {
                drop(leader);
            } else {
                leader.end(end);
            }
            assert_eq!((one.end().await, two.end().await), (end, end));
        }
        assert!(all.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let all = Arc::default();
        let _leader = lead(&all);
        assert_eq!(follow(&all).end().await, End::Failed);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_begins_to_wait_for_a_leader_that_stands_still() {
        let all = Arc::default();
        let stopped = lead(&all);
        assert_eq!(follow(&all).end().await, End::Failed);
        let next = lead(&all);
        let follower = follow(&all);
        // The one that stood still goes on, and is not taken for the other.
        stopped.end(End::Failed);
        let another = follow(&all);
        next.end(End::Done);
        assert_eq!((follower.end().await, another.end().await), (End::Done, End::Done));
        assert!(all.lock().is_empty());
    }
}
