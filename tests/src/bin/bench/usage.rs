//! Processor time, as the kernel accounts it.

use anyhow::{Context, Result};
use rustix::process::Pid;
use std::time::Duration;

/// Processor time of this process's children that have ended, all threads, user and system.
pub(crate) fn children() -> Result<Duration> {
    fields("self", &[13, 14])
}

/// Processor time of a running process, all threads, user and system, without its children.
pub(crate) fn process(id: Pid) -> Result<Duration> {
    fields(&id.as_raw_nonzero().to_string(), &[11, 12])
}

/// Processor time of a running process and of its children that have ended, all threads, user and system.
pub(crate) fn process_with_children(id: Pid) -> Result<Duration> {
    fields(&id.as_raw_nonzero().to_string(), &[11, 12, 13, 14])
}

/// The sum of some fields of `/proc/PROCESS/stat`, counted from the state (0), in clock ticks.
fn fields(process: &str, wanted: &[usize]) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name may hold anything; it ends with the last parenthesis.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let numbers: Vec<_> = rest.split_whitespace().collect();
    let mut ticks = 0;
    for &index in wanted {
        ticks += numbers.get(index).and_then(|number| number.parse::<u64>().ok()).with_context(|| path.clone())?;
    }
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// Milliseconds with two decimals.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// How many times `other` is of `own`.
pub(crate) fn ratio(own: Duration, other: Duration) -> String {
    format!("{:.1}×", other.as_secs_f64() / own.as_secs_f64().max(f64::MIN_POSITIVE))
}

/// The value at `share` (0 to 1) of the sorted durations.
pub(crate) fn quantile(durations: &mut [Duration], share: f64) -> Duration {
    durations.sort_unstable();
    let index = (durations.len().saturating_sub(1) as f64 * share).round() as usize;
    durations.get(index).copied().unwrap_or_default()
}
