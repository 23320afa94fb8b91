//! The places for compiles that run on this machine.

use crate::ipc::{CompileRequest, DEPTH_VARIABLE};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places, given in the order in which they were asked for.
#[derive(Debug)]
pub struct Slots(Arc<Semaphore>);

/// A compile's leave to run here, until it is dropped.
#[derive(Debug)]
pub struct LocalSlot(#[expect(dead_code, reason = "it is held, not looked at")] Option<OwnedSemaphorePermit>);

impl Slots {
    /// `count` places.
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Makes the places as many as `new` where there were `old`. Those that are taken go as they become free.
    pub(super) fn resize(&self, old: usize, new: usize) {
        if let Some(more) = new.checked_sub(old) {
            self.0.add_permits(more);
            return;
        }
        let fewer = old - new;
        let rest = fewer - self.0.forget_permits(fewer);
        let places = Arc::clone(&self.0);
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
    pub async fn place(&self, request: &CompileRequest) -> LocalSlot {
        if request.environment.iter().any(|(name, _)| name == DEPTH_VARIABLE) {
            return LocalSlot(None);
        }
        LocalSlot(Arc::clone(&self.0).acquire_owned().await.ok())
    }
}
