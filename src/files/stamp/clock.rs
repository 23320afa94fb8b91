//! The clocks by which files are stamped.
//!
//! Local file systems are stamped by the kernel's coarse clock, which is up to a tick behind the fine one, so that one is
//! read. What a server stamps is compared with the server's clock only: the latest time of change that was seen there
//! was its present then, and since then at least as much has passed there as here.
//!
//! What it does not know: files.
//!
//! **Source:** `CLOCK_REALTIME_COARSE` and `CLOCK_BOOTTIME` in `clock_gettime(2)`.

use dashmap::DashMap;
use rustix::time::{ClockId, clock_gettime};
use std::sync::LazyLock;

/// By how much the wall clock may lose against the time since boot without having been set back: what slewing
/// takes from it must not look like it at each look.
const SET_BACK_NS: i128 = 10_000_000;
/// How many devices' clocks are remembered.
const MAX_SERVERS: usize = 256;

/// A reading of the clock by which local files are stamped, and of one that is never set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    wall_ns: i128,
    boot_ns: i128,
}

impl Moment {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        Self { wall_ns: read(ClockId::RealtimeCoarse), boot_ns: read(ClockId::Boottime) }
    }

    /// Nanoseconds since 1970, as local files are stamped.
    pub(crate) const fn wall_ns(self) -> i128 {
        self.wall_ns
    }

    /// How far the wall clock is ahead of the time since boot.
    pub(crate) const fn offset(self) -> Offset {
        Offset(self.wall_ns - self.boot_ns)
    }
}

/// How far the wall clock was ahead of the time since boot. It stays the same until the clock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offset(i128);

impl Offset {
    /// Whether the wall clock was set back since.
    pub(super) fn was_set_back(self) -> bool {
        Moment::now().offset().0 < self.0 - SET_BACK_NS
    }
}

fn read(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// How far the server's clock is ahead of this machine's time since boot, at least, by device. Updated in place, so no
/// cache that evicts by itself.
static SERVERS: LazyLock<DashMap<u64, i128>> = LazyLock::new(DashMap::new);

/// Notes that something on `device` was seen before `moment` that changed at `changed_ns` by the server's clock. A stamp
/// of this machine's future tells nothing: some clock was wrong.
pub(super) fn note_served(device: u64, changed_ns: i128, moment: Moment) {
    if changed_ns > moment.wall_ns {
        return;
    }
    if SERVERS.len() >= MAX_SERVERS && !SERVERS.contains_key(&device) {
        SERVERS.clear();
    }
    let seen = changed_ns - moment.boot_ns;
    let mut known = SERVERS.entry(device).or_insert(seen);
    *known = seen.max(*known);
}

/// What the clock showed at least, at `moment`, by which the file system on `device` is stamped; never more than this
/// machine's clock. `None` where nothing was seen there yet.
pub(super) fn served_ns(device: u64, moment: Moment) -> Option<i128> {
    SERVERS.get(&device).map(|known| (*known + moment.boot_ns).min(moment.wall_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i128 = 1_000_000_000;

    fn moment(wall_s: i128, boot_s: i128) -> Moment {
        Moment { wall_ns: wall_s * SECOND_NS, boot_ns: boot_s * SECOND_NS }
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let now = Moment::now();
        assert!(!now.offset().was_set_back());
        assert!(!Offset(now.offset().0 - SECOND_NS).was_set_back(), "set forward since");
        assert!(Offset(now.offset().0 + SECOND_NS).was_set_back());
    }

    #[test]
    fn a_server_s_clock_goes_on_from_the_latest_change_that_was_seen() {
        let device = u64::MAX;
        let shown = |changed_s: i128, wall_s, boot_s| {
            note_served(device, changed_s * SECOND_NS, moment(wall_s, boot_s));
            served_ns(device, moment(wall_s, boot_s)).expect("noted") / SECOND_NS
        };
        assert_eq!(served_ns(device, moment(1000, 10)), None);
        // The server is 100 s behind.
        assert_eq!(shown(900, 1000, 10), 900);
        assert_eq!(shown(900, 1003, 13), 903, "what was seen is three seconds old");
        assert_eq!(shown(500, 1003, 13), 903);
        assert_eq!(shown(910, 1010, 20), 910);
        // A stamp of the future tells nothing, and is not reached.
        assert_eq!(shown(5000, 1010, 20), 910);
        // Nor does a clock that was set, here, let it overtake.
        assert_eq!(shown(900, 905, 30), 905);
        // What was so at an earlier moment.
        assert_eq!(served_ns(device, moment(1000, 15)), Some(905 * SECOND_NS));
    }
}
