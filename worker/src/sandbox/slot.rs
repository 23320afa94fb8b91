//! The state of a slot's supervisor between actions.

use super::message::{Level, Setup};
use super::mounts::Skeleton;
use super::syscalls::SingleThreaded;
use std::os::fd::OwnedFd;

/// What each action of the slot starts from.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) proof: SingleThreaded,
    pub(super) setup: Setup,
    pub(super) level: Level,
    pub(super) skeleton: Skeleton,
    /// `/dev/null`, as opened on the host.
    pub(super) null: OwnedFd,
    /// Whether the kernel counts an action's processes apart from the rest of the machine's.
    pub(super) counts_processes: bool,
}
