//! The places for compiles that run on this machine.
//!
//! A build that was stopped (`^Z`, a frozen control group) keeps its places, and must not keep other builds waiting for ever:
//! when no place has come back for [`STANDING_LIMIT`] and somebody waits, there is one more, until one that was held for so long
//! comes back.

use crate::ipc::{CompileRequest, DEPTH_VARIABLE};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// How long no place may come back while somebody waits, before there is one more.
const STANDING_LIMIT: Duration = Duration::from_secs(60);

/// The places, given in the order in which they were asked for.
#[derive(Debug)]
pub(crate) struct Slots(Arc<Places>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When a place was last given or came back.
    moved: Instant,
    /// How many places there are beside those of the configuration.
    more: usize,
}

/// A compile's leave to run here, until it is dropped.
#[derive(Debug)]
pub(crate) struct LocalSlot(#[expect(dead_code, reason = "it is held, not looked at")] Option<Held>);

#[derive(Debug)]
struct Held {
    place: Option<OwnedSemaphorePermit>,
    since: Instant,
    places: Arc<Places>,
}

impl Slots {
    /// `count` places.
    pub(super) fn new(count: usize) -> Self {
        let state = Mutex::new(State { moved: Instant::now(), more: 0 });
        Self(Arc::new(Places { free: Arc::new(Semaphore::new(count)), state }))
    }

    /// Makes the places as many as `new` where there were `old`. Those that are taken go as they become free.
    pub(super) fn resize(&self, old: usize, new: usize) {
        if let Some(more) = new.checked_sub(old) {
            self.0.free.add_permits(more);
            return;
        }
        let fewer = old - new;
        let rest = fewer - self.0.free.forget_permits(fewer);
        let places = Arc::clone(&self.0.free);
        tokio::spawn(async move {
            for _ in 0..rest {
                if let Ok(place) = places.acquire().await {
                    place.forget();
                }
            }
        });
    }

    /// A place for the compile of `request`, when there is one. One that a compiler of a local compile starts is part of that
    /// one's place: waiting for another would wait for itself.
    pub(crate) async fn place(&self, request: &CompileRequest) -> LocalSlot {
        if request.environment.iter().any(|(name, _)| name == DEPTH_VARIABLE) {
            return LocalSlot(None);
        }
        self.next().await
    }

    async fn next(&self) -> LocalSlot {
        let places = &self.0;
        let acquired = Arc::clone(&places.free).acquire_owned();
        tokio::pin!(acquired);
        loop {
            let stalls_at = places.state.lock().moved + STANDING_LIMIT;
            tokio::select! {
                biased;
                place = &mut acquired => {
                    let since = places.state.lock().moves();
                    return LocalSlot(Some(Held { place: place.ok(), since, places: Arc::clone(places) }));
                }
                () = sleep_until(stalls_at) => places.stalled(),
            }
        }
    }
}

impl State {
    fn moves(&mut self) -> Instant {
        self.moved = Instant::now();
        self.moved
    }
}

impl Places {
    /// Has one more place, if nobody else who waits has seen to that.
    fn stalled(&self) {
        let mut state = self.state.lock();
        if state.moved.elapsed() >= STANDING_LIMIT {
            state.moves();
            state.more += 1;
            tracing::warn!(more = state.more, "no compile has ended for long; another one may run beside them");
            self.free.add_permits(1);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        state.moves();
        if state.more > 0 && self.since.elapsed() >= STANDING_LIMIT {
            state.more -= 1;
            if let Some(place) = self.place.take() {
                place.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    /// How many places are free.
    fn free(slots: &Slots) -> usize {
        let mut held = Vec::new();
        while let Some(slot) = slots.next().now_or_never() {
            held.push(slot);
        }
        held.len()
    }

    #[tokio::test(start_paused = true)]
    async fn builds_that_stand_still_do_not_stop_others() {
        let slots = Slots::new(2);
        let stopped = (slots.next().await, slots.next().await);
        let start = Instant::now();
        let (first, second) = tokio::join!(slots.next(), async {
            let slot = slots.next().await;
            (slot, start.elapsed())
        });
        assert!(start.elapsed() < STANDING_LIMIT * 3, "{:?}", start.elapsed());
        assert!(second.1 > STANDING_LIMIT, "one at a time");
        drop((first, second));
        // What moves needs no further places, and goes on at once.
        let start = Instant::now();
        for _ in 0..10 {
            drop(slots.next().await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Those that stood still go on, and take back what was given for them.
        drop(stopped);
        assert_eq!(free(&slots), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_further_place_as_long_as_others_come_back() {
        let slots = Arc::new(Slots::new(2));
        let _stopped = slots.next().await;
        let mut moving = vec![slots.next().await];
        for _ in 0..5 {
            let waiting = tokio::spawn({
                let slots = Arc::clone(&slots);
                async move { slots.next().await }
            });
            tokio::time::sleep(STANDING_LIMIT * 3 / 4).await;
            assert!(!waiting.is_finished());
            moving.clear();
            moving.push(waiting.await.expect("runs"));
        }
    }
}
