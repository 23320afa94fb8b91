//! Names of things, and time, as types of their own.

use pumphouse_proto::digest::Digest;
use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

/// A moment, as the time since the scheduler was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time(pub(crate) Duration);

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// What is executed, for whom: the key of the action cache too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionKey {
    /// Empty for most.
    pub instance_name: Arc<str>,
    /// The digest of the `Action`.
    pub digest: Digest,
}

/// A client's wait: random, so that names are never used twice, not even by a server's successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub u128);

impl OperationId {
    /// The name of what was answered at once, so that nobody has to wait for it.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for OperationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The build that an action belongs to, as far as fairness is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct BuildId {
    /// Whose it is: a caller, or where none is known, an address. Nobody can be many.
    pub party: Arc<str>,
    /// The client's `tool_invocation_id`, of which it may have as many as it likes.
    pub name: Arc<str>,
}

/// A task, within this scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

/// One attempt of a task on one worker: the worker protocol's `run_id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RunId(pub(crate) Arc<str>);

/// A worker, over all its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) Arc<str>);

/// One stream of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u64);
