//! Whether the kernel has killed processes of this machine for want of memory.
//!
//! A compiler that was killed so looks like one that failed. The machine's counter does not say whose process it was,
//! so a failure beside a kill is taken for the kill's: better an action that is run again elsewhere than a good one
//! that is called bad.
//!
//! **Source:** proc(5), `/proc/vmstat`, `oom_kill` (since Linux 4.13).

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of kills that is accounted for.
#[derive(Debug)]
pub struct MemoryPressure {
    seen: AtomicU64,
}

impl MemoryPressure {
    /// Accounts for all kills until now.
    pub fn new() -> Self {
        Self { seen: AtomicU64::new(kills()) }
    }

    /// Whether there were kills since the last call. Reads one small file.
    pub fn has_killed(&self) -> bool {
        let kills = kills();
        self.seen.swap(kills, Ordering::Relaxed) < kills
    }
}

impl Default for MemoryPressure {
    fn default() -> Self {
        Self::new()
    }
}

fn kills() -> u64 {
    count(&fs::read_to_string("/proc/vmstat").unwrap_or_default())
}

fn count(vmstat: &str) -> u64 {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted() {
        let check = |text: &str, expect: u64| assert_eq!(count(text), expect, "{text:?}");
        check("nr_free_pages 12\noom_kill 3\nnuma_hit 4\n", 3);
        check("oom_kill_else 3\n", 0);
        check("", 0);
    }
}
